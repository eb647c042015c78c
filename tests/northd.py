"""A real northbound and southbound database with ovn-northd between them, in a directory, without root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from isthmus.backends.ovsdb.schema import parse_schema
from isthmus.model.rows import Snapshot

SCHEMAS = Path("/usr/share/ovn")


@cache
def _schema() -> Any:
    return parse_schema(json.loads((SCHEMAS / "ovn-nb.ovsschema").read_text()))


def _everything() -> list[Any]:
    return ["OVN_Northbound", *({"op": "select", "table": t, "where": []} for t in _schema())]


def decoded(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Snapshot:
    """A northbound database as the project decodes it, from OVSDB's JSON: table -> uuid -> column -> value."""
    return {
        table: {
            u: {c: k.decode(row[c]) for c, k in _schema()[table].items()} | {"_uuid": u} for u, row in found.items()
        }
        for table, found in rows.items()
    }


class Northd:
    """`nb` and `sb` are remotes. Everything ends with `stop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nb = f"unix:{directory}/nb.sock"
        self.sb = f"unix:{directory}/sb.sock"
        self._environment = os.environ | {"OVN_RUNDIR": str(directory), "OVS_RUNDIR": str(directory)}
        for name in ("nb", "sb"):
            self._run("ovsdb-tool", "create", f"{directory}/{name}.db", str(SCHEMAS / f"ovn-{name}.ovsschema"))
            self._daemon("ovsdb-server", name, f"{directory}/{name}.db", f"--remote=punix:{directory}/{name}.sock")
        self._run("ovn-nbctl", f"--db={self.nb}", "init")
        self._run("ovn-sbctl", f"--db={self.sb}", "init")
        self._daemon("ovn-northd", "northd", f"--ovnnb-db={self.nb}", f"--ovnsb-db={self.sb}")

    def _daemon(self, program: str, name: str, *arguments: str) -> None:
        at = self.directory / name
        common = ("--detach", "--no-chdir", f"--pidfile={at}.pid", f"--unixctl={at}.ctl", f"--log-file={at}.log")
        self._run(program, *common, *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def nbctl(self, *arguments: str) -> str:
        """One transaction, until northd has written what follows from it."""
        return self._run("ovn-nbctl", f"--db={self.nb}", "--wait=sb", *arguments)

    def nbctl_all(self, commands: list[list[str]], *, wait: bool = True) -> None:
        """Many commands in one transaction. `wait`: see `nbctl`."""
        words = [word for command in commands for word in ("--", *command)][1:]
        if wait:
            self.nbctl(*words)
        else:
            self._run("ovn-nbctl", f"--db={self.nb}", *words)

    def start_tracer(self) -> None:
        """ovn-trace as a daemon: it reads the database once, and follows it."""
        self._daemon("ovn-trace", "trace", f"--db={self.sb}")

    def traced(self, datapath: str, microflow: str, *options: str) -> str:
        """What the daemon says of a packet: every stage, every action.

        "" where it died: ovn-trace 23.03 recurses without end over errors that two routers send each other.
        """
        control = str(self.directory / "trace.ctl")
        try:
            return self._run("ovs-appctl", "-t", control, "trace", *options, datapath, microflow)
        except AssertionError as error:
            if "End of file" not in str(error):
                raise
            self.start_tracer()
            return ""

    def snapshot(self) -> Snapshot:
        """The northbound database, decoded as the project decodes it."""
        answers = json.loads(self._run("ovsdb-client", "transact", self.nb, json.dumps(_everything())))
        rows = {t: {r["_uuid"][1]: r for r in a["rows"]} for t, a in zip(_schema(), answers, strict=True)}
        return decoded(rows)

    def stop(self) -> None:
        pids = [int(p.read_text()) for p in self.directory.glob("*.pid")]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{p}").exists() for p in pids) and time.monotonic() < deadline:
            time.sleep(0.02)
