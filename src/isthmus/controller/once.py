"""One run with an end: plan, apply, disconnect, status. `serve` is the same pass without the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from isthmus.backends.changes import Call
from isthmus.controller.conditions import Condition, conditions
from isthmus.controller.entry import Entry
from isthmus.controller.part import Heard, Part
from isthmus.controller.planner import Planner
from isthmus.controller.world import World, wait_for
from isthmus.controller.write import Writer
from isthmus.errors import IntentError, LockHeld, Problem, WorldError
from isthmus.model.intent import Configuration, Fabric, Interconnect
from isthmus.model.rows import nb

Wait = Literal["auto", "ready", "programmed", "none"]

CONNECT = 5.0
"""Seconds for all databases to be listed before a silent one counts as out of reach."""

CUT_CONNECT = 0.5
"""The same, where something is to be cut: the sites that are heard come first."""

PROBE_GRACE = 3.0
"""Seconds after the last write in which a registered agent that says nothing yet is waited for."""

CLOCK = 1.0
"""Seconds after which we look again although nothing changed: what ends by the clock changes no row."""

SETTLE = 1.0
"""Seconds that `status` gives a chassis that is behind."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What one run may touch: `only` names of Interconnects, or None for everything of the owner."""

    wanted: Mapping[str, Interconnect]
    only: frozenset[str] | None
    invalid: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    """What is wrong with the text of some of them; only `look` goes on in spite of it."""


@dataclass
class Result:
    """conditions by Interconnect; problems that did not stop the rest (a site out of reach).

    late  what was still awaited at the deadline
    """

    conditions: dict[str, list[Condition]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    transactions: int = 0
    late: Problem | None = None
    calls: list[tuple[str, Call]] = field(default_factory=list)
    """(site, what its API accepted), in order."""


def scope(configuration: Configuration, fabric: Fabric, *, prune: bool, only: Iterable[str] | None = None) -> Scope:
    wanted = {i.name: i for i in configuration.interconnects if i.fabric == fabric.name}
    if only is not None:
        return Scope({n: i for n, i in wanted.items() if n in set(only)}, frozenset(only))
    return Scope(wanted, None if prune else frozenset(wanted))


class Once:
    """A world, a planner and a writer, from connecting to closing. Use as `async with`."""

    def __init__(
        self,
        configuration: Configuration,
        fabric: Fabric,
        *,
        writes: bool,
        adopt: bool = False,
        cut: bool = False,
        timeout: float = 60.0,
    ) -> None:
        now = asyncio.get_running_loop().time()
        self._deadline = now + timeout
        self._patient_until = now + min(CONNECT, timeout)
        self._cut = cut
        self._documents = {i.name: i for i in configuration.interconnects}
        self._timeout = timeout
        # Every site: one that no Interconnect of this Fabric names any more may still hold rows of it.
        self.world = World(fabric, configuration.sites, writes=writes)
        self.planner = Planner(self.world, adopt=adopt, cut=cut)
        self.writer = Writer(self.planner)
        self._wrote_at = -PROBE_GRACE
        self._pending: dict[str, set[str]] = {}
        """Site -> Interconnects that were still to be taken away there."""

    async def __aenter__(self) -> Once:
        self.world.start()
        # What cuts does not wait for a site that is silent; it joins in when it is heard after all.
        seconds = min(CUT_CONNECT if self._cut else CONNECT, self._timeout)
        self.troubles = await self.world.settle(seconds, patient=not self._cut)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.stop()

    @property
    def left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def lock(self) -> None:
        """Wait for the lock of every database in reach. Raises LockHeld."""
        while True:
            self.world.woken.clear()
            held = self.world.take_locks()
            if not held:
                return
            if not await wait_for(self.world.woken, self.left):
                raise LockHeld(
                    Problem(
                        "LockHeld",
                        f"another isthmus holds the lock of {', '.join(held)}{self._holder()}",
                        remedy="wait for it, or stop `isthmus serve` there; nothing was changed",
                    )
                )

    def _holder(self) -> str:
        holder = self.world.fabric.holder
        return f": {holder}" if holder else ""

    def plan(self, what: Scope) -> None:
        """One pass. Raises IntentError when anything in scope is invalid here, WorldError when rows are another's."""
        self.planner.run(what.wanted, what.only)
        problems = self.planner.problems()
        if self.planner.foreign_claim:
            raise WorldError(*problems)
        if problems:
            raise IntentError.of(problems)

    async def apply(self, what: Scope, wait: Wait, said: Callable[[str], None]) -> Result:
        """Write until everything stands and the awaited condition holds. Raises WorldError, IntentError, LockHeld."""
        await self.lock()
        self.plan(what)
        self._interrupted()
        stood = self._stood(what)
        late: Problem | None = None
        while late is None:
            self.world.woken.clear()
            self._note_pending()
            wrote = await self.writer.run()
            if wrote:
                self._wrote_at = asyncio.get_running_loop().time()
            self.planner.run(what.wanted, what.only)
            if not wrote:
                missing = self._missing(wait)
                if not missing:
                    break
                said(missing)
                if not await wait_for(self.world.woken, min(self.left, CLOCK)) and self.left <= 0:
                    late = Problem("NotReady", f"after {self._timeout:g} s: {missing}", remedy="see `isthmus status`")
                self.planner.run(what.wanted, what.only)
        found = self.result()
        found.late = late
        found.problems += [p for p in self._unfinished(stood) if p not in found.problems]
        return found

    def _stood(self, what: Scope) -> set[str]:
        """Sites where a Subnet may stand that is to be taken away: one that a document defined, or nobody knows."""
        going = what.only if what.only is not None and self._cut else self.planner.entries.keys() - what.wanted.keys()
        found = set()
        for name in going:
            if document := self._documents.get(name):
                found |= {a.site for a in document.attachments if any(s.cidrs for s in a.subnets)}
            else:
                found |= {side.site for side in self.planner.ledger.stood(name).values()}
        return found

    @property
    def unheard(self) -> list[Problem]:
        """Why something may be left although databases know nothing of it."""
        return [site.unheard for site in self.world.readable().values() if site.unheard is not None]

    def _note_pending(self) -> None:
        """What of Interconnects without a document was still to be taken away at a site when it was last in reach."""
        for name, site in self.world.readable().items():
            goes = (e for e in self.planner.entries.values() if e.intent is None)
            self._pending[name] = {e.name for e in goes if any(e.changes.get(d) for d in (nb(name), site.outside))}

    def _unfinished(self, stood: set[str]) -> Iterator[Problem]:
        """Why it is not certain that all is gone."""
        troubles = self.world.troubles()
        for name, left in self._pending.items():
            if left and name in troubles:
                said = (
                    f"{troubles[name].message}; of {len(left)} Interconnects, {min(left)!r} among them, all is not gone"
                )
                yield Problem(troubles[name].code, said, remedy="do the same again when it answers")
        for name in sorted(stood & self.world.sites.keys()):
            if (away := self.world.sites[name].unheard) is not None:
                said = f"{away.message}: whether Subnets that were defined there are gone cannot be told"
                yield Problem(
                    away.code, said, remedy="do the same again when it answers; `isthmus serve` does by itself"
                )

    async def knows(self, interconnect: str) -> bool:
        """Any database holds rows of it. What is silent gets its time before the answer is no."""
        if not self._holds(interconnect):
            self.troubles = await self.world.settle(min(CONNECT, max(0.0, self.left)))
        return self._holds(interconnect)

    def _holds(self, interconnect: str) -> bool:
        here = any(interconnect in s.interconnects() for s in self.world.readable().values())
        return here or interconnect in self.world.fabric.index.owned

    async def hear(self, part: Part) -> Heard:
        """What documents, rows and facts know of it; what is silent gets its time where they do not know it.

        Where they do, nothing waits: what is in reach is cut at once.
        """
        heard = self._hear(part)
        if heard in (Heard.UNSURE, Heard.UNKNOWN):
            await self.world.settle(min(CONNECT, max(0.0, self.left)))
            heard = self._hear(part)
        return heard

    def _hear(self, part: Part) -> Heard:
        self.planner.ledger.read(part.interconnect.name, self.world.readable())
        return part.heard(self.world, self.planner.ledger.stood(part.interconnect.name))

    async def look(self, what: Scope) -> Result:
        """Conditions without writing; chassis that are just catching up get a moment to do so."""
        patience = asyncio.get_running_loop().time() + SETTLE
        while True:
            self.world.woken.clear()
            self.planner.run(what.wanted, what.only, what.invalid)
            found = self.result()
            behind = any(c.reason == "ChassisBehind" for cs in found.conditions.values() for c in cs)
            left = patience - asyncio.get_running_loop().time()
            if not behind or not await wait_for(self.world.woken, left):
                return found

    def result(self) -> Result:
        found = Result(transactions=self.writer.transactions, problems=list(self.troubles_in_scope()))
        found.calls = [(name, call) for name, site in self.world.sites.items() for call in site.calls]
        for entry in self.planner.entries.values():
            if entry.intent is not None or any(entry.changes.values()) or entry.lingering:
                found.conditions[entry.name] = conditions(entry, self.world, self.writer.written_cfg)
        return found

    def troubles_in_scope(self) -> Iterable[Problem]:
        """Why entries could not be worked on, each reason once."""
        found = [p for e in self.planner.entries.values() for p in (e.blocked, e.failed) if p]
        if any(e.lingering for e in self.planner.entries.values()):
            found += [
                p
                for name, p in self.world.troubles().items()
                if any(name in e.lingering for e in self.planner.entries.values())
            ]
            found += [_unlisted(e.name, s) for e in self.planner.entries.values() for s in self._unlisted(e)]
        return dict.fromkeys(found)

    def _unlisted(self, entry: Entry) -> list[str]:
        """Sites that had an edge, have not confirmed that it is gone, and are in no document any more."""
        return [s for s in entry.lingering if s not in self.world.sites]

    def _missing(self, wait: Wait) -> str:
        """What is not as awaited, or ""."""
        waiting = asyncio.get_running_loop().time() < self._patient_until
        silent = {name for name, problem in self.world.troubles().items() if waiting and problem.code == "NotListed"}
        if silent := silent.union(self.world.asked):
            return f"no answer yet from {', '.join(n or 'the fabric' for n in sorted(silent))}"
        if lost := self._interrupted():
            return f"connecting again to {', '.join(n or 'the fabric' for n in lost)}"
        for entry in self.planner.entries.values():
            if missing := self._missing_of(entry, wait):
                return missing
        return ""

    def _interrupted(self) -> list[str]:
        """What we were connected to a moment ago: a server that restarts gets the time to do so."""
        now = asyncio.get_running_loop().time()
        return [name for name, since in self.world.interrupted(now).items() if now < since + CONNECT]

    def _missing_of(self, entry: Entry, wait: Wait) -> str:
        if entry.blocked is not None:
            return ""
        reached = self.world.readable()
        if waiting := [s for s in entry.lingering if s in reached]:
            return f"{entry.name}: gateways of {', '.join(waiting)} have not confirmed the removal yet"
        # Strays too: they are tried once, whatever comes of it.
        if (not entry.numbered or any(entry.changes.values())) and entry.failed is None:
            return f"{entry.name}: {entry.waits_for[1]}"
        if entry.intent is None or wait == "none" or entry.failed is not None:
            return ""
        verdicts = {c.type: c for c in conditions(entry, self.world, self.writer.written_cfg)}
        awaited = verdicts["Programmed" if wait == "programmed" else "Ready"]
        if wait == "auto" and verdicts["Reachable"].reason == "NoProbe" and not self._expects_probe(entry):
            awaited = verdicts["Programmed"]
        return "" if awaited.status == "True" else f"{entry.name}: {awaited.reason}: {awaited.message}"

    def _expects_probe(self, entry: Entry) -> bool:
        """An agent that runs answers soon after its ports were written; one that died, never."""
        probes = entry.joined is not None and any(s.probes for s in entry.joined.sides)
        return probes and asyncio.get_running_loop().time() - self._wrote_at < PROBE_GRACE


def _unlisted(interconnect: str, site: str) -> Problem:
    return Problem(
        "SiteNotInDocuments",
        f"interconnect {interconnect!r}: site {site!r} had an edge of it and is in no document any more: "
        "what stands there, and the transit switch, stay",
        remedy="put the site's document back and apply; if the site is gone for good, take it out of "
        "external_ids:isthmus:members of the Transit_Switch",
    )
