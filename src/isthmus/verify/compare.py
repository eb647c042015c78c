"""Three answers to one question, side by side: what the intent wants, what the rows say, what packets did."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from isthmus.verify.expect import Expectation, Pair
from isthmus.verify.lies import Lies
from isthmus.verify.matrix import Answer, Finding, Matrix
from isthmus.verify.path import End, RowRef, Trace
from isthmus.verify.place import Place
from isthmus.verify.reach import World

Live = Mapping[tuple[Place, Place], bool]
"""Ordered pair -> whether packets were seen to arrive; pairs that nobody measured are absent."""

_BLAMED = ("Logical_Router_Policy", "Logical_Router_Static_Route", "Logical_Switch_Port", "Logical_Router_Port")


@dataclass(frozen=True, slots=True)
class Difference:
    """A pair about which the answers differ.

    kind    `pair`, or `forged`: with a source address that is not the sender's, or by another router port
    rows    what the rows say
    packets what packets did, None where not measured
    row     the row to look at: that dropped it, or the most foreign that carried it
    """

    kind: str
    source: Place
    target: Place
    wanted: bool
    rows: Answer
    packets: bool | None
    row: RowRef
    reason: str
    trace: Trace | None

    def __str__(self) -> str:
        verb = "must reach" if self.wanted else "must not reach"
        forged = " with a forged source, or by another router," if self.kind == "forged" else ""
        seen = "" if self.packets is None else f", packets: {'yes' if self.packets else 'no'}"
        return f"{self.source}{forged} {verb} {self.target}; rows: {self.rows.value}{seen}; {self.reason}: {self.row}"

    def as_json(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "from": self.source.as_json(),
            "to": self.target.as_json(),
            "wanted": self.wanted,
            "rows": self.rows.value,
            "packets": self.packets,
            "row": self.row.as_json(),
            "reason": self.reason,
            "trace": self.trace.as_json() if self.trace else None,
        }


def differences(
    world: World,
    expectation: Expectation,
    live: Live | None = None,
    *,
    forged: bool = True,
    closed: Container[tuple[Place, Place]] = (),
) -> tuple[Difference, ...]:
    """Every ordered pair on which intent, rows and (where measured) packets do not agree.

    forged  ask too what a sender can do that lies about its address or chooses another router of its segment
    closed  wanted pairs that machines' own security groups close: packets that do not arrive say nothing of the rows
    """
    matrix = Matrix(world)
    lies = Lies(matrix, expectation) if forged else None
    found: list[Difference] = []
    for pair in expectation.pairs():
        if pair.native:
            continue
        seen = (live or {}).get((pair.source, pair.target))
        if not seen and (pair.source, pair.target) in closed:
            seen = None
        honest = _compare(world, matrix.pair(pair.source, pair.target), pair, seen)
        if honest is not None:
            found.append(honest)
        elif lies is not None:
            finding = matrix.attack(pair.source, pair.target, lies.of(pair))
            if finding.answer is not Answer.NO:
                found.append(_difference(world, "forged", pair, False, finding, None))
    return tuple(found)


def _compare(world: World, finding: Finding, pair: Pair, seen: bool | None) -> Difference | None:
    expected = Answer.YES if pair.wanted else Answer.NO
    if finding.answer is expected and seen in (None, pair.wanted):
        return None
    return _difference(world, "pair", pair, pair.wanted, finding, seen)


def _difference(world: World, kind: str, pair: Pair, wanted: bool, finding: Finding, seen: bool | None) -> Difference:
    trace = finding.fails if wanted or finding.answer is Answer.UNKNOWN else finding.arrives
    trace = trace or finding.arrives or finding.fails
    row, reason = _blame(world, pair, trace)
    return Difference(kind, pair.source, pair.target, wanted, finding.answer, seen, row, reason, trace)


def _blame(world: World, pair: Pair, trace: Trace | None) -> tuple[RowRef, str]:
    if trace is None:
        return _absent(world, pair)
    if trace.end is not End.DELIVERED:
        return trace.row, trace.reason
    deciding = [r for r in trace.rows() if r.table in _BLAMED]
    foreign = [r for r in deciding if not r.ours and r.table in _BLAMED[:2]] or [r for r in deciding if not r.ours]
    return (foreign or deciding or [trace.row])[0], f"arrives {trace.reason}"


def _absent(world: World, pair: Pair) -> tuple[RowRef, str]:
    """No packet could be made: a switch is gone, or the two have no family in common."""
    for place in (pair.source, pair.target):
        zone = world.zones[place.site]
        doors = [d for d in place.doors if d in zone.router_ports]
        if not doors:
            return RowRef(place.site, "Logical_Switch", "", place.name), f"subnet {place} is not there"
        if not any(d in zone.doors for d in doors):
            return zone.router_ports[doors[0]].row, f"no switch of subnet {place} is on this port"
    return RowRef(pair.source.site, "Logical_Switch", "", pair.source.name), "the two have no IP version in common"
