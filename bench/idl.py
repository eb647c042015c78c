"""The peers: the Python IDL of Open vSwitch, with and without its C parser, and ovsdbapp; in processes of their own.

They run on Debian's interpreter (`python3-openvswitch`), for which the C parser is built; `peer.py` is what runs there.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench.servers import Databases
from isthmus.backends.ovsdb.tables import IC_NORTHBOUND, IC_SOUTHBOUND, NORTHBOUND, SOUTHBOUND

PYTHON = "/usr/bin/python3"
PEER = Path(__file__).with_name("peer.py")
TABLES = {"nb": NORTHBOUND, "sb": SOUTHBOUND, "ic-nb": IC_NORTHBOUND, "ic-sb": IC_SOUTHBOUND}


def available() -> bool:
    return subprocess.run([PYTHON, "-c", "import ovs"], capture_output=True, check=False).returncode == 0


def sync(world: Databases, parser: str) -> dict[str, float]:
    """Seconds from connecting until all six databases are listed, and bytes held then. `parser`: c or python."""
    wanted = [
        {"remote": server.remote, "database": server.database, "tables": TABLES[server.kind]}
        for server in world.servers()
    ]
    return run("sync", parser, {"databases": wanted})


def run(mode: str, parser: str, what: object, *, python: str = PYTHON, timeout: float = 300) -> dict[str, float]:
    """One measurement by `peer.py`. Raises RuntimeError."""
    command = [python, str(PEER), mode, parser]
    done = subprocess.run(command, input=json.dumps(what), capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return {k: float(v) for k, v in json.loads(done.stdout).items()}
