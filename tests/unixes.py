"""Isthmus on a lab's databases as on a deployment that no lab made: `unix:` remotes, each through a `Proxy`."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from isthmus.backends.ovsdb.schema import Schema, parse_schema
from isthmus.lab import documents, rpc
from isthmus.lab.hosts import isthmus
from isthmus.lab.lab import Lab
from proxy import Proxy, Turnstile

Documents = list[dict[str, Any]]
Databases = dict[str, dict[str, dict[str, dict[str, Any]]]]


def until(what: str, condition: Callable[[], object], within: float = 10.0) -> float:
    """Poll until the condition is true; seconds that it took. Fails when it does not become so."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, f"not within {within} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - start


@cache
def _schema(path: Path, database: str) -> Schema:
    with rpc.Rpc(path) as connection:
        return parse_schema(connection.call("get_schema", database))


def look(lab: Lab, *wanted: str) -> Databases:
    """`Lab.snapshot` with decoded values, as `snapshots.owned` and `snapshots.foreign` take it."""
    sockets = lab.databases()
    found: Databases = {}
    for name, tables in lab.snapshot(*wanted).items():
        schema = _schema(*sockets[name])
        found[name] = {
            table: {
                uuid: {c: spec.decode(row[c]) for c, spec in schema[table].items()} | {"_uuid": uuid}
                for uuid, row in rows.items()
            }
            for table, rows in tables.items()
        }
    return found


class Unixes:
    """A configuration of a lab's Sites with `unix:` remotes, and commands with it.

    config      the documents, as `fabric.yaml` and `interconnects.yaml`
    proxies     `nb/SITE`, `sb/SITE`, `ic-nb`, `ic-sb` -> Proxy
    turnstile   counts what Isthmus commits, in all databases
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = Path(tempfile.mkdtemp(prefix="isthmus-unix-", dir="/tmp"))
        self.turnstile = Turnstile()
        self.proxies = {
            name: Proxy(name, path, self.directory / f"{name.replace('/', '-')}.sock", self.turnstile)
            for name, (path, _) in lab.databases().items()
        }
        self.config = self.directory / "config"
        self.config.mkdir()
        self.fabric: Documents = []
        for document in documents.fabric(lab.layout):
            spec = {k: v for k, v in document["spec"].items() if k != "tls"}
            site = document["metadata"]["name"]
            north, south = ("ic-nb", "ic-sb") if document["kind"] == "Fabric" else (f"nb/{site}", f"sb/{site}")
            spec |= {"northbound": [self._remote(north)], "southbound": [self._remote(south)]}
            self.fabric.append(document | {"spec": spec})
        self.tenants: Documents = documents.interconnects(lab.layout)
        self._dump("fabric.yaml", self.fabric)
        self._running: list[subprocess.Popen[str]] = []

    def _remote(self, name: str) -> str:
        return f"unix:{self.proxies[name].path}"

    def stop(self) -> None:
        for process in self._running:
            end(process)
        for proxy in self.proxies.values():
            proxy.stop()
        shutil.rmtree(self.directory)

    # -- documents ----------------------------------------------------------------------------------------

    def _dump(self, name: str, found: Documents) -> None:
        new = self.directory / name
        new.write_text(yaml.safe_dump_all(found, sort_keys=False) or "# none\n")
        new.rename(self.config / name)

    @property
    def text(self) -> Path:
        return self.config / "interconnects.yaml"

    def want(self, *interconnects: str, changed: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Write the documents of these Interconnects; `changed`: name -> spec that replaces the lab's."""
        found = [d for d in self.tenants if d["metadata"]["name"] in interconnects]
        found = [d | {"spec": (changed or {}).get(d["metadata"]["name"], d["spec"])} for d in found]
        self._dump("interconnects.yaml", found)

    # -- commands -----------------------------------------------------------------------------------------

    def argv(self, *words: str) -> list[str]:
        return [
            isthmus(),
            words[0],
            "-f",
            str(self.config),
            *(() if words[0] == "serve" else ("--output", "json")),
            *words[1:],
        ]

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.argv(*words), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        self._running.append(process)
        return process

    def run(self, *words: str, code: int = 0, within: float = 40.0) -> dict[str, Any]:
        """The JSON object that a command prints; its exit code must be `code`."""
        done = subprocess.run(self.argv(*words), capture_output=True, text=True, timeout=within, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return dict(json.loads(done.stdout))

    def apply(self, *words: str, code: int = 0) -> dict[str, Any]:
        """`apply`; the lab has no agents, so that Programmed is what can be awaited."""
        return self.run("apply", "--wait", "programmed", "--timeout", "20", *words, code=code)

    def remove_all(self) -> None:
        """`apply --prune` of no Interconnect."""
        self.want()
        self.apply("--prune")

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[str]]:
        """`serve`, from when it holds every lock."""
        log = self.directory / "serve.log"
        with log.open("a") as stream:
            process = subprocess.Popen(self.argv("serve"), stdout=subprocess.DEVNULL, stderr=stream)
        self._running.append(process)  # type: ignore[arg-type]
        try:
            yield process  # type: ignore[misc]
        finally:
            end(process)

    def log(self) -> str:
        """What every `serve` said."""
        return (self.directory / "serve.log").read_text()


def end(process: subprocess.Popen[Any]) -> None:
    """SIGTERM, and wait; a process that does not end by it is killed and fails the test."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    if process.stdout is not None:
        process.stdout.close()


def logged(lab: Lab) -> dict[str, int]:
    """How many transactions with our comment each database's file records."""
    found = {}
    for name, (socket, _) in lab.databases().items():
        file = socket.with_suffix(".db")
        done = subprocess.run(["ovsdb-tool", "show-log", str(file)], capture_output=True, text=True, check=True)
        found[name] = sum(line.endswith('"isthmus"') for line in done.stdout.splitlines())
    return found


def total(counts: Mapping[str, int]) -> int:
    return sum(counts.values())


def replayed(lab: Lab, database: str, operations: Sequence[Any]) -> list[Any]:
    """Send a transaction's operations once more, as they were; the results, errors included."""
    path, name = lab.databases()[database]
    with rpc.Rpc(path) as connection:
        return list(connection.call("transact", name, *operations))
