"""Many tenants joined from nothing until every binding is up, with real northd and ovn-ic; against ovn-ic learning.

No ovn-controller runs: a thousand tenants' flows would measure the switch. In its stead one process gives every
gateway port its chassis, as ovn-controller does, for both sides alike; ovn-ic then tells the other zone, and a binding
counts as up when that zone's southbound database shows the chassis of the remote port.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import servers
from bench.report import Aim, Row, compared, progress
from bench.servers import BATCH, SITES, Databases, Operation, rpc

TIMEOUT = 600.0


def mass(rounds: int) -> Iterator[Row]:
    tenants = int(os.environ.get("BENCH_TENANTS", "1000"))
    ours, theirs = [], []
    for number in range(rounds):
        with running(tenants) as world:
            ours.append(world.timed(lambda: joined(world)))
        with running(tenants) as world:
            theirs.append(world.timed(lambda: learnt(world)))
        progress(f"  mass {number + 1}/{rounds}: {ours[-1]:.1f} s, learnt {theirs[-1]:.1f} s")
    yield compared(
        f"{tenants}-tenants-joined", "s", ours, theirs, command="isthmus apply --wait none",
        peer="routers on transit switches in batches of 200, ovn-ic advertises and learns",
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


def learnt(world: Running) -> None:
    """Transit switches, a port of each router on them, and ovn-ic does the rest."""
    names = [f"t{number:04}" for number in range(world.tenants)]
    for site in world.sites.values():
        options = ["map", [["ic-route-adv", "true"], ["ic-route-learn", "true"]]]
        site["nb"].transact(
            {"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["options", "insert", options]]}
        )
    batches = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    for batch in batches:
        world.fabric["ic-nb"].transact(
            *({"op": "insert", "table": "Transit_Switch", "row": {"name": f"ts-{n}"}} for n in batch)
        )
    for name, site in world.sites.items():
        for batch in batches:
            site["nb"].transact(*(o for n in batch for o in _router_port(name, n)))
    for name, site in world.sites.items():
        path = site["nb"].path
        _until(path, "OVN_Northbound", "Logical_Switch", ["name"], lambda rows: _copies(rows) >= world.tenants)
        for batch in batches:
            site["nb"].transact(*(o for n in batch for o in _switch_port(name, n)))
    for site in world.sites.values():
        expected = 2 * world.tenants
        _until(
            site["nb"].path,
            "OVN_Northbound",
            "Logical_Router_Static_Route",
            ["ip_prefix"],
            lambda rows, e=expected: len(rows) >= e,
        )


def _copies(rows: dict[str, dict[str, Any]]) -> int:
    return sum(re.match("ts-t", r["name"]) is not None for r in rows.values())


def _router_port(site: str, tenant: str) -> Iterator[Operation]:
    number = SITES[site]
    port = f"{tenant}-ts-{site}"
    mac = f"0a:00:0{number}:00:{int(tenant[1:]) >> 8:02x}:{int(tenant[1:]) & 255:02x}"
    gateways = []
    for place in (1, 2):
        row = {"name": f"{port}_{site}-{place}", "chassis_name": f"{site}-{place}", "priority": 10 - place}
        yield {"op": "insert", "table": "Gateway_Chassis", "uuid-name": f"{tenant}g{place}", "row": row}
        gateways.append(["named-uuid", f"{tenant}g{place}"])
    row = {"name": port, "mac": mac, "networks": f"169.254.100.{number}/24", "gateway_chassis": ["set", gateways]}
    yield {"op": "insert", "table": "Logical_Router_Port", "uuid-name": f"{tenant}p", "row": row}
    mutation = ["ports", "insert", ["named-uuid", f"{tenant}p"]]
    yield {"op": "mutate", "table": "Logical_Router", "where": [["name", "==", tenant]], "mutations": [mutation]}


def _switch_port(site: str, tenant: str) -> Iterator[Operation]:
    options = ["map", [["router-port", f"{tenant}-ts-{site}"]]]
    row = {"name": f"ts-{tenant}-{site}", "type": "router", "addresses": "router", "options": options}
    yield {"op": "insert", "table": "Logical_Switch_Port", "uuid-name": f"{tenant}l", "row": row}
    mutation = ["ports", "insert", ["named-uuid", f"{tenant}l"]]
    yield {
        "op": "mutate",
        "table": "Logical_Switch",
        "where": [["name", "==", f"ts-{tenant}"]],
        "mutations": [mutation],
    }
