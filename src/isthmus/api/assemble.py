"""From drafts to one Configuration: what can be judged only with all documents at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple, TypeVar

from isthmus.api.attachments import vpc_key, vpc_known
from isthmus.api.draft import Draft
from isthmus.api.formats import is_object_name
from isthmus.api.structure import nearest
from isthmus.errors import Problem
from isthmus.model.intent import Attachment, Configuration, Endpoint, Fabric, Interconnect, Prefix, Site, SubnetRef

DERIVED = frozenset({"SiteRefused", "FabricRefused"})
"""Codes of problems that only repeat those of another document."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refused:
    """An Interconnect that is written, but not as it can be honoured.

    attachments  what the text lists now, or None where that cannot be told (then nothing of it may be withdrawn)
    fabric       as it is written, known or not; "" where it is omitted or cannot be told
    """

    name: str
    problems: tuple[Problem, ...]
    attachments: tuple[Attachment, ...] | None
    fabric: str = ""


class Listing(NamedTuple):
    """All documents of a path, the bad ones set aside.

    configuration  the objects that are valid, by themselves and together
    problems       everything that is wrong, sorted
    listed         False where an object may be missing here although somebody wrote it: then remove nothing
    refused        Interconnects that are written and not in `configuration`
    """

    configuration: Configuration
    problems: tuple[Problem, ...]
    listed: bool
    refused: tuple[Refused, ...]


def assemble(drafts: Sequence[Draft]) -> Listing:
    """Judge the documents against each other. Adds to the drafts' problems."""
    by_kind: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        by_kind[draft.kind].append(draft)
    fabrics, sites, interconnects = (by_kind[k] for k in ("Fabric", "Site", "Interconnect"))
    for kind in (fabrics, sites, interconnects):
        _named_twice(kind)
    _zones(sites)
    _one_database(sites)
    for draft in interconnects:
        _join(draft, fabrics, sites)
    _defined_twice(interconnects)
    configuration = Configuration(
        tuple(sorted(_valid(fabrics, Fabric), key=lambda f: f.name)),
        tuple(sorted(_valid(sites, Site), key=lambda s: s.name)),
        tuple(sorted(_valid(interconnects, Interconnect), key=lambda i: i.name)),
    )
    return Listing(
        configuration=configuration,
        problems=ordered(p for d in drafts for p in d.problems),
        listed=bool(drafts) and all(d.kind and d.name for d in drafts),
        refused=_refused(interconnects),
    )


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each once, in the order of the documents."""
    key: Callable[[Problem], tuple[object, ...]] = lambda p: (p.file, p.document or 0, p.field, p.code, p.message)  # noqa: E731
    return tuple(sorted(set(problems), key=key))


def _valid(drafts: Iterable[Draft], kind: type[T]) -> list[T]:
    return [d.result for d in drafts if isinstance(d.result, kind) and not d.problems]


def _refused(drafts: Sequence[Draft]) -> tuple[Refused, ...]:
    by_name: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.problems and draft.name:
            by_name[draft.name].append(draft)
    return tuple(
        Refused(name, ordered(p for d in same for p in d.problems), same[0].attachments, _fabric_name(same[0].value))
        if len(same) == 1
        else Refused(name, ordered(p for d in same for p in d.problems), None)
        for name, same in sorted(by_name.items())
    )


def _where(draft: Draft) -> str:
    file, index = draft.origin.file, draft.origin.document
    return f"{file} document {index}" if index is not None else file


def _named_twice(drafts: Sequence[Draft]) -> None:
    by_name: dict[str, list[Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.name:
            by_name[draft.name].append(draft)
    for same in by_name.values():
        for draft in same if len(same) > 1 else ():
            other = same[0] if draft is not same[0] else same[1]
            remedy = "remove or rename one of them"
            draft.refuse("DuplicateName", f"{draft.title} is also in {_where(other)}", "metadata.name", remedy)


def _zones(sites: Sequence[Draft]) -> None:
    for one, other in combinations(sites, 2):
        a, b = one.result, other.result
        if isinstance(a, Site) and isinstance(b, Site) and a.zone == b.zone != "" and a.name != b.name:
            for draft, named in ((one, b), (other, a)):
                said = f"sites {a.name!r} and {b.name!r} have one zone, {a.zone!r}"
                draft.refuse("DuplicateZone", said, "spec.zone", f"give it another zone than {named.name!r}")


def _one_database(sites: Sequence[Draft]) -> None:
    for one, other in combinations(sites, 2):
        a, b = one.result, other.result
        if isinstance(a, Site) and isinstance(b, Site) and a.name != b.name and _same(a.northbound, b.northbound):
            for draft in (one, other):
                said = f"sites {a.name!r} and {b.name!r} name one northbound database"
                draft.refuse("DuplicateDatabase", said, "spec.northbound", "one OVN deployment is one site")


def _same(one: Endpoint, other: Endpoint) -> bool:
    return bool(set(one.remotes) & set(other.remotes))


# an Interconnect and what it names


def _join(draft: Draft, fabrics: Sequence[Draft], sites: Sequence[Draft]) -> None:
    fabric = _find_fabric(draft, fabrics)
    by_name = {d.name: d for d in sites if d.name}
    for attachment in draft.parts:
        if not attachment.site:
            continue
        site = by_name.get(attachment.site)
        at = f"{attachment.field}.site"
        if site is None:
            draft.refuse("UnknownSite", f"site {attachment.site!r} is not known", at, _known(attachment.site, by_name))
        elif not site.valid:
            draft.refuse("SiteRefused", f"site {attachment.site!r} is refused", at, "see that site's problems")
        elif isinstance(site.result, Site) and attachment.gateways is None and not site.result.gateways:
            said = f"attachment {attachment.name or attachment.site!r} has no gateway"
            draft.refuse(
                "NoGateway", said, f"{attachment.field}.gateways", "name chassis here or in the site's spec.gateways"
            )
        if site is not None and isinstance(site.result, Site) and site.result.type != "openstack":
            _openstack_only(draft, attachment, site.result)
        if site is not None and isinstance(site.result, Site) and site.result.type == "kubernetes":
            _made_in_the_cluster(draft, attachment)
    if fabric is not None and isinstance(draft.result, Interconnect):
        draft.result = replace(draft.result, fabric=fabric.name)
    if fabric is not None:
        _pools_free(draft, (*fabric.pools.link, *fabric.pools.transit))


def _made_in_the_cluster(draft: Draft, attachment: Attachment) -> None:
    """Names of objects are narrower than those of switches (Kubernetes, "DNS Subdomain Names")."""
    for subnet in attachment.subnets:
        if subnet.cidrs and subnet.name and not is_object_name(subnet.name):
            said = f"no object of a cluster can be called {subnet.name!r}"
            remedy = "use lower-case letters, digits, hyphens and dots, a letter or digit first and last"
            draft.refuse("InvalidName", said, subnet.field, remedy)


def _openstack_only(draft: Draft, attachment: Attachment, site: Site) -> None:
    vpc = attachment.vpc
    for what, written, field in (
        ("projects", vpc.project, "vpc.project"),
        ("security groups", attachment.security_groups, "securityGroups"),
    ):
        if written:
            said = f"site {site.name!r} is of type {site.type}, which has no {what}"
            draft.refuse("FieldNotForType", said, f"{attachment.field}.{field}", "remove it")


def _known(word: str, names: Iterable[str | None]) -> str:
    known = sorted(n for n in names if n)
    near = nearest(word, known)
    if near:
        return f"did you mean {near}?"
    return f"known: {', '.join(known[:20])}" if known else "add its document"


def _find_fabric(draft: Draft, fabrics: Sequence[Draft]) -> Fabric | None:
    """The Fabric that it names, or the only one there is."""
    written = draft.fabric
    if written is None:
        return None
    by_name = {d.name: d for d in fabrics if d.name}
    if not written and len(by_name) != 1:
        said = "no Fabric is given" if not fabrics else f"there are {len(fabrics)} Fabrics"
        remedy = "add a document of kind Fabric" if not fabrics else "name one: " + ", ".join(sorted(map(str, by_name)))
        draft.refuse("UnknownFabric", said, "spec.fabric", remedy)
        return None
    found = by_name.get(written) if written else next(iter(by_name.values()))
    if found is None:
        draft.refuse("UnknownFabric", f"fabric {written!r} is not known", "spec.fabric", _known(written, by_name))
    elif not found.valid:
        draft.refuse("FabricRefused", f"fabric {found.name!r} is refused", "spec.fabric", "see that Fabric's problems")
    elif isinstance(found.result, Fabric):
        return found.result
    return None


def _fabric_name(value: object) -> str:
    spec = value.get("spec") if isinstance(value, dict) else None
    name = spec.get("fabric") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else ""


def _pools_free(draft: Draft, pools: Sequence[Prefix]) -> None:
    for subnet in (s for a in draft.parts for s in a.subnets):
        for cidr in subnet.cidrs:
            for pool in pools:
                if cidr.overlaps(pool):
                    said = f"subnet {str(subnet)!r}: {cidr} overlaps the Fabric's pool {pool}"
                    draft.refuse("Overlap", said, f"{subnet.field}.cidr", "renumber it, or choose other addressPools")


def _defined_twice(interconnects: Sequence[Draft]) -> None:
    """One subnet, defined by two Interconnects, must be defined alike."""
    seen: dict[object, tuple[Draft, SubnetRef]] = {}
    for draft in interconnects:
        for attachment in filter(vpc_known, draft.parts):
            for subnet in attachment.subnets:
                if not subnet.cidrs:
                    continue
                other, first = seen.setdefault((vpc_key(attachment), subnet.name), (draft, subnet))
                if other is draft or (first.cidrs, first.gateways) == (subnet.cidrs, subnet.gateways):
                    continue
                for one, ref, named in ((draft, subnet, other), (other, first, draft)):
                    said = f"subnet {str(subnet)!r} is defined otherwise by {named.title}"
                    one.refuse("DefinedTwice", said, f"{ref.field}.cidr", "give both the same cidr and gateway")
