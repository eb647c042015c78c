"""Many tenants joined from nothing until every binding is up, with real northd and ovn-ic; against ovn-ic learning.

No ovn-controller runs: a thousand tenants' flows would measure the switch. In its stead one process gives every
gateway port its chassis, as ovn-controller does, for both sides alike; ovn-ic then tells the other zone, and a binding
counts as up when that zone's southbound database shows the chassis of the remote port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import servers
from bench.report import Aim, Row, compared, progress
from bench.servers import BATCH, Databases, Operation, rpc
from isthmus.backends.changes import Change
from isthmus.backends.files import load
from isthmus.backends.ovsdb.schema import Schema
from isthmus.backends.ovsdb.write import operations
from isthmus.controller.once import Once, scope
from isthmus.model.intent import Configuration
from isthmus.model.rows import IC_NB, nb

TENANTS = "300"
"""By default: a pair of 1,000 takes minutes on two CPUs; BENCH_TENANTS=1000 measures them."""

TIMEOUT = 600.0


def mass(rounds: int) -> Iterator[Row]:
    tenants = int(os.environ.get("BENCH_TENANTS", TENANTS))
    ours, theirs = [], []
    for number in range(rounds):
        with running(tenants) as world:
            ours.append(world.timed(lambda: joined(world)))
        with running(tenants) as world:
            theirs.append(world.timed(Learning(world).run))
        progress(f"  mass {number + 1}/{rounds}: {ours[-1]:.1f} s, learnt {theirs[-1]:.1f} s")
    yield compared(
        f"{tenants}-tenants-joined", "s", ours, theirs, command="isthmus apply --wait none",
        peer="the same routers, links and edges, no policies, prepared transactions; ovn-ic advertises and learns",
        aim=Aim("<=", 1.0, "x"),
        note="real northd and ovn-ic; gateway ports bound by a stand-in for ovn-controller; "
        "until both southbound databases show every remote port's chassis, and northd is through",
    )  # fmt: skip


class Running(Databases):
    """Databases with northd and ovn-ic on them, and something that binds gateway ports."""

    def begin(self) -> None:
        for name, site in self.sites.items():
            at = self.directory / name
            nb, sb = site["nb"].remote, site["sb"].remote
            self._daemon(at / "northd", "ovn-northd", f"--ovnnb-db={nb}", f"--ovnsb-db={sb}")
            ic = (f"--ic-nb-db={self.fabric['ic-nb'].remote}", f"--ic-sb-db={self.fabric['ic-sb'].remote}")
            self._daemon(at / "ic", "ovn-ic", f"--ovnnb-db={nb}", f"--ovnsb-db={sb}", *ic)
        self.binders = [
            subprocess.Popen([sys.executable, "-m", "bench.binder", str(s["sb"].path), f"{n}-1"])
            for n, s in self.sites.items()
        ]
        self.through()

    def _daemon(self, at: Path, program: str, *arguments: str) -> None:
        own = ["--detach", "--no-chdir", f"--pidfile={at}.pid", f"--unixctl={at}.ctl", f"--log-file={at}.log"]
        subprocess.run([program, *own, "-vconsole:off", *arguments], check=True)

    def end(self) -> None:
        for binder in self.binders:
            binder.terminate()
            binder.wait()
        for pidfile in self.directory.glob("*/*.pid"):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int(pidfile.read_text()), signal.SIGTERM)

    def through(self) -> None:
        """Until northd has worked off what stands in every northbound database."""
        for site in self.sites.values():
            command = ["ovn-nbctl", f"--db={site['nb'].remote}", "--wait=sb", "--timeout=600", "sync"]
            subprocess.run(command, check=True)

    def timed(self, join: Any) -> float:
        begin = time.perf_counter()
        join()
        progress(f"    written after {time.perf_counter() - begin:.1f} s")
        for site in self.sites.values():
            _until(site["sb"].path, "OVN_Southbound", "Port_Binding", ["type", "chassis"], self._all_bound)
        progress(f"    bound after {time.perf_counter() - begin:.1f} s")
        self.through()
        return time.perf_counter() - begin

    def _all_bound(self, rows: dict[str, dict[str, Any]]) -> bool:
        far = sum(r["type"] == "remote" and r["chassis"] != ["set", []] for r in rows.values())
        own = sum(r["type"] == "chassisredirect" and r["chassis"] != ["set", []] for r in rows.values())
        return far >= self.tenants and own >= self.tenants


@contextmanager
def running(tenants: int) -> Iterator[Running]:
    with servers.databases(tenants, Running, copies=False) as world:
        assert isinstance(world, Running)
        world.begin()
        try:
            yield world
        finally:
            world.end()


def _until(path: Path, database: str, table: str, columns: list[str], ready: Any) -> None:
    rpc.wait_until(path, database, {table: columns}, lambda rows: ready(rows[table]), TIMEOUT)


def joined(world: Running) -> None:
    isthmus = Path(sys.executable).with_name("isthmus")
    command = [str(isthmus), "apply", "--wait", "none", "--timeout", str(TIMEOUT), "-f", str(world.config)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Learning:
    """The peer: the same routers, links and edges by prepared transactions; ovn-ic brings the remote routes."""

    def __init__(self, world: Running) -> None:
        self._world = world
        self._learnt = 0
        for site in world.sites.values():
            options = ["map", [["ic-route-adv", "true"], ["ic-route-learn", "true"]]]
            site["nb"].transact(
                {"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["options", "insert", options]]}
            )
        self._work = asyncio.run(self._plan(load(world.config)))

    async def _plan(self, configuration: Configuration) -> dict[str, list[list[Operation]]]:
        """Database -> transactions, ready to be sent."""
        fabric = configuration.fabrics[0]
        async with Once(configuration, fabric, writes=False, timeout=300) as once:
            once.plan(scope(configuration, fabric, prune=True))
            clients = {nb(name): site.client for name, site in once.world.sites.items()}
            clients[IC_NB] = once.world.fabric.client
            work: dict[str, list[list[Operation]]] = {}
            for database, client in clients.items():
                assert client.schema is not None
                entries = [e.changes.get(database, []) for e in once.planner.entries.values()]
                for first in range(0, len(entries), BATCH):
                    changes = [c for e in entries[first : first + BATCH] for c in e if _written(c)]
                    now = operations([c for c in changes if not c.deferred], client.schema, {})
                    later = [o for c in changes if c.deferred for o in _port(c, client.schema)]
                    work.setdefault(database, []).append(now)
                    work.setdefault(f"{database}/later", []).append(later)
        return work

    def run(self) -> None:
        world = self._world
        for transaction in self._work[IC_NB]:
            world.fabric["ic-nb"].transact(*transaction)
        self._everywhere("")
        for site in world.sites.values():
            path = site["nb"].path
            _until(path, "OVN_Northbound", "Logical_Switch", ["other_config"], self._copied)
        self._everywhere("/later")
        for site in world.sites.values():
            _until(site["nb"].path, "OVN_Northbound", "Logical_Router_Static_Route", ["external_ids"], self._routed)

    def _everywhere(self, phase: str) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self._send(name, phase), self._world.sites))

    def _send(self, name: str, phase: str) -> None:
        for transaction in self._work[f"{nb(name)}{phase}"]:
            self._world.sites[name]["nb"].transact(*transaction)

    def _copied(self, rows: dict[str, dict[str, Any]]) -> bool:
        return sum("interconn-ts" in rpc.mapping(r["other_config"]) for r in rows.values()) >= self._world.tenants

    def _routed(self, rows: dict[str, dict[str, Any]]) -> bool:
        """Two subnets of the other site on every edge."""
        learnt = sum("ic-learned-route" in rpc.mapping(r["external_ids"]) for r in rows.values())
        return learnt >= 2 * self._world.tenants


def _written(change: Change) -> bool:
    """No policies, and of an edge's routes only those to its own VPC: ovn-ic advertises these and learns the rest."""
    if change.table == "Logical_Router_Policy":
        return False
    return not ("/edge/route/" in change.key and str(change.columns["nexthop"]).startswith("169.254.64."))


def _port(change: Change, schema: Schema) -> Iterator[Operation]:
    """A port into ovn-ic's copy of a transit switch, found by its name."""
    assert change.parent is not None
    name = change.key.replace("/", "_").replace("-", "_")
    row = {c: schema[change.table][c].encode(v) for c, v in change.columns.items()}
    yield {"op": "insert", "table": change.table, "uuid-name": name, "row": row}
    mutation = ["ports", "insert", ["named-uuid", name]]
    where = [["name", "==", change.parent.name]]
    yield {"op": "mutate", "table": "Logical_Switch", "where": where, "mutations": [mutation]}
