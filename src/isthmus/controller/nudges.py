"""Gateway ports that no chassis carries though a gateway lives: what makes their chassis look again (ADR 0017)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile import names
from isthmus.compile.view import Joined, Side
from isthmus.controller.entry import Entry
from isthmus.controller.world import World

FIRST = 2.0
"""Seconds without a carrier before the first nudge: BFD takes one or two to tell who is alive."""

LAST = 64.0
"""Each further one waits twice as long, up to this: a gateway that BFD holds to be cut off claims nothing, rightly."""


@dataclass(slots=True)
class _Waiting:
    delay: float = FIRST
    due: float | None = None


class Nudges:
    """Remembers since when a port waits. How often it was nudged is in its row, and for a moment here."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._given: dict[tuple[str, str], int] = {}

    def look(self, entry: Entry, readable: Mapping[str, OvnSite]) -> tuple[int, ...]:
        """Nudges that this process gave each site's port of an Interconnect; the loop wakes when one may be due."""
        joined = entry.joined
        if joined is None:
            return ()
        firsts = [s for s in joined.sides if joined.is_first(s)]
        for side in firsts:
            self._look(entry, joined, side, readable.get(side.site))
        return tuple(self.given(joined.name, s.name) for s in firsts)

    def given(self, interconnect: str, attachment: str) -> int:
        return self._given.get((interconnect, attachment), 0)

    def _look(self, entry: Entry, joined: Joined, side: Side, site: OvnSite | None) -> None:
        key = (joined.name, side.name)
        port = names.of(joined.owner, joined.name, side.name, "transit")
        if site is None or not site.unbound(f"cr-{port}"):
            self._waiting.pop(key, None)
            return
        waiting = self._waiting.setdefault(key, _Waiting())
        now = asyncio.get_running_loop().time()
        # What is being written may be all that they wait for; and a gateway that is dead hears nothing.
        if not entry.clean or not any((site.chassis_cfg(c) or -1) >= site.nb_cfg for c in side.gateways):
            waiting.due = None
        elif waiting.due is None:
            waiting.due = now + waiting.delay
            self._world.wake_in(waiting.delay)
        elif now >= waiting.due:
            self._given[key] = joined.numbers[side.name].nudges + 1
            waiting.due, waiting.delay = None, min(LAST, 2 * waiting.delay)
