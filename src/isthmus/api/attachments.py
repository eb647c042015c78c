"""Attachments of one Interconnect: from text to `model.intent`, and what must hold among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from itertools import combinations
from typing import Any, TypeVar

from isthmus.api.schema import json_schema
from isthmus.api.structure import violations, whole
from isthmus.errors import Problem
from isthmus.model.intent import Address, Attachment, Prefix, SubnetRef, VpcRef

EVERY = "*"
Written = Mapping[str, Any]
T = TypeVar("T")


def read_all(document: Written, sound: bool) -> tuple[Attachment, ...] | None:
    """The attachments where each of them can be read by itself, whatever else is wrong with the document.

    sound  the document as a whole is as the schema says
    """
    spec = document.get("spec")
    written = spec.get("attachments") if isinstance(spec, dict) else None
    if not isinstance(written, list):
        return None
    schema = json_schema()
    for one in written:
        if not sound and any(violations(one, schema["$defs"]["Attachment"], schema)):
            return None
        if any(_alone(one, "")):
            return None
    return tuple(_read(one, f"spec.attachments[{index}]") for index, one in enumerate(written))


def problems(spec: Written) -> Iterator[Problem]:
    """What is wrong with each attachment by itself, beyond the schema. `spec` is what `structure.sound` left."""
    for index, one in enumerate(spec["attachments"] or ()):
        if one is not None:
            yield from _alone(one, f"spec.attachments[{index}]")


def parts(spec: Written) -> tuple[Attachment, ...]:
    """What can be read of each attachment, to be judged against others; never to be honoured.

    What cannot be read names nothing ("", no name and no id, no gateways), and is not taken for left out.
    """
    every = enumerate(spec["attachments"] or ())
    return tuple(_read(_legible(one or NOTHING), f"spec.attachments[{index}]") for index, one in every)


# one attachment

NOTHING: Written = {"site": None, "vpc": None, "subnets": None}


def _legible(written: Written) -> Written:
    """An attachment as `_read` takes it, without what is wrong or missing."""
    vpc, listed = written["vpc"], written["subnets"] or ()
    if not whole(vpc):
        vpc = {"project": vpc.get("project") or {}} if isinstance(vpc, dict) else {}
    lists = {key: _present(written[key]) for key in ("except", "gateways", "securityGroups") if key in written}
    # of "*" without its exceptions nobody can tell what it stands for
    usable = [_usable(s) and (s != EVERY or whole(written.get("except", []))) for s in listed]
    return {
        "name": written.get("name", written["site"]) or "",
        "site": written["site"] or "",
        "vpc": vpc,
        "subnets": [s if good else None for s, good in zip(listed, usable, strict=True)],
        **lists,
    }


def _usable(subnet: str | Written | None) -> bool:
    return whole(subnet) and not (isinstance(subnet, dict) and any(_described(subnet, "")))


def _present(values: Sequence[T | None] | None) -> list[T]:
    return [v for v in values or () if v is not None]


def _read(written: Written, at: str) -> Attachment:
    vpc, listed = written["vpc"], written["subnets"]
    if isinstance(vpc, str):
        vpc = {"name": vpc}
    project = vpc.get("project")
    if isinstance(project, dict):
        project = project.get("name") or project.get("id")
    gateways = written.get("gateways")
    return Attachment(
        name=written.get("name", written["site"]),
        site=written["site"],
        vpc=VpcRef(vpc.get("name"), _uuid(vpc.get("id")), project),
        subnets=tuple(_subnet(s, f"{at}.subnets[{i}]") for i, s in enumerate(listed) if s not in (None, EVERY)),
        every=EVERY in listed,
        exclude=tuple(written.get("except", ())),
        gateways=None if gateways is None else tuple(gateways),
        security_groups=tuple(written.get("securityGroups", ())),
        field=at,
    )


def _subnet(written: str | Written, at: str) -> SubnetRef:
    if isinstance(written, str):
        return SubnetRef(name=written, field=at)
    cidrs = sorted(map(ip_network, _listed(written.get("cidr"))), key=lambda p: p.version)
    given = {a.version: a for a in map(ip_address, _listed(written.get("gateway")))}
    gateways = tuple(given.get(c.version) or first_host(c) for c in cidrs)
    return SubnetRef(written.get("name"), _uuid(written.get("id")), tuple(cidrs), gateways, at)


def _uuid(written: str | None) -> str | None:
    """As databases write it."""
    return written and written.lower()


def first_host(prefix: Prefix) -> Address:
    """The usual address of a subnet's router.

    >>> first_host(ip_network("10.5.0.0/24"))
    IPv4Address('10.5.0.1')
    """
    return prefix.network_address + 1


def _listed(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _alone(written: Written, at: str) -> Iterator[Problem]:
    vpc = written["vpc"]
    if isinstance(vpc, dict):
        yield from _reference(vpc, f"{at}.vpc")
        if isinstance(vpc.get("project"), dict):
            yield from _reference(vpc["project"], f"{at}.vpc.project")
        if vpc.get("id") and not _UUID.fullmatch(vpc["id"]):
            yield Problem("InvalidId", f"{vpc['id']!r} is not a UUID", field=f"{at}.vpc.id", remedy="use name instead")
    listed = written["subnets"] or ()
    if EVERY in listed and len(listed) > 1:
        yield Problem(
            "Duplicate", '"*" already stands for every subnet', field=f"{at}.subnets", remedy='write ["*"] alone'
        )
    if "except" in written:
        every = EVERY in listed or not whole(written["subnets"])
        yield from _except(_present(written["except"]), every, f"{at}.except")
    for twice in doubled(_present(written.get("gateways"))):
        yield Problem("Duplicate", f"gateway {twice!r} is listed twice", field=f"{at}.gateways", remedy="remove one")
    for index, subnet in enumerate(listed):
        if isinstance(subnet, dict):
            yield from _described(subnet, f"{at}.subnets[{index}]")
    yield from _twice(listed, at)


def _reference(written: Written, at: str) -> Iterator[Problem]:
    both, neither = {"name", "id"} <= written.keys(), not {"name", "id"} & written.keys()
    # what cannot be read may be a slip of either
    if both or (neither and whole(written)):
        said = "both name and id are given" if both else "neither name nor id is given"
        yield Problem("InvalidReference", said, field=at, remedy="give one of the two")


_UUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def doubled(words: Sequence[str]) -> list[str]:
    """Words that are there more than once, in order."""
    return sorted(word for word, count in Counter(words).items() if count > 1)


def _except(names: Sequence[str], every: bool, at: str) -> Iterator[Problem]:
    if not every:
        yield Problem("InvalidExcept", 'except goes with subnets: ["*"] only', field=at, remedy="remove it")
    for name in doubled(names):
        yield Problem("Duplicate", f"{name!r} is listed twice", field=at, remedy="remove one")


def _twice(listed: Sequence[str | Written | None], at: str) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, subnet in enumerate(listed):
        for key in _keys(subnet):
            if key in seen:
                where = f"{at}.subnets[{index}]"
                yield Problem("Duplicate", f"subnet {key[1]!r} is listed twice", field=where, remedy="remove one")
            seen.add(key)


def _keys(subnet: str | Written | None) -> list[tuple[str, str]]:
    if isinstance(subnet, str):
        return [("name", subnet)]
    return [(k, subnet[k]) for k in ("name", "id") if subnet and subnet.get(k)]


def _described(subnet: Written, at: str) -> Iterator[Problem]:
    yield from _reference(subnet, at)
    if "cidr" not in subnet:
        if "gateway" in subnet and whole(subnet):
            yield Problem("MissingField", "gateway is given, cidr is not", field=f"{at}.cidr", remedy="add the cidr")
        return
    if "id" in subnet:
        yield Problem(
            "InvalidReference", "an id exists already, so it takes no cidr", field=f"{at}.cidr", remedy="give a name"
        )
    if not whole(subnet["cidr"]):
        return
    cidrs = [ip_network(c) for c in _listed(subnet["cidr"])]
    if len({c.version for c in cidrs}) < len(cidrs):
        yield Problem("InvalidCidr", "more than one cidr of a family", field=f"{at}.cidr", remedy="give one per family")
    for cidr in cidrs:
        if said := _unusable(cidr):
            yield Problem("InvalidCidr", f"{cidr} {said}", field=f"{at}.cidr", remedy="choose another")
    yield from _gateways(cidrs, [ip_address(g) for g in _present(_listed(subnet.get("gateway")))], f"{at}.gateway")


def _unusable(cidr: Prefix) -> str:
    if cidr.is_multicast or cidr.is_loopback or cidr.is_unspecified or cidr.prefixlen == 0:
        return "is not a unicast network"
    if cidr.is_link_local:
        return "is link-local, which no router forwards"
    if cidr.version == 4 and cidr.is_reserved:
        return "is reserved"
    return "has no room for a router and a host" if cidr.num_addresses < 4 else ""


def _gateways(cidrs: Sequence[Prefix], gateways: Sequence[Address], at: str) -> Iterator[Problem]:
    by_version = {c.version: c for c in cidrs}
    if len({g.version for g in gateways}) < len(gateways):
        yield Problem("InvalidGateway", "more than one gateway of a family", field=at, remedy="give one per family")
    for gateway in gateways:
        cidr = by_version.get(gateway.version)
        if cidr is None:
            said = f"gateway {gateway} is IPv{gateway.version}, and no cidr is"
            yield Problem("InvalidGateway", said, field=at, remedy="give an address of the cidr's family")
        elif gateway not in cidr:
            yield Problem(
                "InvalidGateway", f"gateway {gateway} is outside {cidr}", field=at, remedy=f"choose one in {cidr}"
            )
        elif gateway == cidr.network_address or (cidr.version == 4 and gateway == cidr.broadcast_address):
            said = f"gateway {gateway} is the network's own or broadcast address"
            yield Problem("InvalidGateway", said, field=at, remedy=f"use {first_host(cidr)}")


# all attachments of one Interconnect


def together(attachments: Sequence[Attachment]) -> Iterator[Problem]:
    """What must hold among the attachments of one Interconnect, or what can be read of them."""
    names: set[str] = set()
    for one in attachments:
        if one.name and one.name in names:
            remedy = "give each attachment of a site its own name"
            yield Problem(
                "Duplicate", f"two attachments are named {one.name!r}", field=f"{one.field}.name", remedy=remedy
            )
        names.add(one.name)
    known = [a for a in attachments if vpc_known(a)]
    if len(known) == len(attachments) > 1 and len({vpc_key(a) for a in known}) == 1:
        said = f"all attachments are on one VPC ({attachments[0].vpc} at {attachments[0].site})"
        yield Problem(
            "OneVpc", said, field="spec.attachments", remedy="attach two VPCs; within one its router connects"
        )
    for one, other in combinations(known, 2):
        if vpc_key(one) == vpc_key(other):
            yield from _shared(one, other)
    yield from _overlaps([s for a in attachments for s in a.subnets if s.cidrs])


def vpc_known(attachment: Attachment) -> bool:
    """Whether it can be read which VPC is meant."""
    return bool(attachment.site and (attachment.vpc.name or attachment.vpc.id))


def vpc_key(attachment: Attachment) -> tuple[str, str | None, str | None, str | None]:
    """The same for two attachments that name one VPC in the same way."""
    vpc = attachment.vpc
    return attachment.site, vpc.name, vpc.id, vpc.project


def _shared(one: Attachment, other: Attachment) -> Iterator[Problem]:
    both = f"attachments {one.name!r} and {other.name!r}"
    mine, excluded = {(s.name, s.id) for s in one.subnets}, frozenset(one.exclude)
    for subnet in other.subnets:
        if (subnet.name, subnet.id) in mine or (one.every and subnet.name not in excluded):
            said = f"subnet {str(subnet)!r} of VPC {one.vpc} is in {both}"
            yield Problem("Duplicate", said, field=subnet.field, remedy="list it in one of them")
    excluded = frozenset(other.exclude)
    if other.every and (one.every or any(s.name not in excluded for s in one.subnets)):
        said = f'"*" of VPC {one.vpc} contains subnets that are in {both}'
        yield Problem("Duplicate", said, field=f"{other.field}.subnets", remedy="list each subnet in one of them")


def _overlaps(subnets: Sequence[SubnetRef]) -> Iterator[Problem]:
    """Two defined subnets that share addresses. In order of address, a prefix can only overlap the last wide one."""
    every = sorted(
        ((cidr, subnet) for subnet in subnets for cidr in subnet.cidrs),
        key=lambda pair: (pair[0].version, int(pair[0].network_address), pair[0].prefixlen),
    )
    wide: tuple[Prefix, SubnetRef] | None = None
    for cidr, subnet in every:
        if wide is not None and wide[0].version == cidr.version and wide[0].overlaps(cidr):
            said = f"subnets {str(wide[1])!r} and {str(subnet)!r} overlap: {wide[0]} and {cidr}"
            yield Problem("Overlap", said, field=f"{subnet.field}.cidr", remedy="renumber one of them")
        else:
            wide = (cidr, subnet)
