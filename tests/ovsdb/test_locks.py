"""Who writes: locks are held in one order, so that of two who start at once one goes on (ADR 0005)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from deployment import Connection, Deployment, attach

LOCK = "isthmus_default"


def held(connection: Connection) -> bool:
    """Stand in line; whether the lock is ours at once."""
    return bool(connection.call("lock", LOCK)["locked"])


def test_what_comes_after_a_lock_that_is_missing_is_given_back(pair: Deployment) -> None:
    """Somebody holds the Fabric's and wants the sites': `apply`, which got those first, must not keep them."""
    pair.join("tenant-a", attach("east", "a", "web"), attach("west", "a", "pods"))
    fabric = Connection(pair.ic_nb.path)
    assert held(fabric)
    applying = start(pair, "--timeout", "8", "--wait", "programmed")
    try:
        for site in ("east", "west"):
            deadline = time.monotonic() + 5
            while not granted(pair, site):
                assert time.monotonic() < deadline, f"apply keeps the lock of {site}"
                time.sleep(0.05)
    finally:
        fabric.close()
        said, _ = applying.communicate(timeout=10)
    assert applying.returncode == 0, said


def start(pair: Deployment, *words: str) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name("isthmus")
    argv = [str(program), "apply", "-f", str(pair.config), *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def granted(pair: Deployment, site: str) -> bool:
    other = Connection(pair.sites[site].nb.path)
    try:
        return held(other)
    finally:
        other.close()


def test_many_who_start_at_once_all_get_their_turn(pair: Deployment) -> None:
    pair.join("tenant-a", attach("east", "a", "web"), attach("west", "a", "pods"))
    running = [start(pair, "--timeout", "20") for _ in range(4)]
    said = [process.communicate(timeout=25)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
