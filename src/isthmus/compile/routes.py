"""Static routes: the VPC router to the edge, the edge both ways. ovn-ic learns none (docs/route-learning.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side, order
from isthmus.model.facts import Interface
from isthmus.model.intent import Prefix
from isthmus.model.rows import Parent, Row, Value


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    """Those of the edge."""
    maker = Maker(joined, side)
    on_edge = maker.on_edge("static_routes")
    yield from _routes(maker, "edge", on_edge, side.prefixes, joined.link(side, 2))
    for other in joined.others(side):
        yield from _routes(maker, "edge", on_edge, reached(joined, other), towards(joined, side, other))


def on_vpc(joined: Joined, side: Side) -> Iterator[Row]:
    """Those of a VPC router that we may write on."""
    maker = Maker(joined, side)
    yield from _routes(maker, "vpc", maker.on_vpc("static_routes"), away(joined, side), joined.link(side, 1))


def away(joined: Joined, side: Side) -> list[Prefix]:
    """What a side's VPC router sends to its edge."""
    return [p for other in joined.others(side) for p in reached(joined, other)]


def reached(joined: Joined, side: Side) -> list[Prefix]:
    """What others route to a side: its connected subnets, and its link where a probe waits for answers."""
    link = [i.network for i in joined.link(side, 1)] if side.probes else []
    return sorted({*side.prefixes, *link}, key=order)


def towards(joined: Joined, side: Side, other: Side) -> tuple[Interface, ...]:
    """The next hops, one per family, from a side's edge to another side."""
    first = joined.first(side.site)
    if side is not first:
        return joined.inner(side, 1)
    if other.site == side.site:
        return joined.inner(other, 2)
    return joined.transit(joined.first(other.site))


def _routes(
    maker: Maker, on: str, parent: Parent, prefixes: Iterable[Prefix], nexthops: Iterable[Interface]
) -> Iterator[Row]:
    hops = {hop.version: str(hop.ip) for hop in nexthops}
    for prefix in prefixes:
        if prefix.version in hops:
            columns: Mapping[str, Value] = {"ip_prefix": str(prefix), "nexthop": hops[prefix.version]}
            yield maker.row("Logical_Router_Static_Route", f"{on}/route/{prefix}", columns, parent)
