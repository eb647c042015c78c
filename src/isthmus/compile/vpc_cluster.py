"""The VPC's side of a link where a cluster of ours keeps the router: rows as anywhere, and Subnets as its objects.

Tables and columns of what goes to the API server are Kubernetes' own words.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.compile import vpc_ovn
from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Row, Value, kubernetes

SUBNET = "Subnet"


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    yield from _subnets(joined, side)
    yield from vpc_ovn.way(joined, side)


def _subnets(joined: Joined, side: Side) -> Iterator[Row]:
    maker = Maker(joined, side)
    maker.database = kubernetes(side.site)
    for subnet in side.defined:
        columns: dict[str, Value] = {
            "name": subnet.name,
            "vpc": side.vpc.name,
            "cidrBlock": ",".join(str(n.network) for n in subnet.networks),
            "gateway": ",".join(str(n.ip) for n in subnet.networks),
        }
        yield maker.row(SUBNET, f"subnet/{subnet.name}", columns, path=f"{maker.path}.subnets[{subnet.name}]")
