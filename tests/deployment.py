"""OVN databases of several sites and of a Fabric, on real ovsdb-servers over unix sockets, without root.

No northd, no ovn-ic and no ovn-controller run: `Pretender` writes, as they would, what Isthmus waits for. Those rows
are foreign, as they would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from isthmus.backends.ovsdb.schema import Schema, parse_schema
from isthmus.cli.main import main
from isthmus.controller.serve import Serve

SCHEMAS = Path("/usr/share/ovn")
DATABASES = {
    "nb": ("ovn-nb", "OVN_Northbound"),
    "sb": ("ovn-sb", "OVN_Southbound"),
    "ic-nb": ("ovn-ic-nb", "OVN_IC_Northbound"),
    "ic-sb": ("ovn-ic-sb", "OVN_IC_Southbound"),
}
API = "isthmus.dev/v1alpha1"


class Connection:
    """A blocking JSON-RPC connection, for one thread."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._buffer = ""

    def call(self, method: str, *params: Any) -> Any:
        self._socket.sendall(json.dumps({"method": method, "params": params, "id": 1}).encode())
        decoder = json.JSONDecoder()
        while True:
            try:
                message, end = decoder.raw_decode(self._buffer)
            except json.JSONDecodeError:
                data = self._socket.recv(1 << 20)
                if not data:
                    raise ConnectionResetError("the server closed the connection") from None
                self._buffer += data.decode()
                continue
            self._buffer = self._buffer[end:]
            if message.get("method") == "echo":
                self._socket.sendall(json.dumps({"result": message["params"], "error": None, "id": "echo"}).encode())
            elif "result" in message:
                assert message["error"] is None, message
                return message["result"]

    def close(self) -> None:
        self._socket.close()


class Server:
    """One ovsdb-server with one database of a kind (`nb`, `sb`, `ic-nb`, `ic-sb`)."""

    def __init__(self, directory: Path, kind: str, *arguments: str, schema: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.kind, self.directory, self._arguments = kind, directory, arguments
        file, self.database = DATABASES[kind]
        self.path = directory / f"{kind}.sock"
        self.remote = f"unix:{self.path}"
        self.file = directory / f"{kind}.db"
        run("ovsdb-tool", "create", str(self.file), str(schema or SCHEMAS / f"{file}.ovsschema"))
        self.start()

    def start(self) -> None:
        at = self.directory / self.kind
        run(
            "ovsdb-server", "--detach", "--no-chdir", f"--pidfile={at}.pid", f"--unixctl={at}.ctl",
            f"--log-file={at}.log", f"--remote=punix:{self.path}", *self._arguments, str(self.file),
        )  # fmt: skip

    def stop(self) -> None:
        pidfile = self.directory / f"{self.kind}.pid"
        if not pidfile.exists():
            return
        # The server removes its file on the way out; who reaps it, and when, is the machine's affair.
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while pidfile.exists():
            assert time.monotonic() < deadline, f"{pidfile} does not end"
            time.sleep(0.005)

    def transact(self, *operations: dict[str, Any]) -> list[Any]:
        connection = Connection(self.path)
        try:
            results: list[Any] = connection.call("transact", self.database, *operations)
        finally:
            connection.close()
        assert not any(isinstance(r, dict) and r.get("error") for r in results), results
        return results

    def snapshot(self, *tables: str) -> dict[str, dict[str, dict[str, Any]]]:
        """table -> uuid -> row, decoded; of all tables unless some are named."""
        schema = {t: c for t, c in _schema(self.kind).items() if not tables or t in tables}
        connection = Connection(self.path)
        try:
            answers = connection.call(
                "transact", self.database, *({"op": "select", "table": t, "where": []} for t in schema)
            )
        finally:
            connection.close()
        return {
            table: {
                row["_uuid"][1]: {c: spec.decode(row[c]) for c, spec in schema[table].items()}
                | {"_uuid": row["_uuid"][1]}
                for row in answer["rows"]
            }
            for table, answer in zip(schema, answers, strict=True)
        }

    def transactions(self) -> int:
        """How many the database file records, the one that made it included."""
        return len(run("ovsdb-tool", "show-log", str(self.file)).splitlines())


_schemas: dict[str, Schema] = {}


def _schema(kind: str) -> Schema:
    if kind not in _schemas:
        _schemas[kind] = parse_schema(json.loads((SCHEMAS / f"{DATABASES[kind][0]}.ovsschema").read_text()))
    return _schemas[kind]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class SiteDatabases:
    """A site's NB and SB."""

    def __init__(self, directory: Path, name: str, zone: str) -> None:
        self.name = name
        self.nb, self.sb = Server(directory, "nb"), Server(directory, "sb")
        self.nb.transact({"op": "insert", "table": "NB_Global", "row": {"name": zone}})
        self.sb.transact({"op": "insert", "table": "SB_Global", "row": {}})

    def nbctl(self, text: str) -> str:
        """Commands with `--` between them, one transaction."""
        return run("ovn-nbctl", f"--db={self.nb.remote}", *text.split())

    def sbctl(self, text: str) -> str:
        return run("ovn-sbctl", f"--db={self.sb.remote}", *text.split())

    def chassis(
        self, name: str, address: str, *, gateway: bool = True, agent: bool = False, hostname: str = ""
    ) -> None:
        marks = f"other_config:is-interconn={'true' if gateway else 'false'}"
        said = " external_ids:isthmus\\:agent={}" if agent else ""
        self.sbctl(
            f"chassis-add {name} geneve {address} -- set Chassis {name} hostname={hostname or name + '.example'} "
            f"{marks} -- create Chassis_Private name={name}{said}"
        )

    def router(self, name: str, **switches: str) -> None:
        """A router with switches: name -> its own addresses, comma-separated; two machines' ports on each."""
        self.nbctl(f"lr-add {name}")
        for switch, addresses in switches.items():
            self.subnet(name, switch.replace("_", "-"), addresses)

    def subnet(self, router: str, switch: str, addresses: str) -> None:
        port, mac = (
            f"{router}-{switch}",
            "02:" + ":".join(f"{hash((router, switch)) >> s & 255:02x}" for s in range(0, 40, 8)),
        )
        self.nbctl(
            f"ls-add {switch} -- lrp-add {router} {port} {mac} {addresses.replace(',', ' ')} "
            f"-- lsp-add {switch} {switch}-router -- lsp-set-type {switch}-router router "
            f"-- lsp-set-addresses {switch}-router router -- lsp-set-options {switch}-router router-port={port} "
            f"-- lsp-add {switch} {switch}-vm1 -- lsp-add {switch} {switch}-vm2"
        )


class Deployment:
    """Sites with a Fabric between them, the documents beside them, and the commands on them.

    Each site has the chassis SITE-gw1 and SITE-gw2 (gateways) and SITE-n1.
    """

    def __init__(self, directory: Path, *sites: str, agents: bool = False) -> None:
        self.directory = directory
        self.sites: dict[str, SiteDatabases] = {}
        for number, name in enumerate(sites):
            site = self.sites[name] = SiteDatabases(directory / name, name, name)
            site.chassis(f"{name}-gw1", f"192.0.2.{number * 10 + 1}", agent=agents)
            site.chassis(f"{name}-gw2", f"192.0.2.{number * 10 + 2}", agent=agents)
            site.chassis(f"{name}-n1", f"192.0.2.{number * 10 + 3}", gateway=False)
        fabric = directory / "fabric"
        self.ic_nb, self.ic_sb = Server(fabric, "ic-nb"), Server(fabric, "ic-sb")
        self.ic_nb.transact({"op": "insert", "table": "IC_NB_Global", "row": {}})
        self.ic_sb.transact(
            {"op": "insert", "table": "IC_SB_Global", "row": {}},
            *({"op": "insert", "table": "Availability_Zone", "row": {"name": s}} for s in sites),
        )
        self.config = directory / "config"
        self.config.mkdir()
        self.fabric: dict[str, Any] = {"northbound": [self.ic_nb.remote], "southbound": [self.ic_sb.remote]}
        self.site_specs: dict[str, dict[str, Any]] = {
            name: {
                "type": "ovn",
                "northbound": [site.nb.remote],
                "southbound": [site.sb.remote],
                "gateways": [f"{name}-gw1", f"{name}-gw2"],
            }
            for name, site in self.sites.items()
        }
        self.interconnects: dict[str, list[dict[str, Any]]] = {}
        self.pretender = Pretender(self)

    def stop(self) -> None:
        self.pretender.stop()
        for server in self.servers().values():
            server.stop()

    def servers(self) -> dict[str, Server]:
        found = {f"{kind}/{s.name}": getattr(s, kind) for s in self.sites.values() for kind in ("nb", "sb")}
        return found | {"ic-nb": self.ic_nb, "ic-sb": self.ic_sb}

    def snapshot(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        return {name: server.snapshot() for name, server in self.servers().items()}

    def northbound(self) -> dict[str, Any]:
        """Everything that Isthmus may write, to see that it has not."""
        return {n: s.snapshot() for n, s in self.servers().items() if n.startswith("nb/") or n == "ic-nb"}

    # -- documents ----------------------------------------------------------------------------------------

    def write(self) -> None:
        documents = [{"apiVersion": API, "kind": "Fabric", "metadata": {"name": "default"}, "spec": self.fabric}]
        documents += [
            {"apiVersion": API, "kind": "Site", "metadata": {"name": n}, "spec": s} for n, s in self.site_specs.items()
        ]
        self._dump("fabric.yaml", documents)
        self._dump(
            "interconnects.yaml",
            [
                {"apiVersion": API, "kind": "Interconnect", "metadata": {"name": n}, "spec": {"attachments": a}}
                for n, a in self.interconnects.items()
            ],
        )

    def _dump(self, name: str, documents: list[dict[str, Any]]) -> None:
        new = self.config / f".{name}.new"
        new.write_text(yaml.safe_dump_all(documents, sort_keys=False) or "# none\n")
        new.rename(self.config / name)

    def join(self, name: str, *attachments: dict[str, Any]) -> None:
        self.interconnects[name] = list(attachments)
        self.write()

    # -- commands -----------------------------------------------------------------------------------------

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """`isthmus WORDS` in this process: exit code and the JSON object."""
        code, out, _ = self.text(words[0], "--output", "json", *words[1:])
        return code, json.loads(out)

    def text(self, *words: str) -> tuple[int, str, str]:
        """The same: exit code, standard output, standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([words[0], "-f", str(self.config), *words[1:]])
        return code, out.getvalue(), err.getvalue()

    def apply(self, *words: str) -> dict[str, Any]:
        """`apply` that must succeed; Programmed is what can be had here."""
        code, found = self.run("apply", "--timeout", "8", "--wait", "programmed", *words)
        assert code == 0, found
        return found

    def refused(self, *words: str) -> list[dict[str, Any]]:
        """`apply` that must exit 2, having written nothing; returns the errors."""
        before = self.northbound()
        code, found = self.run("apply", "--timeout", "8", *words)
        assert code == 2, (code, found)
        assert self.northbound() == before
        return list(found["errors"])

    @contextlib.contextmanager
    def serving(self) -> Iterator[Serving]:
        serving = Serving(self.config)
        try:
            yield serving
        finally:
            serving.stop()


class Serving:
    """`Serve` in a thread; `until` waits for a condition to hold."""

    def __init__(self, config: Path) -> None:
        self.serve = Serve(config)
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self.serve.run())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(10)
        assert not self._thread.is_alive()

    def condition(self, name: str, kind: str) -> tuple[str, str, str]:
        """(status, reason, message)."""
        for condition in self.serve.report.conditions.get(name, ()):
            if condition.type == kind:
                return condition.status, condition.reason, condition.message
        return "", "", ""

    def until(self, what: Callable[[], object], seconds: float = 6.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.serve.report
            time.sleep(0.01)

    def until_condition(self, name: str, kind: str, status: str, reason: str = "") -> str:
        def holds() -> bool:
            found = self.condition(name, kind)
            return found[0] == status and reason in ("", found[1])

        self.until(holds)
        return self.condition(name, kind)[2]

    def settled(self, passes: int = 3) -> None:
        """A few more passes have gone by and nothing was written."""
        start = self.serve.report.passes
        self.until(lambda: self.serve.report.passes >= start + passes)


class Pretender:
    """Does what ovn-ic and the gateways' ovn-controllers would: copies of transit switches, ports, bindings, nb_cfg."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stop = threading.Event()
        self._paused = threading.Event()
        self.frozen: set[str] = set()
        """Sites whose chassis work nothing off."""
        self.overlooked: dict[str, str] = {}
        """Router port -> MAC, or "*"; while its row has that spelling, no chassis carries the port (ADR 0017)."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            # Servers go and come back in tests.
            with contextlib.suppress(OSError, AssertionError):
                self._once()

    def _once(self) -> None:
        sites = self._deployment.sites
        wanted = {r["name"] for r in self._deployment.ic_nb.snapshot("Transit_Switch")["Transit_Switch"].values()}
        ports: dict[str, dict[str, str]] = {}
        for site in sites.values():
            with contextlib.suppress(OSError):
                ports[site.name] = self._switches(site, wanted)
        for site in sites.values():
            with contextlib.suppress(OSError):
                self._south(site, {p: s for s, found in ports.items() if s != site.name for p in found})

    def _switches(self, site: SiteDatabases, wanted: set[str]) -> dict[str, str]:
        """Make and remove copies of transit switches; returns the site's ports on them: name -> switch."""
        nb = site.nb.snapshot("Logical_Switch", "Logical_Switch_Port")
        operations: list[dict[str, Any]] = []
        there: dict[str, str] = {}
        ports: dict[str, str] = {}
        for uuid, row in nb["Logical_Switch"].items():
            name = row["other_config"].get("interconn-ts")
            if name is None:
                continue
            there[name] = uuid
            ports |= {nb["Logical_Switch_Port"][p]["name"]: name for p in row["ports"]}
            operations += [_number(p, len(ports)) for p in row["ports"] if _unnumbered(nb["Logical_Switch_Port"][p])]
            if name not in wanted:
                operations.append(
                    {"op": "delete", "table": "Logical_Switch", "where": [["_uuid", "==", ["uuid", uuid]]]}
                )
        operations += [
            {
                "op": "insert",
                "table": "Logical_Switch",
                "row": {"name": n, "other_config": ["map", [["interconn-ts", n]]]},
            }
            for n in wanted - there.keys()
        ]
        if operations:
            site.nb.transact(*operations)
        return ports

    def _south(self, site: SiteDatabases, remote: dict[str, str]) -> None:
        """Bindings of transit ports, here and of the others, and the chassis' word."""
        nb = site.nb.snapshot("NB_Global", "Logical_Router_Port", "Gateway_Chassis")
        sb = site.sb.snapshot("Chassis", "Chassis_Private", "Port_Binding")
        chassis = {row["name"]: uuid for uuid, row in sb["Chassis"].items()}
        carried: dict[str, str | None] = {}
        for row in nb["Logical_Router_Port"].values():
            if row["gateway_chassis"]:
                best = sorted((nb["Gateway_Chassis"][g] for g in row["gateway_chassis"]), key=lambda g: -g["priority"])
                seen = self.overlooked.get(row["name"], "") not in (row["mac"], "*")
                carried[f"cr-{row['name']}"] = next(
                    (g["chassis_name"] for g in best if seen and g["chassis_name"] in chassis), None
                )
        there = {row["logical_port"]: row for row in sb["Port_Binding"].values()}
        operations = self._bindings(
            site, {n: "chassisredirect" for n in carried} | dict.fromkeys(remote, "remote"), there, carried, chassis
        )
        cfg = next(iter(nb["NB_Global"].values()))["nb_cfg"]
        if site.name not in self.frozen and any(r["nb_cfg"] != cfg for r in sb["Chassis_Private"].values()):
            operations.append({"op": "update", "table": "Chassis_Private", "where": [], "row": {"nb_cfg": cfg}})
        if operations:
            site.sb.transact(*operations)

    def _bindings(
        self,
        site: SiteDatabases,
        wanted: dict[str, str],
        there: dict[str, dict[str, Any]],
        carried: dict[str, str | None],
        chassis: dict[str, str],
    ) -> list[dict[str, Any]]:
        operations: list[dict[str, Any]] = []
        keys = {row["tunnel_key"] for row in there.values()}
        datapaths = list(site.sb.snapshot("Datapath_Binding")["Datapath_Binding"])
        if not datapaths and wanted.keys() - there.keys():
            operations.append(
                {"op": "insert", "table": "Datapath_Binding", "uuid-name": "dp", "row": {"tunnel_key": 1}}
            )
        datapath = ["uuid", datapaths[0]] if datapaths else ["named-uuid", "dp"]
        for name in sorted(wanted.keys() - there.keys()):
            key = next(k for k in range(1, 32767) if k not in keys)
            keys.add(key)
            on = carried.get(name) if name in carried else max(chassis)
            row = {"logical_port": name, "type": wanted[name], "datapath": datapath, "tunnel_key": key}
            if on:
                row["chassis"] = ["uuid", chassis[on]]
            operations.append({"op": "insert", "table": "Port_Binding", "row": row})
        for name, row in there.items():
            where = [["logical_port", "==", name]]
            if name not in wanted:
                operations.append({"op": "delete", "table": "Port_Binding", "where": where})
            elif name in carried and row["chassis"] != (chassis[on] if (on := carried[name]) else None):
                value = ["uuid", chassis[on]] if on else ["set", []]
                operations.append({"op": "update", "table": "Port_Binding", "where": where, "row": {"chassis": value}})
        return operations


def _unnumbered(port: dict[str, Any]) -> bool:
    return port["type"] == "router" and "requested-tnl-key" not in port["options"]


def _number(port: str, number: int) -> dict[str, Any]:
    options = ["map", [["requested-tnl-key", str(number)]]]
    where = [["_uuid", "==", ["uuid", port]]]
    return {
        "op": "mutate",
        "table": "Logical_Switch_Port",
        "where": where,
        "mutations": [["options", "insert", options]],
    }


def attach(site: str, router: str, *subnets: Any, **more: Any) -> dict[str, Any]:
    """An attachment as users write it."""
    return {"site": site, "vpc": {"name": router}, "subnets": list(subnets), **more}
