"""Routes that Neutron has and OVN has not, and one change of a router at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from isthmus.backends.openstack import lost
from isthmus.backends.openstack.lost import Lost, Turns
from isthmus.backends.ovsdb.index import Index
from isthmus.model.rows import Parent, Row

GRACE = 0.05


class World:
    """A router in OVN, with routes that come and go."""

    def __init__(self) -> None:
        self.index = Index("owner")
        self.rows: dict[str, dict[str, Any]] = {"Logical_Router": {}, "Logical_Router_Static_Route": {}}
        self.woken = 0
        self.lost = Lost(self.rows, self.index, self._wake)
        self.set("Logical_Router", "r", {"name": "neutron-1", "ports": frozenset(), "policies": frozenset()})

    def _wake(self) -> None:
        self.woken += 1

    def set(self, table: str, uuid: str, row: dict[str, Any]) -> None:
        old = self.rows[table].get(uuid)
        new = (old or {"external_ids": {}, "static_routes": frozenset()}) | row
        self.rows[table][uuid] = new
        self.index.changed(table, uuid, old, new)

    def has(self, *routes: tuple[str, str]) -> None:
        for number, (prefix, hop) in enumerate(routes):
            self.set("Logical_Router_Static_Route", f"s{number}", {"ip_prefix": prefix, "nexthop": hop})
        self.set("Logical_Router", "r", {"static_routes": frozenset(f"s{n}" for n in range(len(routes)))})


def row(destination: str, nexthop: str) -> Row:
    columns = {"destination": destination, "nexthop": nexthop}
    return Row(
        "neutron/c", "extra_route", f"i/a/vpc/route/{destination}", columns, Parent("router", "routes", uuid="1"), ""
    )


FOUR, SIX = row("10.1.0.0/24", "169.254.128.1"), row("fd00:1::/64", "fd69::1")


def playing(play: Callable[[World], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "GRACE", GRACE)
    asyncio.run(play(World()))


def test_what_ovn_has_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        world.has(("10.1.0.0/24", "169.254.128.1"), ("fd00:1:0::/64", "fd69:0::1"))
        assert world.lost.changes([FOUR, SIX], busy=False) == []

    playing(play, monkeypatch)


def test_what_ovn_lacks_is_made_anew_when_it_has_had_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        world.has(("10.1.0.0/24", "169.254.128.1"))
        before = world.lost.version(["1"])
        found = world.lost.changes([FOUR, SIX], busy=False)
        assert [(c.op, c.key, c.deferred) for c in found] == [("remove", SIX.key, True), ("add", SIX.key, True)]
        await asyncio.sleep(2 * GRACE)
        assert world.woken == 1
        assert world.lost.version(["1"]) != before
        assert [c.deferred for c in world.lost.changes([FOUR, SIX], busy=True)] == [True, True]
        due = world.lost.changes([FOUR, SIX], busy=False)
        assert [c.deferred for c in due] == [False, False]
        world.lost.begun(due)
        # In vain: the next time it waits for longer.
        assert [c.deferred for c in world.lost.changes([FOUR, SIX], busy=False)] == [True, True]
        await asyncio.sleep(1.2 * GRACE)
        assert [c.deferred for c in world.lost.changes([FOUR, SIX], busy=False)] == [True, True]
        world.has(("10.1.0.0/24", "169.254.128.1"), ("fd00:1::/64", "fd69::1"))
        assert world.lost.changes([FOUR, SIX], busy=False) == []

    playing(play, monkeypatch)


def test_a_change_of_the_router_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(world: World) -> None:
        world.has(("10.1.0.0/24", "169.254.128.1"))
        before = world.lost.version(["1"])
        assert world.lost.changes([FOUR], busy=False) == []
        world.has()
        assert world.lost.version(["1"]) != before
        assert world.lost.changes([FOUR], busy=False)

    playing(play, monkeypatch)


def test_two_changes_of_a_router_are_sent_one_after_another_and_of_two_routers_at_once() -> None:
    turns, inside, most = Turns(), {"1": 0, "2": 0}, {"1": 0, "2": 0, "all": 0}
    guard = threading.Lock()

    def send(router: str) -> None:
        with turns.of(f"/routers/{router}/add_extraroutes"):
            with guard:
                inside[router] += 1
                most[router] = max(most[router], inside[router])
                most["all"] = max(most["all"], sum(inside.values()))
            time.sleep(0.05)
            with guard:
                inside[router] -= 1

    threads = [threading.Thread(target=send, args=(router,)) for router in "1212"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == {"1": 1, "2": 1, "all": 2}


def test_other_calls_wait_for_nobody() -> None:
    turns = Turns()
    with turns.of("/networks"), turns.of("/networks"), turns.of("/routers"):
        pass
