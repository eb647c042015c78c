"""`serve`: the same pass for ever. Files and databases wake it; nothing tells it what they said."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.api import Listing
from isthmus.backends.files import Reader
from isthmus.backends.files.load import version_of
from isthmus.backends.files.watch import Watch
from isthmus.controller.conditions import Condition, conditions, refused
from isthmus.controller.once import CONNECT
from isthmus.controller.planner import Planner
from isthmus.controller.wanted import Wanted, wanted
from isthmus.controller.world import World, not_installed, wait_for
from isthmus.controller.write import Writer
from isthmus.errors import Conflict, IsthmusError, Problem, Unreachable, WorldError
from isthmus.model.intent import Configuration, Fabric, Site

if TYPE_CHECKING:
    from isthmus.controller.networks import Networks

log = logging.getLogger(__name__)

TICK = 0.2
"""Seconds between looks at the files, should the system not tell of changes; databases wake the loop at once."""

QUIET = 2.0
"""Seconds without a change after which a file counts as written although nobody told that it was closed."""

PAUSE = 0.5
"""Seconds after a pass that failed, so that a database that refuses is not asked without end."""


@dataclass
class Report:
    """What metrics and health read: replaced whole after every pass."""

    at: float = 0.0
    passes: int = 0
    seconds: float = 0.0
    transactions: int = 0
    active: bool = False
    listed: bool = False
    problems: tuple[Problem, ...] = ()
    conditions: dict[str, list[Condition]] = field(default_factory=dict)
    troubles: dict[str, Problem] = field(default_factory=dict)


class Serve:
    """Keeps the databases as the documents under `path` say, always with prune, per object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: object = None
        self._reader = Reader()
        self._woken = asyncio.Event()
        self._told = False
        self._watch = Watch(path, self._changed)
        self._listing: Listing | None = None
        self._loops: dict[str, _Loop] = {}
        self._networks: dict[str, Networks] = {}
        """Of sites that are clusters: each runs by itself, with and without a Fabric."""
        self._objects: tuple[object, ...] = ()
        self.report = Report()

    def _changed(self) -> None:
        self._told = True
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    await self._step()
                except Exception:  # the loop outlives whatever one pass met
                    log.exception("a pass failed")
                    await asyncio.sleep(PAUSE)
        finally:
            self._watch.stop()
            await self._stop()

    async def _stop(self) -> None:
        stopping = [loop.stop() for loop in self._loops.values()]
        stopping += [networks.stop() for networks in self._networks.values()]
        await asyncio.gather(*stopping)

    async def _step(self) -> None:
        self._read()
        await self._rebuild()
        started = time.monotonic()
        wrote = [await loop.step() for loop in self._loops.values()]
        self._publish(time.monotonic() - started)
        if not any(wrote):
            await self._sleep()

    def _read(self) -> None:
        """Read the documents again when a name, a size or a time of them has changed."""
        self._woken.clear()
        self._watch.start()
        seen = signature(self._path)
        if seen == self._seen:
            self._told = False
        elif not self._being_written(seen):
            self._seen, self._told = seen, False
            listing = self._reader.listing(self._path)
            if self._listing is not None and not listing.listed:
                # Half a configuration must not take what the last whole one wanted.
                kept = self._listing.configuration
                old = {i.name: i for i in kept.interconnects} | {i.name: i for i in listing.configuration.interconnects}
                fabrics = listing.configuration.fabrics or kept.fabrics
                sites = {s.name: s for s in kept.sites} | {s.name: s for s in listing.configuration.sites}
                whole = Configuration(fabrics, tuple(sites.values()), tuple(old.values()))
                listing = listing._replace(configuration=whole)
            self._listing = listing
            for problem in listing.problems:
                log.warning("%s", problem)

    def _being_written(self, seen: Signature | None) -> bool:
        """In place, and not closed yet: a file that ends between two documents reads like a whole one."""
        if self._listing is None or self._told or not self._watch.alive:
            return False
        return 0 <= time.time() - newest(seen) < QUIET

    async def _rebuild(self) -> None:
        """A changed Fabric or Site means new connections; Interconnects come and go without."""
        assert self._listing is not None
        configuration = self._listing.configuration
        objects = (*configuration.fabrics, *configuration.sites)
        if objects != self._objects:
            await self._stop()
            self._loops = {f.name: _Loop(configuration, f) for f in configuration.fabrics}
            self._networks = _networks(configuration.sites)
            for networks in self._networks.values():
                networks.start()
            self._objects = objects
        for loop in self._loops.values():
            loop.want(self._listing)

    async def _sleep(self) -> None:
        events = [self._woken, *(loop.world.woken for loop in self._loops.values())]
        waiting = [asyncio.create_task(wait_for(event, TICK)) for event in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _publish(self, seconds: float) -> None:
        assert self._listing is not None
        loops, networks = self._loops.values(), self._networks.values()
        self.report = Report(
            at=time.monotonic(),
            passes=self.report.passes + 1,
            seconds=seconds,
            transactions=sum(loop.writer.transactions for loop in loops) + sum(n.transactions for n in networks),
            active=any(loop.active for loop in loops) or any(n.active for n in networks),
            listed=self._listing.listed,
            problems=self._listing.problems,
            conditions={name: found for loop in loops for name, found in loop.conditions().items()},
            troubles={name: problem for loop in loops for name, problem in loop.world.troubles().items()}
            | {n.site.name: problem for n in networks if (problem := n.trouble)},
        )


def _networks(sites: Iterable[Site]) -> dict[str, Networks]:
    """Of clusters that Kube-OVN does not keep, by name. Raises WorldError where their client is not installed."""
    clusters = [site for site in sites if site.keeps_networks]
    if not clusters:
        return {}
    try:
        from isthmus.controller.networks import Networks  # noqa: PLC0415  # its client is an extra
    except ImportError as error:
        raise not_installed(error) from error
    return {site.name: Networks(site) for site in clusters}


class _Loop:
    """One Fabric's world under `serve`."""

    def __init__(self, configuration: Configuration, fabric: Fabric) -> None:
        self.fabric = fabric
        self.world = World(fabric, configuration.sites, writes=True)
        self.planner = Planner(self.world)
        self.writer = Writer(self.planner)
        self.active = False
        self._listing: Listing | None = None
        self._wanted = Wanted({}, {}, {})
        self._prune = False
        self._idle = False
        self._conditions: dict[str, list[Condition]] | None = None
        self._settled = False
        self.world.start()

    async def stop(self) -> None:
        if self.active and self.world.fabric.client.synced:
            try:
                await self.world.fabric.hold("")
            except (Conflict, Unreachable, WorldError) as error:
                log.info("%s", error)
        await self.world.stop()

    def want(self, listing: Listing) -> None:
        """Take over what the documents say now; a refused text may only take reach away."""
        if listing is not self._listing:
            self._listing, self._idle = listing, False
            self._wanted = wanted(listing, self.fabric)
            self._prune = listing.listed

    async def step(self) -> bool:
        """One pass; True when something was written. The first one waits until every database was listed, or failed.

        Where neither texts nor databases have changed since a pass that had nothing to do, there is nothing to do.
        """
        if self._idle and not self.world.woken.is_set():
            return False
        self._idle, self._conditions = False, None
        if not self._settled:
            await self.world.settle(CONNECT)
            self._settled = True
        self.world.woken.clear()
        self.planner.run(self._wanted.interconnects, self._scope(), self._wanted.invalid)
        self.active = not self.world.take_locks() and not self.world.fabric.trouble
        if not self.active or self.planner.foreign_claim:
            return False
        try:
            if self.planner.entries and self.world.fabric.claim:
                await self.world.fabric.hold(f"`isthmus serve` on {socket.gethostname()}, process {os.getpid()}")
            wrote = await self.writer.run()
        except IsthmusError as error:
            log.warning("%s", error)
            return False
        if not wrote and any(e.failed for e in self.planner.entries.values()):
            await asyncio.sleep(PAUSE)
        else:
            self._idle = not wrote
        if wrote:
            log.info("wrote; %d transactions in all", self.writer.transactions)
        return wrote

    def _scope(self) -> frozenset[str] | None:
        """Everything of the owner; but what cannot be told to be unwanted is left alone."""
        if not self._prune:
            return frozenset(self._wanted.interconnects)
        if not self._wanted.unreadable:
            return None
        here = {n for s in self.world.readable().values() for n in s.interconnects()}
        known = here | set(self.world.fabric.index.owned) | set(self._wanted.interconnects)
        return frozenset(known.difference(self._wanted.unreadable))

    def conditions(self) -> dict[str, list[Condition]]:
        if self._conditions is None:
            self._conditions = self._judge()
        return self._conditions

    def _judge(self) -> dict[str, list[Condition]]:
        found = {
            e.name: conditions(e, self.world, self.writer.written_cfg)
            for e in self.planner.entries.values()
            if e.intent is not None
        }
        return found | {name: refused(problems) for name, problems in self._wanted.unreadable.items()}


Signature = list[tuple[str, tuple[int, ...]]]


def signature(path: Path) -> Signature | None:
    """Name and version of each file, changed whenever a file is; None where the path is missing."""
    try:
        if not path.is_dir():
            return [(path.name, version_of(path))]
        with os.scandir(path) as entries:
            return sorted((e.name, version_of(e)) for e in entries)
    except OSError:
        return None


def newest(seen: Signature | None) -> float:
    """When a file was changed last, in seconds of the system's clock."""
    return max((version[0] for _, version in seen or ()), default=0) / 1e9
