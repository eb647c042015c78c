"""Does every packet go where the documents say, and nowhere else? Asked of all machines of a lab, by packets.

What is expected comes from the operator's documents as they are at that moment and from what the lab is; what is
observed is counted at the receiver's interface. Neither looks at a row.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from isthmus.lab import traffic
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine
from isthmus.model.intent import Attachment, Configuration

PROTOCOLS = {"udp": 4, "udp6": 6}
"""Name in a report -> IP version."""


@dataclass(frozen=True, slots=True)
class Check:
    """One ordered pair of machines, in one phase.

    expected  the documents, or the tenant's own router, let it through
    received  packets with this pair's own mark, counted at the receiver's interface
    """

    phase: str
    source: Machine
    target: Machine
    protocol: str
    expected: bool
    sent: int
    received: int

    @property
    def observed(self) -> bool:
        return self.received > 0

    @property
    def differs(self) -> bool:
        """Also where nothing could be sent: then silence proves nothing."""
        return self.observed is not self.expected or not self.sent

    def fields(self) -> dict[str, Any]:
        """As the contract's JSON."""
        return {
            "phase": self.phase,
            "from": self.source.name,
            "to": self.target.name,
            "protocol": self.protocol,
            "expected": self.expected,
            "observed": self.observed,
            "sent": self.sent,
            "received": self.received,
        }


@dataclass(frozen=True, slots=True)
class Omitted:
    """An ordered pair that no packet can tell apart: both have one and the same address."""

    phase: str
    source: Machine
    target: Machine

    def fields(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "from": self.source.name,
            "to": self.target.name,
            "reason": f"both are {address(self.source)}",
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """All ordered pairs in one phase.

    strays  what was seen at another tenant's machine without having been sent there, in words
    """

    phase: str
    checks: tuple[Check, ...]
    omitted: tuple[Omitted, ...]
    strays: tuple[str, ...]

    @property
    def differences(self) -> tuple[str, ...]:
        """In words; empty where all is as it should be."""
        return (
            *(
                f"{c.source.name} to {c.target.name} ({c.protocol}): {c.received} of {c.sent} arrived, "
                f"{'some' if c.expected else 'none'} should"
                for c in self.checks
                if c.differs
            ),
            *self.strays,
        )


def address(machine: Machine) -> str:
    """The one that stands for a machine: IPv4 where it has it."""
    return str(machine.address(4) or machine.address(6))


def prove(lab: Lab, configuration: Configuration, phase: str, *, count: int = 3) -> Proof:
    """Send `count` packets for every ordered pair of machines and IP version that both have."""
    machines = lab.machines
    checks: list[Check] = []
    strays: list[str] = []
    for protocol, version in PROTOCOLS.items():
        found = traffic.matrix(lab, traffic.pairs(machines, version), count=count, version=version)
        for (source, target), counted in found.items():
            one, other = lab.machine(source), lab.machine(target)
            expected = wanted(configuration, one, other)
            checks.append(Check(phase, one, other, protocol, expected, counted.sent, counted.received))
        strays += [f"{a} sent to {b} and was seen at {c} ({protocol})" for a, b, c in found.strays]
    return Proof(phase, tuple(checks), tuple(_omitted(machines, phase)), tuple(strays))


def settle(lab: Lab, configuration: Configuration, seconds: float) -> bool:
    """Send until each pair that the documents let through got a packet by each IP version; False where it takes longer.

    Ready speaks of gateway chassis. On a busy machine the hosts of machines may be a moment behind them.
    """
    deadline = time.monotonic() + seconds
    return all([_settle(lab, configuration, version, deadline) for version in PROTOCOLS.values()])


def _settle(lab: Lab, configuration: Configuration, version: int, deadline: float) -> bool:
    pairs = traffic.pairs(lab.machines, version)
    left = {p for p in pairs if wanted(configuration, lab.machine(p[0]), lab.machine(p[1]))}
    while left and time.monotonic() < deadline:
        left -= traffic.matrix(lab, sorted(left), count=1, version=version).open
    return not left


def _omitted(machines: Iterable[Machine], phase: str) -> Iterator[Omitted]:
    every = tuple(machines)
    for one in every:
        for other in every:
            if one is not other and address(one) == address(other):
                yield Omitted(phase, one, other)


def wanted(configuration: Configuration, source: Machine, target: Machine) -> bool:
    """Whether packets must arrive: over an Interconnect that lists both, or natively within one VPC.

    Where a machine's security groups are its project's own affair, nothing new comes in from the other sides.
    """
    if native(source, target):
        return True
    closed = {s.name for s in configuration.sites if s.type == "openstack"}
    return any(
        _lists(here, source) and _lists(there, target) and (there.site not in closed or bool(there.security_groups))
        for interconnect in configuration.interconnects
        for here in interconnect.attachments
        for there in interconnect.attachments
        if here is not there
    )


def native(source: Machine, target: Machine) -> bool:
    """Whether the two meet without us: on one switch, or at one router."""
    if source.site != target.site:
        return False
    return source.switch == target.switch or (source.router is not None and source.router == target.router)


def _lists(attachment: Attachment, machine: Machine) -> bool:
    if (attachment.site, str(attachment.vpc)) != (machine.site, machine.router):
        return False
    if attachment.every:
        return not machine.external and machine.switch not in attachment.exclude
    return machine.switch in {str(s) for s in attachment.subnets}


def crossing(configuration: Configuration, machines: Iterable[Machine]) -> list[traffic.Pair]:
    """Ordered pairs that the documents let through and that are not native; of each subnet its first machine."""
    first: dict[tuple[str, str], Machine] = {}
    for machine in machines:
        first.setdefault((machine.site, machine.switch), machine)
    return [
        (a.name, b.name)
        for a in first.values()
        for b in first.values()
        if not native(a, b) and wanted(configuration, a, b)
    ]
