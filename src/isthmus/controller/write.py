"""Send what a pass found: the interconnect database first, then every site at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from isthmus.backends.changes import Change
from isthmus.compile.probes import SITE
from isthmus.controller.entry import Entry
from isthmus.controller.planner import Planner
from isthmus.errors import Conflict, WorldError
from isthmus.model.rows import IC_NB, nb

log = logging.getLogger(__name__)

BATCH = 50
"""Interconnects in one transaction; a refused batch is sent again one by one: a bad one blocks no other (ADR 0001)."""

Work = list[tuple[str, Change]]
Send = Callable[[Work], Awaitable[None]]


class Writer:
    """Writes the changes of a planner's entries."""

    def __init__(self, planner: Planner) -> None:
        self._planner, self._world = planner, planner.world
        self._committed = 0
        self._called: dict[tuple[str, str], int] = {}
        """(site, Interconnect) -> the turn at which its calls were begun last, or it was seen first."""
        self._turn = 0
        self._conflicting: set[str] = set()
        """Interconnects whose rows were not written now, because something changed meanwhile."""
        self.written_cfg: dict[tuple[str, str], int] = {}
        """(site, Interconnect) -> `nb_cfg` raised with the last write."""

    @property
    def transactions(self) -> int:
        """What databases and APIs accepted."""
        return self._committed + sum(site.accepted for site in self._world.sites.values())

    async def run(self) -> bool:
        """Returns whether anything was written to a database. Failures go to the entries.

        Calls to an API are begun and not awaited: they take seconds, and others' rows must not wait for them.
        """
        before = self._committed
        self._conflicting = set()
        for entry in self._planner.entries.values():
            entry.failed = None
        pending = {s for s in self._world.readable() if self._work(nb(s)) or self._shared(s) or self._settings(s)}
        if self._work(IC_NB) or (self._world.fabric.claim is None and self._needs_claim()):
            await self._send(IC_NB, self._work(IC_NB), self._to_fabric)
        failed = {e.name for e in self._planner.entries.values() if e.failed}
        await asyncio.gather(*(self._site(name, failed) for name in sorted(pending)))
        # Rows first: the guard of a router stands before an API is asked for routes.
        self._call({e.name for e in self._planner.entries.values() if e.failed} | self._conflicting)
        return self._committed > before

    def _call(self, failed: set[str]) -> None:
        entries = self._planner.entries
        self._called = {place: turn for place, turn in self._called.items() if place[1] in entries}
        for name, site in self._world.readable().items():
            database = site.outside
            waiting = [e for e in entries.values() if e.name not in failed and e.changes.get(database)]
            for entry in waiting:
                self._called.setdefault((name, entry.name), self._turn)
            # A site makes calls for a few at once: whoever has waited longest comes first.
            for entry in sorted(waiting, key=lambda e: self._called[name, e.name]):
                if site.call(entry.name, entry.changes[database]):
                    self._turn += 1
                    self._called[name, entry.name] = self._turn
                entry.failed = entry.failed or site.refusal(entry.name)

    def _work(self, database: str) -> list[Work]:
        """Per Interconnect, what can be written now."""
        found = []
        for entry in self._planner.entries.values():
            ready = [(entry.name, c) for c in entry.changes.get(database, ()) if not c.deferred]
            if ready:
                found.append(ready)
        return found

    def _shared(self, site: str) -> Work:
        return [(SITE, c) for c in self._planner.shared.get(nb(site), ())]

    def _settings(self, site: str) -> bool:
        """Settings are written where an Interconnect is, not on sites that nobody uses."""
        used = any(s.site == site for e in self._planner.entries.values() if e.joined for s in e.joined.sides)
        return used and bool(self._world.sites[site].settings())

    def _needs_claim(self) -> bool:
        return any(e.joined is not None for e in self._planner.entries.values()) and not self._world.fabric.trouble

    async def _site(self, name: str, failed: set[str]) -> None:
        site = self._world.sites[name]

        async def send(work: Work) -> None:
            cfg = await site.write(work, "isthmus")
            self._committed += 1
            log.info("site %s: %s", name, _summary(work))
            for interconnect, _ in work:
                self.written_cfg[(name, interconnect)] = cfg

        shared = self._shared(name)
        work = [w for w in self._work(nb(name)) if w[0][0] not in failed]
        if shared or not work:
            # Trunks come first: a probe's port names one.
            await self._guard([SITE], send(shared))
        await self._send(nb(name), work, send)

    async def _to_fabric(self, work: Work) -> None:
        await self._world.fabric.write(work, self._planner.installation, "isthmus")
        self._committed += 1
        log.info("fabric: %s", _summary(work))

    async def _send(self, database: str, work: list[Work], send: Send) -> None:
        if not work and database == IC_NB:
            await self._guard([], send([]))
        for batch in (work[i : i + BATCH] for i in range(0, len(work), BATCH)):
            together = [change for one in batch for change in one]
            if await self._guard([one[0][0] for one in batch], send(together)) or len(batch) == 1:
                continue
            for one in batch:
                await self._guard([one[0][0]], send(one))

    async def _guard(self, names: list[str], sending: Awaitable[None]) -> bool:
        """True unless the database refused; a Conflict is no refusal: the next pass reads again."""
        try:
            await sending
        except Conflict as error:
            log.info("%s; reading again", error)
            self._conflicting.update(names)
        except WorldError as error:
            for entry in self._entries(names):
                entry.failed = error.problems[0]
            log.warning("%s", error)
            return False
        else:
            for entry in self._entries(names):
                entry.failed = None
        return True

    def _entries(self, names: list[str]) -> Iterator[Entry]:
        return (e for e in self._planner.entries.values() if e.name in names)


def _summary(work: Work) -> str:
    """For the log: how many rows of which Interconnects."""
    counts = Counter(change.op for _, change in work)
    names = sorted({name for name, _ in work})
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{', '.join(f'{op} {n}' for op, n in sorted(counts.items())) or 'settings'} ({shown})"


def planned(planner: Planner) -> dict[str, list[Change]]:
    """Database -> every change, deferred ones included: what `plan` shows."""
    found: dict[str, list[Change]] = {}
    fabric = planner.world.fabric
    changes = [c for e in planner.entries.values() for c in e.changes.get(IC_NB, ())]
    if any(e.joined for e in planner.entries.values()) and fabric.trouble is None and fabric.claim is None:
        columns = {fabric.claim_key: planner.installation}
        changes.insert(0, Change("change", "IC_NB_Global", "claim", None, {"external_ids": columns}))
    found[IC_NB] = changes
    for name, site in planner.world.readable().items():
        rows = list(planner.shared.get(nb(name), ()))
        if (
            any(s.site == name for e in planner.entries.values() if e.joined for s in e.joined.sides)
            and site.settings()
        ):
            rows.insert(0, Change("change", "NB_Global", "settings", None, dict(site.settings())))
        rows += [c for e in planner.entries.values() for c in e.changes.get(nb(name), ())]
        found[nb(name)] = rows
        if site.outside:
            found[site.outside] = [c for e in planner.entries.values() for c in e.changes.get(site.outside, ())]
    return found
