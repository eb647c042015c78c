"""The VPC's side of a link where Kube-OVN keeps the router: its port as a row, all else in its `Vpc` (ADR 0028).

Kube-OVN's controller leaves router ports and switches of others alone, and removes every policy of a router that its
`Vpc` does not have. Tables and columns of what goes there are the fields of `Vpc.spec` and of their elements.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.compile import link, names, policies
from isthmus.compile.edge import Maker
from isthmus.compile.routes import away
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Parent, Row, Value, kubernetes

ROUTES, POLICIES = "staticRoutes", "policyRoutes"


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    yield from link.vpc_end(joined, side)
    maker = Maker(joined, side)
    yield from link.neighbours(joined, side, dict.fromkeys((4, 6), maker.name("link-vpc")))
    maker.database = kubernetes(side.site)
    yield from _routes(joined, side, maker)
    yield from _guard(joined, side, maker)


def _routes(joined: Joined, side: Side, maker: Maker) -> Iterator[Row]:
    """None is aggregated: the shorter of two prefixes may lose against a source route (docs/kube-ovn.md)."""
    edge = {i.version: str(i.ip) for i in joined.link(side, link.EDGE)}
    for prefix in (p for p in away(joined, side) if p.version in edge):
        hop = edge[prefix.version]
        columns: Mapping[str, Value] = {"policy": "policyDst", "cidr": str(prefix), "nextHopIP": hop}
        yield maker.row(ROUTES, f"vpc/route/{prefix}", columns, Parent("Vpc", ROUTES, name=side.vpc.name))


def _guard(joined: Joined, side: Side, maker: Maker) -> Iterator[Row]:
    """The policies that routers of others have as rows: priority, match and action are words of both.

    One that says something else has another key: the old one stays until OVN has the new one.
    """
    parent = Parent("Vpc", POLICIES, name=side.vpc.name)
    for row in policies.on_vpc(joined, side, dict.fromkeys((4, 6), maker.name("link-vpc")), parent):
        key = f"{row.key}/{names.short(str(row.columns['match']))}"
        yield Row(maker.database, POLICIES, key, row.columns, parent, row.path)
