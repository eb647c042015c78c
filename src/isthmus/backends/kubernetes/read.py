"""Kubernetes' objects to facts. What cannot be read is a problem of that object alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, cast

from isthmus.backends.kubernetes import resources as res
from isthmus.compile import networks
from isthmus.compile.estate import Held
from isthmus.errors import Problem
from isthmus.model import rows
from isthmus.model.facts import Interface
from isthmus.model.intent import Address, Prefix
from isthmus.model.networks import DEFAULT_VPC, Api, Namespace, Pod, Requirement, Route, Subnet, Vpc


def annotation(mark: str) -> str:
    """A mark of ours as Kubernetes can have it.

    >>> annotation("isthmus:owner")
    'isthmus.dev/owner'
    """
    return mark.replace("isthmus:", "isthmus.dev/")


SUBNET, ADDRESS, MAC = (f"ovn.kubernetes.io/{what}" for what in ("logical_switch", "ip_address", "mac_address"))
"""Annotations that people write; Kube-OVN's."""
NOT_HONOURED = tuple(f"ovn.kubernetes.io/{what}" for what in ("security_groups", "ip_pool", "vip"))
"""Annotations of Kube-OVN that promise what is not kept: a Pod that is closed, or certain addresses."""
ALLOCATED = "ovn.kubernetes.io/allocated"
"""Of a Pod whose addresses in its annotations are those that it was given; nobody asked for them."""
OWNER, UID = (annotation(mark) for mark in (rows.OWNER, networks.UID))
"""Annotations of an `IP` of ours: who keeps it, and which Pod of that name has the addresses."""
STATEFUL = "StatefulSet"
OVER = ("Succeeded", "Failed")
API_PORT_NAME = "https"
"""Of the Service `default/kubernetes`, which the API server makes (k8s.io/kubernetes, `pkg/controlplane`)."""


def vpc(found: res.Vpc) -> Vpc | Problem:
    routes = []
    for route in found.spec.static_routes:
        try:
            by = "src" if route.policy == "policySrc" else "dst"
            routes.append(Route(ip_network(route.cidr), ip_address(route.next_hop_ip), cast("Any", by)))
        except ValueError as error:
            return Problem("BadRoute", f"spec.staticRoutes: {error}", remedy="mend the route")
    return Vpc(
        name=found.metadata.name,
        namespaces=frozenset(found.spec.namespaces),
        default_subnet=found.spec.default_subnet or "",
        routes=tuple(dict.fromkeys(routes)),
    )


def subnet(found: res.Subnet) -> Subnet | Problem:
    """The API server has refused most of what this refuses; not where the CRD is somebody else's."""
    spec = found.spec
    try:
        prefixes = [ip_network(text.strip()) for text in spec.cidr_block.split(",")]
        given = [ip_address(text.strip()) for text in spec.gateway.split(",") if text.strip()]
        excluded = tuple(_range(text) for text in spec.exclude_ips)
        gateways = tuple(_gateway(prefix, given) for prefix in sorted(prefixes, key=lambda p: p.version))
    except ValueError as error:
        return Problem("BadSubnet", str(error), remedy="mend the Subnet")
    if len({prefix.version for prefix in prefixes}) != len(prefixes):
        return Problem("BadSubnet", f"{spec.cidr_block} has two networks of a family", remedy="make two Subnets")
    if strange := [str(g) for g in given if not any(g in prefix for prefix in prefixes)]:
        said = f"gateway {', '.join(strange)} is outside of {spec.cidr_block}"
        return Problem("BadSubnet", said, remedy="name an address of the network, or none")
    return Subnet(
        name=found.metadata.name,
        vpc=spec.vpc or DEFAULT_VPC,
        gateways=gateways,
        excluded=excluded,
        namespaces=frozenset(spec.namespaces),
        selectors=tuple(tuple(_selector(s)) for s in spec.namespace_selectors),
        mtu=spec.mtu,
        nat=spec.nat_outgoing,
    )


def namespace(found: res.Namespace) -> Namespace:
    meta = found.metadata
    return Namespace(meta.name, meta.labels, meta.annotations.get(SUBNET, ""))


def pod(found: res.Pod) -> Pod | None:
    """None where it needs no port: not placed yet, in its node's network, or over."""
    if not found.spec.node_name or found.spec.host_network or found.status.phase in OVER:
        return None
    meta, misread = found.metadata, ""
    # The Subnet is a wish all the same: it opens nothing, and after a loss of all rows the Pod belongs there.
    wishes: Mapping[str, str] = {} if meta.annotations.get(ALLOCATED) == "true" else meta.annotations
    addresses: tuple[Address, ...] = ()
    try:
        words = [word.strip() for word in wishes.get(ADDRESS, "").split(",")]
        addresses = tuple(ip_address(word) for word in words if word)
    except ValueError as error:
        misread = f"{ADDRESS}: {error}"
    mac = wishes.get(MAC, "").strip().lower()
    if mac and not _is_unicast(mac):
        misread, mac = f"{MAC}: {mac!r} is no MAC address that a machine may have", ""
    if strange := [name for name in NOT_HONOURED if wishes.get(name)]:
        misread = f"{', '.join(strange)}: not honoured yet"
    if len({address.version for address in addresses}) < len(addresses):
        misread, addresses = f"{ADDRESS}: more than one address of a family", ()
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=found.spec.node_name,
        subnet=meta.annotations.get(SUBNET, ""),
        addresses=addresses,
        mac=mac,
        misread=misread,
        told=tuple(ip_address(each.ip) for each in found.status.pod_ips if each.ip),
        slot=next((o.name for o in meta.owner_references if o.kind == STATEFUL and o.controller), ""),
    )


def held(found: res.Ip, owner: str) -> Held | None:
    """What a Pod was given, as its `IP` has it; None where that is not this owner's, or unreadable."""
    meta, spec = found.metadata, found.spec
    if meta.annotations.get(OWNER) != owner or not spec.mac_address:
        return None
    # Members of StatefulSets are called SET-ORDINAL.
    slot = spec.pod_name.rpartition("-")[0] if spec.pod_type == STATEFUL else ""
    whose = Pod(spec.namespace, spec.pod_name, meta.annotations.get(UID, ""), spec.node_name, slot=slot)
    try:
        addresses = tuple(ip_address(word) for word in (spec.v4_ip_address, spec.v6_ip_address) if word)
    except ValueError:
        return None
    return Held(whose, spec.subnet, addresses, spec.mac_address)


def api(services: Iterable[res.Service], slices: Iterable[res.EndpointSlice]) -> Api:
    """The Service `default/kubernetes` by itself and its slices; nothing where one of them is missing."""
    vips, port = [], 0
    for service in services:
        vips += [ip_address(text) for text in service.spec.cluster_ips]
        port = next((p.port for p in service.spec.ports if p.name == API_PORT_NAME), port)
    endpoints = set()
    for each in slices:
        ports = [p.port for p in each.ports if p.name == API_PORT_NAME]
        ready = [e for e in each.endpoints if e.conditions.ready]
        endpoints |= {(ip_address(text), number) for e in ready for text in e.addresses for number in ports}
    return Api(tuple(vips), port, tuple(sorted(endpoints, key=lambda e: (e[0].version, e)))) if vips and port else Api()


def slots(found: res.StatefulSet) -> range:
    """Ordinals of its members that are wanted."""
    start = found.spec.ordinals.start
    return range(start, start + found.spec.replicas)


def _gateway(prefix: Prefix, given: list[Address]) -> Interface:
    """The named one of the network, else the first host."""
    own = next((g for g in given if g in prefix), None)
    return ip_interface((own if own is not None else prefix.network_address + 1, prefix.prefixlen))


def _range(text: str) -> tuple[Address, Address]:
    first, _, last = text.partition("..")
    begin, end = ip_address(first.strip()), ip_address((last or first).strip())
    if begin.version != end.version or int(begin) > int(end):
        raise ValueError(f"excludeIps: {text!r} is no range")
    return begin, end


def _selector(found: res.Selector) -> Iterator[Requirement]:
    for key, value in found.match_labels.items():
        yield Requirement(key, "In", frozenset({value}))
    for each in found.match_expressions:
        yield Requirement(each.key, cast("Any", each.operator), frozenset(each.values))


def _is_unicast(mac: str) -> bool:
    parts = mac.split(":")
    try:
        octets = bytes(int(part, 16) for part in parts)
    except ValueError:
        return False
    return len(octets) == 6 and all(len(p) == 2 for p in parts) and not octets[0] & 1 and any(octets)
