"""Who writes: locks are held in one order, so that of two who start at once one goes on (ADR 0005)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deployment import Connection, Deployment, attach
from isthmus.backends.files.load import load
from isthmus.controller.once import Once
from isthmus.controller.world import World, wait_for

LOCK = "isthmus_default"


def join(pair: Deployment) -> None:
    pair.join("tenant-a", attach("east", "a", "web"), attach("west", "a", "pods"))


def granted(pair: Deployment, site: str) -> bool:
    """Whether somebody who asks now gets a site's lock at once."""
    other = Connection(pair.sites[site].nb.path)
    try:
        return bool(other.call("lock", LOCK)["locked"])
    finally:
        other.close()


def test_what_comes_after_a_lock_that_is_missing_is_given_back(pair: Deployment) -> None:
    """Somebody holds the Fabric's and wants the sites': who got those first must not keep them."""
    join(pair)
    fabric = Connection(pair.ic_nb.path)
    assert fabric.call("lock", LOCK)["locked"]
    asyncio.run(without_the_fabrics(pair, fabric))


async def without_the_fabrics(pair: Deployment, fabric: Connection) -> None:
    configuration = load(pair.config)
    async with Once(configuration, configuration.fabrics[0], writes=True) as once:
        sites = {name: site.client for name, site in once.world.sites.items()}
        assert all(client.has_lock for client in sites.values()), "else nothing is given back"
        assert not any([granted(pair, name) for name in sites])
        assert once.world.take_locks() == ["fabric 'default'"]
        assert not any(client.has_lock for client in sites.values())
        await until(once.world, lambda: all([granted(pair, name) for name in sites]))
        fabric.close()
        await until(once.world, lambda: once.world.take_locks() == [])
        assert not any([granted(pair, name) for name in sites])


async def until(world: World, holds: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + 5
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await wait_for(world.woken, 0.02)
        world.woken.clear()


def test_many_who_start_at_once_all_get_their_turn(pair: Deployment) -> None:
    join(pair)
    argv = [str(Path(sys.executable).with_name("isthmus")), "apply", "-f", str(pair.config), "--timeout", "20"]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(4)]
    said = [process.communicate(timeout=25)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
