"""Our ports on the host's integration bridge, in the local Open vSwitch database.

A port of ours carries two marks in its Interface: the chassis it serves, and the run of the agent that made it, so
that the guard of one run removes nothing of the next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from isthmus.backends.ovsdb.client import Client
from isthmus.model.intent import Endpoint
from isthmus.model.rows import Record, mapping

CHASSIS, RUN = "isthmus:chassis", "isthmus:run"
INTERCONN = "ovn-is-interconn"

TABLES = {
    "Open_vSwitch": ("external_ids", "ssl"),
    "SSL": ("private_key", "certificate", "ca_cert"),
    "Bridge": ("name", "ports", "datapath_type"),
    "Port": ("name", "interfaces"),
    "Interface": ("name", "type", "mac", "mtu_request", "external_ids"),
}


def lock_name(chassis: str | None) -> str:
    """Of the lock that keeps a second agent from serving the same chassis. OVSDB takes identifiers only."""
    return "isthmus_agent" + (re.sub(r"[^A-Za-z0-9]", "_", f"_{chassis}") if chassis else "")


def open_client(remote: str, lock: str | None, wake: Callable[[], None] | None) -> Client:
    return Client(Endpoint((remote,)), "Open_vSwitch", TABLES, lock=lock, wake=wake)


def plug(client: Client, bridge: str, taps: Mapping[str, str], chassis: str, run: str) -> list[dict[str, Any]]:
    """Operations after which `bridge` holds exactly our ports: for each trunk its TAP device. Empty when it does.

    taps  trunk port's name -> name of the device
    Removes what other runs left, and whatever else claims to be one of the trunks. Where the bridge does not exist
    (ovn-controller will make it) nothing is added.
    """
    wanted = {device: trunk for trunk, device in taps.items()}
    home = find_bridge(client, bridge)
    operations: list[dict[str, Any]] = []
    present: set[str] = set()
    for owner, port, interface in _ports(client):
        ids = mapping(interface["external_ids"])
        name = str(interface["name"])
        ours = ids.get(CHASSIS) == chassis
        right = ours and ids.get(RUN) == run and owner == home and ids.get("iface-id") == wanted.get(name)
        if right and name in wanted:
            present.add(name)
        elif ours or ids.get("iface-id") in taps:
            operations.append(_remove(owner, port))
    if home is not None:
        for number, device in enumerate(sorted(wanted.keys() - present)):
            marks = {"iface-id": wanted[device], CHASSIS: chassis, RUN: run}
            operations += add(home, device, marks, number)
    return operations


def mark_gateway(switch: Record) -> list[dict[str, Any]]:
    """Operations after which the chassis offers itself as a gateway between zones (ovn-controller(8)), if any.

    switch  the row of Open_vSwitch
    """
    if mapping(switch["external_ids"]).get(INTERCONN) == "true":
        return []
    anew = ["map", [[INTERCONN, "true"]]]
    mutations = [["external_ids", "delete", ["set", [INTERCONN]]], ["external_ids", "insert", anew]]
    return [{"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": mutations}]


def unplug(client: Client, mine: Callable[[Mapping[str, str]], bool]) -> list[dict[str, Any]]:
    """Operations that remove every port with an interface whose external_ids are `mine`."""
    return [
        _remove(owner, port) for owner, port, interface in _ports(client) if mine(mapping(interface["external_ids"]))
    ]


def find_bridge(client: Client, name: str) -> str | None:
    """Its uuid."""
    return next((uuid for uuid, row in client.rows["Bridge"].items() if row["name"] == name), None)


def _ports(client: Client) -> Iterator[tuple[str, str, Record]]:
    """Bridge, port, and each interface that may concern us."""
    for owner, bridge in client.rows["Bridge"].items():
        for port in bridge["ports"]:
            for uuid in client.rows["Port"].get(port, {}).get("interfaces", ()):
                interface = client.rows["Interface"].get(uuid)
                if interface is not None and interface["external_ids"]:
                    yield owner, port, interface


def _remove(bridge: str, port: str) -> dict[str, Any]:
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["_uuid", "==", ["uuid", bridge]]],
        "mutations": [["ports", "delete", ["set", [["uuid", port]]]]],
    }


def add(
    bridge: str, device: str, marks: Mapping[str, str], number: int, more: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Operations that make a device a port of a bridge; `number` tells several of one transaction apart.

    more  further columns of its Interface
    """
    interface, port = f"interface{number}", f"port{number}"
    ids = ["map", [list(pair) for pair in sorted(marks.items())]]
    return [
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": interface,
            "row": {"name": device, "external_ids": ids, **(more or {})},
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": port,
            "row": {"name": device, "interfaces": ["named-uuid", interface]},
        },
        {
            "op": "mutate",
            "table": "Bridge",
            "where": [["_uuid", "==", ["uuid", bridge]]],
            "mutations": [["ports", "insert", ["set", [["named-uuid", port]]]]],
        },
    ]
