"""Drawings for people: who is connected to whom, and what packets did. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from isthmus.lab.layout import Layout, Machine, Subnet
from isthmus.lab.proof import Check, Proof
from isthmus.model.intent import Attachment, Configuration

OPEN, CLOSED, CUT, WRONG = "●", "·", "○", "✗"
LEGEND = f"{OPEN} packets arrive   {CLOSED} none arrives   {WRONG} not as the documents say"

Place = tuple[str, str, str]
"""Tenant, site, subnet."""


def topology(layout: Layout, configuration: Configuration) -> Iterator[str]:
    """One tree for each Interconnect: transit switch, edge, VPC router, subnets."""
    subnets = {(s.site, s.name): s for site in layout.sites for s in site.subnets}
    wide = max((len(_vpc(a)) for i in configuration.interconnects for a in i.attachments), default=0)
    for interconnect in configuration.interconnects:
        stem = f" {interconnect.name} ═"
        last = len(interconnect.attachments) - 1
        for number, attachment in enumerate(interconnect.attachments):
            first = stem if number == 0 else " " * len(stem)
            joint = "╚" if number == last else "╦" if number == 0 else "╠"
            below = " " if number == last else "║"
            names = [str(s) for s in attachment.subnets]
            for line, name in enumerate(names):
                branch = "─" if len(names) == 1 else "┬" if line == 0 else "└" if line == len(names) - 1 else "├"
                known = subnets.get((attachment.site, name))
                if line == 0:
                    before = f"{first}{joint}═ edge ─ {_vpc(attachment)} {'─' * (wide - len(_vpc(attachment)))}"
                else:
                    before = f"{' ' * len(stem)}{below}".ljust(len(stem) + wide + len("╦═ edge ─  "))
                yield f"{before}{branch}─ {name:<10} {_cidrs(known)}".rstrip()


def _vpc(attachment: Attachment) -> str:
    return f"{attachment.site}: router {attachment.vpc}"


def _cidrs(subnet: Subnet | None) -> str:
    return "  ".join(map(str, subnet.cidrs)) if subnet else ""


def grid(proof: Proof, before: Proof | None = None) -> Iterator[str]:
    """A matrix of subnets, tenant by tenant: each cell sums up all pairs of their machines.

    With `before`, what that one had open and this one has not is marked.
    """
    cells, earlier = _cells(proof.checks), _cells(before.checks if before else ())
    places = sorted({place for cell in cells for place in cell})
    wide = max(len(_label(p)) for p in places) + 4
    yield " " * (wide + 3) + _row([f"{n:>2}" for n in range(1, len(places) + 1)], places)
    tenant = places[0][0]
    for number, source in enumerate(places, 1):
        if source[0] != tenant:
            tenant = source[0]
            yield " " * (wide + 3) + _row(["──"] * len(places), places, "┼", "─")
        marks = [f" {_mark(cells.get((source, target), []), earlier.get((source, target), []))}" for target in places]
        yield f" {number:>2} {_label(source):<{wide - 1}}" + _row(marks, places)
    yield ""
    yield f" {LEGEND}" + (f"   {CUT} arrived before the cut, and no longer" if before else "")


def _label(place: Place) -> str:
    return f"{place[1]}/{place[2]}"


def _row(marks: Sequence[str], places: Sequence[Place], wall: str = "│", gap: str = " ") -> str:
    """Marks side by side, with a wall between tenants."""
    text = ""
    for number, mark in enumerate(marks):
        if number and places[number][0] != places[number - 1][0]:
            text += f"{gap}{wall}"
        text += f"{gap}{mark}"
    return text


def _cells(checks: Iterable[Check]) -> dict[tuple[Place, Place], list[Check]]:
    found: dict[tuple[Place, Place], list[Check]] = {}
    for check in checks:
        found.setdefault((_place(check.source), _place(check.target)), []).append(check)
    return found


def _place(machine: Machine) -> Place:
    return machine.tenant or "", machine.site, machine.switch


def _mark(checks: Sequence[Check], earlier: Sequence[Check]) -> str:
    if not checks:
        return " "
    if any(c.differs for c in checks):
        return WRONG
    if any(c.observed for c in checks):
        return OPEN
    return CUT if any(c.observed for c in earlier) else CLOSED
