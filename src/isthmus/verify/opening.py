"""What one machine's port lets in from a subnet, or out to it, by the ACLs of its switch: asked packet by packet.

Of all packets those are asked that some rule tells apart: addresses by the constants and address sets of the rules that
concern the port, destination ports likewise, over ICMP (an echo request), TCP (the first packet) and UDP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from isthmus.model.intent import Prefix
from isthmus.verify.classes import named_ports, named_sets
from isthmus.verify.columns import interfaces
from isthmus.verify.match import constants
from isthmus.verify.matrix import Answer
from isthmus.verify.path import Packet, RowRef
from isthmus.verify.place import Place
from isthmus.verify.rules import filtered, rules_for
from isthmus.verify.zone import Rule, SwitchPort, Zone

PROTOCOLS = ("icmp", "tcp", "udp")
_PERSONAL = {
    True: re.compile(r"outport == [^@]|outport == \{|ip[46]\.dst"),
    False: re.compile(r"inport == [^@]|inport == \{|ip[46]\.src"),
}
"""Ingress: what a rule says that may hold for one port and not for its neighbour."""


@dataclass(frozen=True, slots=True)
class Opening:
    """`passes` says in words what does, nothing where `answer` is NO; `closed` are IP versions that do not all pass.

    row  what drops, or cannot be judged, first; None where nothing does
    """

    answer: Answer
    passes: tuple[str, ...] = ()
    closed: tuple[int, ...] = ()
    row: RowRef | None = None


OPEN = Opening(Answer.YES, ("everything",))


@dataclass(frozen=True, slots=True)
class Door:
    """A machine's port, seen from one side: `ingress` is what comes to it."""

    zone: Zone
    port: SwitchPort
    ingress: bool

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those that may concern the port."""
        switch, direction = self.zone.switches[self.port.switch], "to-lport" if self.ingress else "from-lport"
        return tuple(
            r for late in (False, True) for r in rules_for(self.zone, switch, (direction, late), self.port.name)
        )

    @property
    def personal(self) -> bool:
        """Some rule may treat the port otherwise than others in the same port groups."""
        return any(_PERSONAL[self.ingress].search(r.match) for r in self.rules)

    @property
    def kind(self) -> object:
        """Equal for ports of a site that are treated alike."""
        return tuple(r.row.uuid for r in self.rules), self.port.name if self.personal else ""

    def asks(self, packet: Packet) -> tuple[str, Rule | None]:
        """`allow`, `drop` or `unknown`, and the rule that says it."""
        switch = self.zone.switches[self.port.switch]
        if self.ingress:
            verdict = filtered(self.zone, switch, packet, "to-lport", outport=self.port.name)
        else:
            verdict = filtered(self.zone, switch, packet, "from-lport", inport=self.port.name)
        return verdict.word, verdict.rule

    def between(self, own: int, other: int, family: int, protocol: str) -> Packet:
        src, dst = (other, own) if self.ingress else (own, other)
        return Packet.between(family, src, dst, protocol)

    def addresses(self, prefixes: Iterable[Prefix]) -> dict[int, int]:
        """Family -> the port's first address in one of the prefixes."""
        found: dict[int, int] = {}
        for prefix in prefixes:
            first, last = int(prefix.network_address), int(prefix.broadcast_address)
            here = [n for o in self.port.owned for f, n in o.addresses if f == prefix.version and first <= n <= last]
            if here:
                found.setdefault(prefix.version, min(here))
        return found


class Openings:
    """Asks; ports of one kind and the same subnet are asked once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool, object, tuple[Prefix, ...], tuple[int, ...]], Opening] = {}

    def opening(self, door: Door, own: Place, peer: Place) -> Opening:
        """What the door lets pass between the port's addresses in `own` and `peer`; open where they have none alike."""
        addresses = door.addresses(own.prefixes)
        key = (door.zone.site, door.ingress, door.kind, peer.prefixes, tuple(sorted(addresses)))
        if key not in self._known:
            self._known[key] = _opening(door, addresses, peer)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class _Scope:
    """Addresses of the other side that are treated alike, and what passes of each protocol."""

    prefix: Prefix
    low: int
    high: int
    words: tuple[str, ...]
    row: RowRef | None
    doubtful: bool

    def on_to(self, after: _Scope) -> _Scope:
        """Both, where they are neighbours and let the same pass."""
        return replace(self, high=after.high, row=self.row or after.row, doubtful=self.doubtful or after.doubtful)

    def __str__(self) -> str:
        whole = int(self.prefix.network_address), int(self.prefix.broadcast_address)
        if (self.low, self.high) == whole:
            return str(self.prefix)
        kind = IPv4Address if self.prefix.version == 4 else IPv6Address
        return f"{kind(self.low)}-{kind(self.high)}" if self.low != self.high else str(kind(self.low))


def _opening(door: Door, addresses: dict[int, int], peer: Place) -> Opening:
    rules = door.rules
    scopes: list[_Scope] = []
    for prefix in (p for p in peer.prefixes if p.version in addresses):
        begin = len(scopes)
        for low, high in _classes(door.zone, prefix, rules):
            scope = _scope(door, prefix, addresses[prefix.version], low, high)
            if len(scopes) > begin and scopes[-1].words == scope.words:
                scope = scopes.pop().on_to(scope)
            scopes.append(scope)
    stopped = [s for s in scopes if s.row]
    if not stopped:
        return OPEN
    passing = [s for s in scopes if s.words]
    doubtful = any(s.doubtful for s in scopes)
    answer = Answer.UNKNOWN if doubtful else Answer.PARTLY if passing else Answer.NO
    closed = tuple(sorted({s.prefix.version for s in stopped}))
    words = scopes[0].words
    if len({s.words for s in scopes}) > 1:
        words = tuple(f"{', '.join(s.words)} of {s}" for s in passing)
    return Opening(answer, words, closed, stopped[0].row)


def _scope(door: Door, prefix: Prefix, own: int, low: int, high: int) -> _Scope:
    # The first address of a network is nobody's.
    other = low + 1 if high > low else low
    words: list[str] = []
    stopped: RowRef | None = None
    doubtful = False
    for protocol in PROTOCOLS:
        packet = door.between(own, other, prefix.version, protocol)
        good: list[tuple[int, int]] = []
        for first, last in _ranges(door.rules, protocol):
            word, rule = door.asks(replace(packet, dport=first))
            if word == "allow":
                good.append((first, last))
                continue
            doubtful |= word == "unknown"
            stopped = stopped or (rule.row if rule else door.zone.switches[door.port.switch].row)
        words += _words(protocol, good)
    return _Scope(prefix, low, high, ("everything",) if stopped is None else tuple(words), stopped, doubtful)


def _ranges(rules: Iterable[Rule], protocol: str) -> list[tuple[int, int]]:
    """All ports, cut where some rule may change its mind."""
    cuts = {0, 65536}
    for rule in rules:
        for number in named_ports(rule.match, protocol):
            cuts |= {number, number + 1}
    return [(low, high - 1) for low, high in pairwise(sorted(c for c in cuts if c <= 65536))]


def _words(protocol: str, ranges: list[tuple[int, int]]) -> Iterator[str]:
    joined: list[tuple[int, int]] = []
    for low, high in ranges:
        if joined and joined[-1][1] + 1 == low:
            joined[-1] = joined[-1][0], high
        else:
            joined.append((low, high))
    for low, high in joined:
        span = str(low) if low == high else f"{low}-{high}"
        yield protocol if (low, high) == (0, 65535) else f"{protocol} {span}"


def _classes(zone: Zone, prefix: Prefix, rules: Iterable[Rule]) -> list[tuple[int, int]]:
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    cuts = {first, last + 1}
    for family, low, high in _intervals(zone, rules):
        if family == prefix.version:
            cuts |= {cut for cut in (low, high + 1) if first < cut <= last}
    return [(low, high - 1) for low, high in pairwise(sorted(cuts))]


def _intervals(zone: Zone, rules: Iterable[Rule]) -> Iterator[tuple[int, int, int]]:
    sets: set[str] = set()
    for rule in rules:
        sets |= set(named_sets(rule.match))
        for family, (low, high) in constants(rule.match):
            yield family, low, high
    for name in sorted(sets):
        for one in interfaces(tuple(zone.sets.get(name, ()))):
            yield one.version, int(one.network.network_address), int(one.network.broadcast_address)
