"""From one decoded document to an object of `model.intent`: what can be judged without looking at other documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from isthmus.api import attachments
from isthmus.api.draft import Draft
from isthmus.api.formats import label, remote_host
from isthmus.api.schema import KINDS, json_schema
from isthmus.api.structure import nearest, shown, sound, violations, whole
from isthmus.errors import Problem
from isthmus.model.intent import DEFAULT_MTU, Bfd, Endpoint, Fabric, Interconnect, Origin, Pools, Prefix, Site, Tls

API_VERSION = "isthmus.dev/v1alpha1"
DEFAULT_LINK = ("169.254.128.0/18", "fd69:7374::/32")
DEFAULT_TRANSIT = ("169.254.64.0/18", "fd69:7375::/32")
NEUTRON_HA = ip_network("169.254.192.0/18")
ULA = ip_network("fc00::/7")


def parse(value: object, origin: Origin, base: Path) -> Draft:
    """Read one document; never raises on what a user can write."""
    draft = Draft(value, origin, base)
    if not _identify(draft):
        return draft
    schema = json_schema()
    kind = schema["$defs"][draft.kind]
    draft.add(violations(value, kind, schema))
    body: Mapping[str, Any] = value  # type: ignore[assignment]
    if draft.kind == "Interconnect":
        draft.attachments = attachments.read_all(body, sound=not draft.problems)
    if draft.problems:
        # all mistakes at once: what can be read is judged like a document without mistakes
        body = sound(value, kind, schema)
    if body["spec"] is not None:
        {"Fabric": _fabric, "Site": _site, "Interconnect": _interconnect}[draft.kind](draft, body["spec"])
    return draft


def _identify(draft: Draft) -> bool:
    """Find kind and name. False where the schema to read by is unknown."""
    value = draft.value
    if not isinstance(value, dict):
        draft.refuse(
            "NotADocument", f"a document must be a mapping, not {shown(value)}", remedy="start it with apiVersion"
        )
        return False
    kind, version = value.get("kind"), value.get("apiVersion")
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    draft.name = name if isinstance(name, str) and label(name) is None else None
    if isinstance(kind, str) and kind in KINDS:
        draft.kind = kind
    if version != API_VERSION:
        said = "apiVersion is missing" if version is None else f"unknown apiVersion {shown(version)}"
        draft.refuse("UnknownApiVersion", said, "apiVersion", f"write apiVersion: {API_VERSION}")
    if not draft.kind:
        near = nearest(kind, list(KINDS)) if isinstance(kind, str) else ""
        said = "kind is missing" if kind is None else f"unknown kind {shown(kind)}"
        draft.refuse(
            "UnknownKind", said, "kind", f"did you mean {near}?" if near else f"use one of: {', '.join(KINDS)}"
        )
    return version == API_VERSION and bool(draft.kind)


# databases


def _endpoint(draft: Draft, spec: Mapping[str, Any], side: str, tls: Tls | None) -> Endpoint:
    remotes = []
    for index, remote in enumerate(spec[side] or ()):
        if remote is None:
            continue
        at = f"spec.{side}[{index}]"
        if remote.startswith("unix:"):
            remote = f"unix:{draft.base / remote[5:]}"  # noqa: PLW2901
        elif remote.startswith("tcp:") and spec.get("insecure", False) is False:
            remedy = "use ssl:, or add insecure: true where nobody else can reach this network"
            draft.refuse("Insecure", f"{remote} is neither encrypted nor authenticated", at, remedy)
        elif remote.startswith("ssl:") and "tls" not in spec:
            remedy = "add tls: {caFile, certFile, keyFile}"
            draft.refuse("MissingTls", f"{remote} needs certificates, and {draft.title} has no tls", at, remedy)
        remotes.append(remote)
    if len(set(remotes)) < len(remotes):
        draft.refuse("Duplicate", f"{side} lists a server twice", f"spec.{side}", "remove one")
    return Endpoint(tuple(remotes), tls)


def _tls(draft: Draft, spec: Mapping[str, Any]) -> Tls | None:
    given = spec.get("tls")
    if given is None:
        return None
    if "secretName" in given:
        draft.refuse("NotYetHonoured", "tls.secretName is not yet honoured", "spec.tls.secretName", "name the files")
        return None
    missing = [key for key in ("caFile", "certFile", "keyFile") if key not in given]
    for key in missing:
        draft.refuse("MissingField", f"{key} is missing", f"spec.tls.{key}", "add it: a file name")
    if missing or not whole(given):
        return None
    ca, cert, key = (draft.base / given[k] for k in ("caFile", "certFile", "keyFile"))
    return Tls(ca, cert, key, given.get("serverName"))


def hosts(endpoint: Endpoint) -> set[str]:
    """Hosts of the remotes whose certificate is checked."""
    return {remote_host(r) for r in endpoint.remotes if r.startswith("ssl:")}


# Fabric


def _fabric(draft: Draft, spec: Mapping[str, Any]) -> None:
    tls = draft.tls = _tls(draft, spec)
    name = draft.name or ""
    pools = spec.get("addressPools") or {}
    link = _pool(draft, "link", pools.get("link", DEFAULT_LINK))
    transit = _pool(draft, "transit", pools.get("transit", DEFAULT_TRANSIT))
    draft.add(_pool_overlaps(link, transit))
    draft.result = Fabric(
        name=name,
        northbound=_endpoint(draft, spec, "northbound", tls),
        southbound=_endpoint(draft, spec, "southbound", tls),
        pools=Pools(link, transit),
        owner=spec.get("owner") or name,
        origin=draft.origin,
    )


def _pool(draft: Draft, side: str, texts: Sequence[str]) -> tuple[Prefix, ...]:
    """The prefixes of a pool; none where they cannot be read."""
    if not whole(texts):
        return ()
    prefixes = tuple(sorted(map(ip_network, texts), key=lambda p: (p.version, p)))
    draft.add(_pool_problems(side, prefixes))
    return prefixes


def _pool_problems(side: str, prefixes: Sequence[Prefix]) -> Iterator[Problem]:
    at = f"spec.addressPools.{side}"
    for version in (4, 6):
        count = sum(p.version == version for p in prefixes)
        if count != 1:
            yield Problem(
                "InvalidPool",
                f"the {side} pool has {count} IPv{version} prefixes",
                field=at,
                remedy="give one of each family",
            )
    for prefix in prefixes:
        if refusal := _pool_prefix(prefix):
            yield Problem("InvalidPool", f"{prefix} {refusal[0]}", field=at, remedy=refusal[1])


def _pool_prefix(prefix: Prefix) -> tuple[str, str] | None:
    """What makes a prefix unusable as a pool, and the remedy."""
    if prefix.version == 6:
        if not prefix.subnet_of(ULA):  # type: ignore[arg-type]
            return "is not a unique local prefix (ULA)", "choose one within fc00::/7"
        return None if prefix.prefixlen <= 64 else ("is too small", "use a /64 or larger")
    if prefix.overlaps(NEUTRON_HA):
        return f"contains addresses that Neutron's HA routers use ({NEUTRON_HA})", "choose another"
    if prefix.is_multicast or prefix.is_loopback or prefix.is_unspecified or prefix.overlaps(ip_network("0.0.0.0/8")):
        return "is not a unicast range", "choose another"
    return None if prefix.prefixlen <= 29 else ("is too small", "use a /29 or larger")


def _pool_overlaps(link: Sequence[Prefix], transit: Sequence[Prefix]) -> Iterator[Problem]:
    every = [*link, *transit]
    for index, one in enumerate(every):
        for other in every[index + 1 :]:
            if one.overlaps(other):
                yield Problem(
                    "InvalidPool",
                    f"pools overlap: {one} and {other}",
                    field="spec.addressPools",
                    remedy="keep them apart",
                )


# Site


def _site(draft: Draft, spec: Mapping[str, Any]) -> None:
    name, kind = draft.name or "", spec["type"]
    for block in ("openstack", "kubernetes"):
        if block in spec and kind in ("ovn", "openstack", "kubernetes") and kind != block:
            draft.refuse("FieldNotForType", f"a site of type {kind} has no {block}", f"spec.{block}", "remove it")
    cloud, cluster = spec.get("openstack") or {}, spec.get("kubernetes") or {}
    if kind == "openstack" and "openstack" not in spec:
        remedy = "add openstack: {cloud: NAME}, an entry of clouds.yaml"
        draft.refuse("MissingField", "a site of type openstack needs its cloud", "spec.openstack", remedy)
    if kind == "kubernetes" and "kubernetes" not in spec:
        remedy = "add kubernetes: {kubeconfig: FILE}; kubernetes: {} where serve runs in a Pod of that cluster"
        draft.refuse("MissingField", "a site of type kubernetes needs its cluster", "spec.kubernetes", remedy)
    if "context" in cluster and "kubeconfig" not in cluster:
        remedy = "name the kubeconfig that it is in, or remove it"
        draft.refuse("MissingField", "a context is one of a kubeconfig", "spec.kubernetes.kubeconfig", remedy)
    if "bfd" in spec and kind == "openstack":
        draft.refuse("FieldNotForType", "Neutron owns the BFD timers of an openstack site", "spec.bfd", "remove it")
    tls = draft.tls = _tls(draft, spec)
    gateways = tuple(g for g in spec.get("gateways") or () if g is not None)
    for twice in attachments.doubled(gateways):
        draft.refuse("Duplicate", f"gateway {twice!r} is listed twice", "spec.gateways", "remove one")
    bfd = spec.get("bfd")
    northbound, southbound = (_endpoint(draft, spec, side, tls) for side in ("northbound", "southbound"))
    if not (name and kind):
        return
    draft.result = Site(
        name=name,
        type=kind,
        zone=spec.get("zone", name) or "",
        northbound=northbound,
        southbound=southbound,
        gateways=gateways,
        bfd=Bfd(bfd["minRx"], bfd["minTx"], bfd["mult"]) if bfd and whole(bfd) else None,
        mtu=spec.get("mtu") or DEFAULT_MTU,
        cloud=cloud.get("cloud") or "",
        kubeconfig=draft.base / cluster["kubeconfig"] if cluster.get("kubeconfig") else None,
        context=cluster.get("context") or "",
        plugin=cluster.get("networkPlugin") or "isthmus",
        origin=draft.origin,
    )


# Interconnect


def _interconnect(draft: Draft, spec: Mapping[str, Any]) -> None:
    if "allow" in spec:
        remedy = "remove it: without it everything between the listed subnets passes"
        draft.refuse("NotYetHonoured", "spec.allow is not yet honoured", "spec.allow", remedy)
    draft.add(attachments.problems(spec))
    draft.fabric = spec.get("fabric", "")
    draft.parts = attachments.parts(spec) if draft.attachments is None else draft.attachments
    draft.add(attachments.together(draft.parts))
    if draft.attachments is not None:
        draft.result = Interconnect(draft.name or "", draft.fabric or "", draft.attachments, draft.origin)
