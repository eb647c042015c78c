"""Numbers ports of transit switches in a northbound database, as ovn-ic does: `numberer.py SOCKET`."""

from __future__ import annotations

import sys
from typing import Any

from isthmus.lab import rpc

DATABASE = "OVN_Northbound"
KEY = "requested-tnl-key"


def main() -> None:
    path = sys.argv[1]
    with rpc.Rpc(path, 600.0) as listen, rpc.Rpc(path) as write:
        columns = [{"columns": ["name", "options"], "where": [["type", "==", "router"]]}]
        number(write, listen.call("monitor_cond", DATABASE, None, {"Logical_Switch_Port": columns}))
        while True:
            message = listen.receive()
            if message.get("method") == "update2":
                number(write, message["params"][1])


def number(write: rpc.Rpc, updates: dict[str, Any]) -> None:
    """All that have none yet in one transaction."""
    rows = {
        uuid: update.get("insert") or update.get("initial") or {}
        for uuid, update in updates.get("Logical_Switch_Port", {}).items()
    }
    operations = [
        {
            "op": "mutate", "table": "Logical_Switch_Port", "where": [["_uuid", "==", ["uuid", uuid]]],
            "mutations": [["options", "insert", ["map", [[KEY, "1"]]]]],
        }
        for uuid, row in rows.items()
        if row.get("name", "").endswith(".transit-port") and KEY not in rpc.mapping(row["options"])
    ]  # fmt: skip
    if operations:
        write.call("transact", DATABASE, *operations)


if __name__ == "__main__":
    main()
