"""Gives every gateway port of a southbound database one chassis, as ovn-controller does: `binder.py SOCKET CHASSIS`."""

from __future__ import annotations

import sys
from typing import Any

from isthmus.lab import rpc

DATABASE = "OVN_Southbound"


def main() -> None:
    path, chassis = sys.argv[1:3]
    with rpc.Rpc(path, 600.0) as listen, rpc.Rpc(path) as write:
        found = write.call(
            "transact", DATABASE, {"op": "select", "table": "Chassis", "where": [["name", "==", chassis]]}
        )
        uuid = found[0]["rows"][0]["_uuid"]
        columns = [{"columns": ["type", "chassis"], "where": [["type", "==", "chassisredirect"]]}]
        rows = listen.call("monitor_cond", DATABASE, None, {"Port_Binding": columns})
        bind(write, rows, uuid)
        while True:
            message = listen.receive()
            if message.get("method") == "update2":
                bind(write, message["params"][1], uuid)


def bind(write: rpc.Rpc, updates: dict[str, Any], chassis: Any) -> None:
    """All that are new in one transaction."""
    new = [u for u, r in updates.get("Port_Binding", {}).items() if "insert" in r or "initial" in r]
    row = {"chassis": chassis, "up": True}
    operations = [
        {"op": "update", "table": "Port_Binding", "where": [["_uuid", "==", ["uuid", u]]], "row": row} for u in new
    ]
    if operations:
        write.call("transact", DATABASE, *operations)


if __name__ == "__main__":
    main()
