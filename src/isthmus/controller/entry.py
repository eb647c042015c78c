"""What the planner knows of one Interconnect, between passes."""

from __future__ import annotations

from dataclasses import dataclass, field

from isthmus.backends.changes import Change
from isthmus.compile.view import Joined, Side
from isthmus.compile.vpc_cluster import SUBNET
from isthmus.errors import Problem
from isthmus.model.intent import Interconnect
from isthmus.model.rows import kubernetes, neutron

CLUSTERS = kubernetes("")
APIS = (neutron(""), CLUSTERS)
"""Beginnings of the names of what is no database."""


@dataclass
class Entry:
    """One Interconnect of the configuration, or one that only rows tell of (`intent` is None: it goes away).

    sides      resolved, before overlap was judged
    unresolved what resolving alone found wrong
    problems   that and collisions: why it is not accepted
    joined     what was compiled; None where nothing may stand
    changes    database -> what is to be written
    blocked    why it could not be worked on at all in this pass (a site or the Fabric is out of reach)
    failed     what a database answered to the last write of it
    lingering  sites whose gateway chassis have not yet confirmed that the edge is gone
    refusal    what an API answered to the last call for what is still to be written there
    numbered   ovn-ic has numbered the ports on the transit switch at all sites in reach

    The last four say what the work so far was made from: the documents, other entries on the same routers, and all.
    """

    name: str
    intent: Interconnect | None
    sides: tuple[Side, ...] = ()
    unresolved: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    joined: Joined | None = None
    changes: dict[str, list[Change]] = field(default_factory=dict)
    blocked: Problem | None = None
    failed: Problem | None = None
    lingering: tuple[str, ...] = ()
    refusal: Problem | None = None
    numbered: bool = True
    text: object = None
    near: object = None
    resolved_from: object = None
    compiled_from: object = None

    @property
    def waits_for(self) -> tuple[str, str]:
        """Who has not done yet what the rest waits for: a condition's reason, and a sentence."""
        if self.calls:
            if self.refusal is not None:
                return self.refusal.code, self.refusal.advice
            if any(c.table == SUBNET for changes in self.changes.values() for c in changes):
                says = "the networks of the cluster do not have every Subnet yet; does their `isthmus serve` run?"
                return "WaitingForSubnet", says
            if any(changes for database, changes in self.changes.items() if database.startswith(CLUSTERS)):
                return "WaitingForKubeOvn", "Kube-OVN has not made every route and policy of its Vpc yet; does it run?"
            return "WaitingForNeutron", "Neutron is still being asked for networks, routes or rules"
        if all(c.deferred for changes in self.changes.values() for c in changes):
            says = "ovn-ic has not made the transit switch's copy, or numbered its port, yet; does it run?"
            return "WaitingForOvnIc", says
        return "RowsMissing", "the databases do not hold every row yet"

    @property
    def calls(self) -> bool:
        """Something is left to ask an API for."""
        return any(changes for database, changes in self.changes.items() if database.startswith(APIS))

    @property
    def only_calls(self) -> bool:
        """And nothing to write to a database."""
        return self.calls and not any(c for d, c in self.changes.items() if not d.startswith(APIS))

    @property
    def clean(self) -> bool:
        """Everything that should be is; deferred rows count as missing, strays that are to be removed do not."""
        return self.numbered and all(c.stray for changes in self.changes.values() for c in changes)
