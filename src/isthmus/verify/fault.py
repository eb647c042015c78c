"""A row of a cluster's own networks that is wrong, and where to look for such."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from isthmus.verify.cluster import Home, Networks
from isthmus.verify.matrix import Matrix, switches_of
from isthmus.verify.path import RowRef, Trace
from isthmus.verify.reach import World
from isthmus.verify.zone import Zone


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that is not as the cluster's objects want it, or is not there.

    kind  `pod`, `subnet`, `route`, or `stranger`: somebody is on a Subnet's switch whom no object knows
    name  of the object: NAMESPACE/NAME of a Pod
    """

    kind: str
    site: str
    name: str
    row: RowRef
    reason: str
    trace: Trace | None = None

    def __str__(self) -> str:
        return f"{self.site}: {self.kind} {self.name}: {self.reason}: {self.row}"

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "site": self.site,
            "name": self.name,
            "row": self.row.as_json(),
            "reason": self.reason,
            "trace": self.trace.as_json() if self.trace else None,
        }


class Ground:
    """The rows of a cluster's site, and what is wanted of them.

    vpcs       name of a Vpc -> its Subnets
    of_switch  a switch -> the Subnet that it is
    """

    def __init__(self, world: World, networks: Networks) -> None:
        self.world, self.networks = world, networks
        self.zone: Zone = world.zones[networks.site]
        self.matrix = Matrix(world)
        self.vpcs: dict[str, list[Home]] = defaultdict(list)
        for home in networks.homes:
            self.vpcs[home.vpc].append(home)
        self.of_switch = {u: h for h in networks.homes for u in switches_of(self.zone, h.place)}

    def fault(self, kind: str, name: str, row: RowRef, reason: str, trace: Trace | None = None) -> Fault:
        return Fault(kind, self.zone.site, name, row, reason, trace)
