"""Address ranges that must not meet, judged per VPC router.

An equal or nested prefix on one router silently becomes ECMP or a more specific route, and carries packets to the
wrong tenant. Identical ranges in different VPCs are normal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from isthmus.compile.view import Side
from isthmus.errors import Problem
from isthmus.model.facts import Role, Subnet
from isthmus.model.intent import Interconnect, Pools, Prefix

VpcKey = tuple[str, str]
"""(site, UUID of the VPC router)."""

Claims = Mapping[VpcKey, Mapping[str, frozenset[Prefix]]]
"""VPC -> Interconnect -> the remote prefixes that it routes there, or wants to."""

Standing = Claims
"""The same, of what rows route there now."""


@dataclass(frozen=True, slots=True)
class Collision:
    """A subnet of `side` that cannot be connected, and why. `loser` holds for both ends of a clash inside."""

    side: Side
    subnet: Subnet
    problem: Problem


def overlaps(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def remotes(sides: Iterable[Side], side: Side) -> frozenset[Prefix]:
    """What a side's VPC router gets routes for."""
    return frozenset(p for other in sides if other is not side for p in other.prefixes)


def collisions(
    interconnect: Interconnect, sides: tuple[Side, ...], pools: Pools, claims: Claims, standing: Standing
) -> Iterator[Collision]:
    """Every subnet that meets another range.

    claims    remote prefixes of the other Interconnects on each VPC
    standing  of two that want one range, the one whose rows have it stays and the newcomer goes
    """
    yield from _inside(interconnect, sides)
    for side in sides:
        for subnet in side.subnets:
            yield from _pools(interconnect, side, subnet, pools)
    for here in sides:
        for there in sides:
            if there is not here:
                for subnet in there.subnets:
                    yield from _foreign(interconnect, here, there, subnet)
                    yield from _ours(interconnect, here, there, subnet, claims, standing)


def _collision(
    interconnect: Interconnect, code: str, side: Side, subnet: Subnet, message: str, remedy: str
) -> Collision:
    origin = interconnect.origin
    text = f"interconnect {interconnect.name!r}: subnet {subnet.name!r} of {side.name!r}: {message}"
    problem = Problem(code, text, origin.file, origin.document, f"{side.attachment.field}.subnets", remedy)
    return Collision(side, subnet, problem)


def _inside(interconnect: Interconnect, sides: tuple[Side, ...]) -> Iterator[Collision]:
    for one, other in combinations(sides, 2):
        for mine in one.subnets:
            for theirs in other.subnets:
                pair = next(((p, q) for p in mine.prefixes for q in theirs.prefixes if overlaps(p, q)), None)
                if pair is not None:
                    text = f"{pair[0]} overlaps {pair[1]} of subnet {theirs.name!r} of {other.name!r}"
                    remedy = "renumber one of them, or do not list both"
                    yield _collision(interconnect, "Overlap", one, mine, text, remedy)
                    text = f"{pair[1]} overlaps {pair[0]} of subnet {mine.name!r} of {one.name!r}"
                    yield _collision(interconnect, "Overlap", other, theirs, text, remedy)


def _pools(interconnect: Interconnect, side: Side, subnet: Subnet, pools: Pools) -> Iterator[Collision]:
    for prefix in subnet.prefixes:
        pool = next((p for p in (*pools.link, *pools.transit) if overlaps(p, prefix)), None)
        if pool is not None:
            text = f"{prefix} overlaps the Fabric's address pool {pool}"
            yield _collision(interconnect, "PoolOverlap", side, subnet, text, "set spec.addressPools of the Fabric")


def _foreign(interconnect: Interconnect, here: Side, there: Side, subnet: Subnet) -> Iterator[Collision]:
    """Against networks and routes of the VPC router that it would be routed on; those always win."""
    where = f"of router {here.vpc.name!r} at site {here.site!r}"
    listed = {name for s in here.subnets for name in s.ports}
    for prefix in subnet.prefixes:
        for port in here.vpc.ports:
            if port.name in listed or (port.role is Role.LINK and port.owned):
                continue
            hit = next((p for p in port.prefixes if overlaps(p, prefix)), None)
            if hit is not None:
                text = f"{prefix} overlaps network {hit} {where}"
                yield _collision(interconnect, "Overlap", there, subnet, text, "renumber one of them")
        for route in here.vpc.foreign_routes:
            if route.prefix.prefixlen and overlaps(route.prefix, prefix):
                text = f"{prefix} overlaps the static route {route.prefix} via {route.nexthop} {where}"
                remedy = "remove that route, or renumber"
                if route.owner:
                    text += f", which the Isthmus of owner {route.owner!r} keeps"
                    remedy = f"renumber, or have owner {route.owner!r} disconnect what it leads to"
                yield _collision(interconnect, "RouteOverlap", there, subnet, text, remedy)


def _ours(
    interconnect: Interconnect, here: Side, there: Side, subnet: Subnet, claims: Claims, standing: Standing
) -> Iterator[Collision]:
    stood = standing.get((here.site, here.vpc.uuid), {})
    for name, prefixes in sorted(claims.get((here.site, here.vpc.uuid), {}).items()):
        if name == interconnect.name:
            continue
        for prefix in subnet.prefixes:
            mine = _rank(interconnect.name, prefix, stood)
            hits = (p for p in sorted(prefixes, key=str) if overlaps(p, prefix) and _rank(name, p, stood) < mine)
            if (hit := next(hits, None)) is not None:
                text = (
                    f"{prefix} overlaps {hit} that interconnect {name!r} brings to router {here.vpc.name!r} "
                    f"of site {here.site!r}"
                )
                yield _collision(interconnect, "Overlap", there, subnet, text, "renumber one of them, or use two VPCs")


def _rank(interconnect: str, prefix: Prefix, stood: Mapping[str, frozenset[Prefix]]) -> tuple[bool, str]:
    """The lesser of two stays: what has rows on the router before what has none, then the first by name."""
    return prefix not in stood.get(interconnect, ()), interconnect
