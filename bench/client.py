"""ADR 0003: our OVSDB client against `ovs` (with and without its C parser) and ovsdbapp, on the same databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

from bench import idl, servers
from bench.report import Row, compared, progress
from bench.servers import Databases

TENANTS = 1000
"""Of these only the foreign rows: 12,000 in a northbound database."""

TRANSACTIONS = 100

NUMBERS = (
    ("sync", "seconds", "s", 1.0),
    ("rss", "rss", "MB", 1e-6),
    ("import", "import", "ms", 1e3),
    ("transaction", "transact", "ms", 1e3),
)
"""Name in figures, name in what a process says, unit, factor."""

OURS = "isthmus.backends.ovsdb.client"


def client(rounds: int) -> Iterator[Row]:
    with servers.databases(TENANTS) as world, tempfile.TemporaryDirectory() as folder:
        rows = world.sites["cloud"]["nb"].count()
        request = _request(world)
        peers: dict[str, list[dict[str, float]]] = {"ovs, C parser": [], "ovs, Python parser": []}
        app = _ovsdbapp(Path(folder))
        ours: list[dict[str, float]] = []
        for number in range(rounds):
            ours.append(_ours(request))
            for name, parser in (("ovs, C parser", "c"), ("ovs, Python parser", "python")):
                found = idl.run("sync", parser, request)
                found["import"] = idl.run("import", parser, {})["seconds"]
                found["transact"] = idl.run("transact", parser, request | {"times": TRANSACTIONS})["seconds"]
                peers[name].append(found)
            if app is not None:
                found = idl.run("ovsdbapp", "any", request | {"times": TRANSACTIONS}, python=app)
                peers.setdefault("ovsdbapp", []).append(found)
            progress(f"  client {number + 1}/{rounds}")
    if app is None:
        progress("  ovsdbapp could not be installed: left out")
    note = f"{rows} rows of a northbound database over a unix socket; tables and columns that Isthmus reads"
    for what, unit, factor in (
        ("seconds", "s", 1.0),
        ("rss", "MB", 1e-6),
        ("import", "ms", 1e3),
        ("transact", "ms", 1e3),
    ):
        name = {"seconds": "sync", "rss": "rss", "import": "import", "transact": "transaction"}[what]
        for peer, found in peers.items():
            yield compared(
                f"client-{name}-against-{peer.replace(', ', '-').replace(' ', '-').lower()}", unit,
                [o[what] * factor for o in ours], [f[what] * factor for f in found],
                command=OURS, peer=peer, note=note,
            )  # fmt: skip


def _request(world: Databases) -> dict[str, object]:
    server = world.sites["cloud"]["nb"]
    tables = {t: list(c) for t, c in idl.TABLES["nb"].items()}
    return {"databases": [{"remote": server.remote, "database": server.database, "tables": tables}]}


def _ours(request: dict[str, object]) -> dict[str, float]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "bench.ourclient", str(TRANSACTIONS)]
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    return {k: float(v) for k, v in json.loads(done.stdout).items()}


def _ovsdbapp(folder: Path) -> str | None:
    """An interpreter with ovsdbapp and the pure `ovs` of the package registry; None without a network."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    done = subprocess.run([python, "-m", "pip", "install", "-q", "ovsdbapp"], capture_output=True, check=False)
    return str(python) if done.returncode == 0 else None
