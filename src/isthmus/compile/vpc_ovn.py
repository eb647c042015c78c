"""The VPC's side of a link where the northbound database is ours to write: rows on a router of somebody's."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.compile import link, policies, routes, subnets
from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Row


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    yield from subnets.rows(joined, side)
    yield from way(joined, side)


def way(joined: Joined, side: Side) -> Iterator[Row]:
    """The link, and the routes and the guard of the router; no subnet."""
    maker = Maker(joined, side)
    yield from link.vpc_end(joined, side)
    yield from routes.on_vpc(joined, side)
    door = dict.fromkeys((4, 6), maker.name("link-vpc"))
    yield from policies.on_vpc(joined, side, door, maker.on_vpc("policies"))
