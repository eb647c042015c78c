"""Interconnect -> rows: the one list of who makes which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isthmus.compile import edge, link, policies, probes, routes, vpc_cluster, vpc_kubeovn, vpc_neutron, vpc_ovn
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Row

LINK_MAKERS: Mapping[str, Callable[[Joined, Side], Iterator[Row]]] = {
    "ovn": vpc_ovn.rows,
    "neutron": vpc_neutron.rows,
    "isthmus": vpc_cluster.rows,
    "kube-ovn": vpc_kubeovn.rows,
}
"""Who keeps the VPC router -> what makes its end of the link, its routes to the edge, and subnets that we define."""


def rows(joined: Joined) -> Iterator[Row]:
    """Every row of one Interconnect but the transit switch's, each once; that one outlives them (`transit.row`)."""
    for side in joined.sides:
        yield from edge.rows(joined, side)
        yield from link.rows(joined, side)
        yield from LINK_MAKERS[side.vpc.keeper](joined, side)
        yield from routes.rows(joined, side)
        yield from policies.rows(joined, side)
        yield from probes.rows(joined, side)
