"""100 and 1,000 Interconnects in real databases of two sites: listing, writing, passes, one change, memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import idl, servers
from bench.report import Aim, Row, compared, progress, single
from bench.servers import Databases, Server

AIMED = 1000
"""Interconnects at which the aims hold."""

CHANGES = 12


def hundred(rounds: int) -> Iterator[Row]:
    yield from _measure(100, rounds)


def thousand(rounds: int) -> Iterator[Row]:
    yield from _measure(AIMED, rounds)


def _measure(tenants: int, rounds: int) -> Iterator[Row]:
    progress(f"  filling databases with {tenants} tenants")
    with servers.databases(tenants) as world:
        with numbering(world):
            first = child("apply", world.config)
        progress(f"  first apply {first['apply']:.1f} s")
        ours, plain, passes, memory = [], [], [], []
        for number in range(rounds):
            found = child("noop", world.config)
            peer = idl.sync(world, "c")
            ours.append(found["sync"])
            passes.append(found["noop"])
            memory.append(found["rss"] / 1e6)
            plain.append(peer)
            said = f"sync {found['sync']:.2f} s, reference {peer['seconds']:.2f} s, no-op {found['noop']:.2f} s"
            progress(f"  {number + 1}/{rounds}: {said}")
        rows = world.sites["cloud"]["nb"].count() + world.sites["cluster"]["nb"].count()
        changes, resident = serve(world)
    name = f"{tenants}-interconnects"
    note = f"two sites, {rows} northbound rows in all"
    aim = (lambda limit: Aim("<=", limit)) if tenants == AIMED else (lambda _: None)
    peer_name = "the same tables and columns by the Python IDL of Open vSwitch with its C parser"
    yield compared(
        f"{name}-first-sync", "s", ours, [p["seconds"] for p in plain],
        command="connect until listed", peer=peer_name, note=note,
    )  # fmt: skip
    yield single(
        f"{name}-first-apply",
        "s",
        [first["apply"]],
        command="isthmus apply --wait none",
        note=f"{int(first['transactions'])} transactions",
    )
    yield single(
        f"{name}-noop-pass",
        "s",
        passes,
        command="a pass from scratch that finds nothing to do",
        aim=aim(1.0),
        note=note,
    )
    yield single(
        f"{name}-change-committed", "s", changes, command="isthmus serve", aim=aim(0.05),
        note="a document is replaced, until another client of the database sees the transaction",
    )  # fmt: skip
    yield compared(
        f"{name}-rss", "MB", memory, [p["rss"] / 1e6 for p in plain], command="a process after such a pass",
        peer=peer_name, note=note,
    )  # fmt: skip
    yield single(
        f"{name}-serve-rss",
        "MB",
        [resident / 1e6],
        command="isthmus serve",
        aim=aim(200),
        note=f"after {CHANGES} changes",
    )


BATCHES = (1, 50, 300)
"""Interconnects in one transaction, of 300 (ADR 0001)."""


def transactions(rounds: int) -> Iterator[Row]:
    """First apply by the size of a transaction."""
    found: dict[int, list[float]] = {size: [] for size in BATCHES}
    for number in range(rounds):
        for size in BATCHES if number % 2 == 0 else reversed(BATCHES):
            with servers.databases(BATCHES[-1]) as world, numbering(world):
                found[size].append(child("apply", world.config, str(size))["apply"])
        progress(f"  transactions {number + 1}/{rounds}: " + ", ".join(f"{s}: {t[-1]:.2f} s" for s, t in found.items()))
    for size in BATCHES[1:]:
        yield compared(
            f"first-apply-{size}-in-a-transaction", "s", found[size], found[1], command="isthmus apply --wait none",
            peer="one Interconnect in a transaction", note=f"{BATCHES[-1]} Interconnects, two sites, no northd",
        )  # fmt: skip


@contextmanager
def numbering(world: Databases) -> Iterator[None]:
    """Ports of transit switches are numbered meanwhile; no ovn-ic runs here."""
    northbound = [site["nb"] for site in world.sites.values()]
    processes = [subprocess.Popen([sys.executable, "-m", "bench.numberer", str(s.path)]) for s in northbound]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def child(mode: str, config: Path, *more: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.child", mode, str(config), *more],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return {k: float(v) for k, v in json.loads(done.stdout).items()}


def serve(world: Databases) -> tuple[Sequence[float], float]:
    """Seconds from a replaced document to its transaction, for some of them; and the bytes that the process holds."""
    command = [str(Path(sys.executable).with_name("isthmus")), "serve", "-f", str(world.config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            _cut_and_wait(world, 0, cut=True, timeout=120)
            times = []
            for number in range(CHANGES):
                time.sleep(1.0)
                times.append(_cut_and_wait(world, 1 + number // 2, cut=number % 2 == 0))
                progress(f"  change {number + 1}/{CHANGES}: {times[-1] * 1000:.0f} ms")
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            found = re.search(r"VmRSS:\s+(\d+)", status)
            return times, float(found.group(1)) * 1024 if found else 0.0
        finally:
            process.terminate()


def _cut_and_wait(world: Databases, number: int, *, cut: bool, timeout: float = 10.0) -> float:
    """Take one subnet out of a document, or put it back; seconds until the site's NB has it."""
    text = servers.interconnect(number, "web" if cut else "web, db")
    target = world.document(number)
    fresh = target.with_name(f".{target.name}.new")
    fresh.write_text(text, encoding="utf-8")
    with Watcher(world.sites["cloud"]["nb"]) as watcher:
        begin = time.perf_counter()
        fresh.replace(target)
        watcher.wait(timeout)
        return time.perf_counter() - begin


class Watcher:
    """Sees `nb_cfg` move, which every northbound transaction of ours does."""

    def __init__(self, server: Server) -> None:
        self._rpc = servers.rpc.Rpc(server.path)
        self._rpc.call("monitor", server.database, None, {"NB_Global": [{"columns": ["nb_cfg"]}]})

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._rpc.__exit__()

    def wait(self, timeout: float) -> None:
        """Until the next change. Raises TimeoutError."""
        self._rpc.timeout(timeout)
        while self._rpc.receive().get("method") != "update":
            pass
