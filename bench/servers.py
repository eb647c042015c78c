"""Real ovsdb-servers over unix sockets, filled with a thousand tenants; no northd, no ovn-ic, no hosts."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.lab import rpc

SCHEMAS = Path("/usr/share/ovn")
KINDS = {
    "nb": ("ovn-nb", "OVN_Northbound"),
    "sb": ("ovn-sb", "OVN_Southbound"),
    "ic-nb": ("ovn-ic-nb", "OVN_IC_Northbound"),
    "ic-sb": ("ovn-ic-sb", "OVN_IC_Southbound"),
}
SITES = {"cloud": 1, "cluster": 2}
"""Site -> second number of every tenant's addresses there."""

API = "apiVersion: isthmus.dev/v1alpha1"
BATCH = 200
"""Tenants in one transaction while filling."""

Operation = dict[str, Any]


class Server:
    """One ovsdb-server with one database, in files of its own."""

    def __init__(self, directory: Path, kind: str, *arguments: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        schema, self.database = KINDS[kind]
        self.kind = kind
        self.path = directory / f"{kind}.sock"
        self.remote = f"unix:{self.path}"
        self._pidfile = directory / f"{kind}.pid"
        file = directory / f"{kind}.db"
        subprocess.run(["ovsdb-tool", "create", file, SCHEMAS / f"{schema}.ovsschema"], check=True)
        at = directory / kind
        subprocess.run(
            [
                "ovsdb-server", "--detach", "--no-chdir", f"--pidfile={self._pidfile}", f"--unixctl={at}.ctl",
                f"--log-file={at}.log", "-vconsole:off", f"--remote=punix:{self.path}", *arguments, file,
            ],
            check=True,
        )  # fmt: skip

    def transact(self, *operations: Operation) -> list[Any]:
        return rpc.transact(self.path, self.database, *operations)

    def count(self, *tables: str) -> int:
        """Rows of the tables; of all of them unless some are named."""
        return sum(
            len(rows) for table, rows in rpc.snapshot(self.path, self.database).items() if table in tables or not tables
        )

    def stop(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int(self._pidfile.read_text())
            os.kill(pid, signal.SIGTERM)
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.01)


class Databases:
    """Two sites' NB and SB, and the Fabric's, with `tenants` VPC routers of one subnet each, and the documents.

    copies  what ovn-ic would make later, the transit switches' copies, is there from the start
    """

    def __init__(self, directory: Path, tenants: int, *, copies: bool = True) -> None:
        self.directory, self.tenants = directory, tenants
        self.sites = {n: {k: Server(directory / n, k) for k in ("nb", "sb")} for n in SITES}
        self.fabric = {k: Server(directory / "fabric", k) for k in ("ic-nb", "ic-sb")}
        self.fabric["ic-nb"].transact({"op": "insert", "table": "IC_NB_Global", "row": {}})
        zones = ({"op": "insert", "table": "Availability_Zone", "row": {"name": name}} for name in SITES)
        self.fabric["ic-sb"].transact({"op": "insert", "table": "IC_SB_Global", "row": {}}, *zones)
        for name, servers in self.sites.items():
            servers["nb"].transact({"op": "insert", "table": "NB_Global", "row": {"name": name}})
            servers["sb"].transact({"op": "insert", "table": "SB_Global", "row": {}}, *chassis(name))
            for first in range(0, tenants, BATCH):
                numbers = range(first, min(first + BATCH, tenants))
                servers["nb"].transact(*(o for n in numbers for o in tenant(name, n, copy=copies)))
        self.config = directory / "config"
        self.bare = directory / "bare"
        self._write()

    def _write(self) -> None:
        fabric = [
            f"{API}\nkind: Fabric\nmetadata: {{name: default}}\nspec: {{northbound: [{self.fabric['ic-nb'].remote}], "
            f"southbound: [{self.fabric['ic-sb'].remote}]}}\n"
        ]
        fabric += [
            f"{API}\nkind: Site\nmetadata: {{name: {name}}}\nspec: {{type: ovn, northbound: [{s['nb'].remote}], "
            f"southbound: [{s['sb'].remote}], gateways: [{name}-1, {name}-2]}}\n"
            for name, s in self.sites.items()
        ]
        for folder in (self.config, self.bare):
            folder.mkdir()
            (folder / "fabric.yaml").write_text("---\n".join(fabric), encoding="utf-8")
        for number in range(self.tenants):
            self.document(number).write_text(interconnect(number), encoding="utf-8")

    def document(self, number: int) -> Path:
        """The file of one tenant's Interconnect."""
        return self.config / f"t{number:04}.yaml"

    def servers(self) -> Iterable[Server]:
        for servers in (*self.sites.values(), self.fabric):
            yield from servers.values()

    def stop(self) -> None:
        for server in self.servers():
            server.stop()


@contextmanager
def databases(tenants: int, kind: type[Databases] = Databases, *, copies: bool = True) -> Iterator[Databases]:
    """`copies`: ovn-ic's copies of the transit switches are there from the start."""
    directory = Path(tempfile.mkdtemp(prefix="isthmus-bench-"))
    found: Databases | None = None
    try:
        found = kind(directory, tenants, copies=copies)
        yield found
    finally:
        if found is not None:
            found.stop()
        shutil.rmtree(directory, ignore_errors=True)


def chassis(site: str) -> Iterator[Operation]:
    for number in (1, 2, 3):
        name = f"{site}-{number}"
        encap = {"type": "geneve", "ip": f"192.0.2.{SITES[site]}{number}", "chassis_name": name}
        yield {"op": "insert", "table": "Encap", "uuid-name": f"e{number}", "row": encap}
        marks = ["map", [["is-interconn", "true" if number < 3 else "false"]]]
        row = {
            "name": name,
            "hostname": f"{name}.example",
            "encaps": ["named-uuid", f"e{number}"],
            "other_config": marks,
        }
        yield {"op": "insert", "table": "Chassis", "row": row}
        yield {"op": "insert", "table": "Chassis_Private", "row": {"name": name}}


def tenant(site: str, number: int, *, copy: bool) -> Iterator[Operation]:
    """A router, its switches with two machines each, and ovn-ic's copy of the transit switch."""
    router, lrps = f"t{number:04}", []
    for place, subnet in enumerate(("web", "db")):
        name, ids = f"{router}-{subnet}", f"{number}x{place}"
        lrps.append(["named-uuid", f"lrp{ids}"])
        mac = f"02:00:{SITES[site]:02x}:{place:02x}:{number >> 8:02x}:{number & 255:02x}"
        network = f"10.{SITES[site]}.{place + 1}.1/24"
        yield {
            "op": "insert",
            "table": "Logical_Router_Port",
            "uuid-name": f"lrp{ids}",
            "row": {"name": name, "mac": mac, "networks": network},
        }
        lsps = [["named-uuid", f"lsp{ids}"]]
        options = ["map", [["router-port", name]]]
        yield {
            "op": "insert",
            "table": "Logical_Switch_Port",
            "uuid-name": f"lsp{ids}",
            "row": {"name": f"{name}-router", "type": "router", "addresses": "router", "options": options},
        }
        for machine in (1, 2):
            lsps.append(["named-uuid", f"vm{ids}x{machine}"])
            row = {
                "name": f"{name}-vm{machine}",
                "addresses": f"0a:00:00:00:00:0{machine} 10.{SITES[site]}.{place + 1}.1{machine}",
            }
            yield {"op": "insert", "table": "Logical_Switch_Port", "uuid-name": f"vm{ids}x{machine}", "row": row}
        yield {"op": "insert", "table": "Logical_Switch", "row": {"name": name, "ports": ["set", lsps]}}
    yield {"op": "insert", "table": "Logical_Router", "row": {"name": router, "ports": ["set", lrps]}}
    if not copy:
        return
    transit = f"isthmus-default.{router}"
    yield {
        "op": "insert",
        "table": "Logical_Switch",
        "row": {"name": transit, "other_config": ["map", [["interconn-ts", transit]]]},
    }


def interconnect(number: int, cluster: str = "web, db") -> str:
    name = f"t{number:04}"
    far = ", ".join(f"{name}-{s.strip()}" for s in cluster.split(","))
    return (
        f"{API}\nkind: Interconnect\nmetadata: {{name: {name}}}\nspec:\n  attachments:\n"
        f"  - {{site: cloud, vpc: {{name: {name}}}, subnets: [{name}-web, {name}-db]}}\n"
        f"  - {{site: cluster, vpc: {{name: {name}}}, subnets: [{far}]}}\n"
    )


def watch(server: Server, table: str, column: str, ready: Callable[[dict[str, Any]], bool], timeout: float) -> None:
    """Wait until `ready(rows of the table)`; raises TimeoutError."""
    rpc.wait_until(server.path, server.database, {table: [column]}, lambda rows: ready(rows[table]), timeout)
