"""Interconnect -> rows: the one list of who makes which."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.compile import edge, link, policies, probes, routes, subnets
from isthmus.compile.view import Joined
from isthmus.model.rows import Row


def rows(joined: Joined) -> Iterator[Row]:
    """Every northbound row of one Interconnect, each once; the transit switch outlives them (`transit.row`)."""
    for side in joined.sides:
        yield from subnets.rows(joined, side)
        yield from edge.rows(joined, side)
        yield from link.rows(joined, side)
        yield from routes.rows(joined, side)
        yield from policies.rows(joined, side)
        yield from probes.rows(joined, side)
