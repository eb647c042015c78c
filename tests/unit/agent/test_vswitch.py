"""Ports on the integration bridge: what is added and removed, whatever is there."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.agent import vswitch
from isthmus.agent.tap import tap_name
from isthmus.backends.ovsdb.client import Client

OURS = {"isthmus:chassis": "gw1", "isthmus:run": "now"}


def host(*ports: tuple[str, str, dict[str, str]], bridges: tuple[str, ...] = ("br-int", "br-ex")) -> Client:
    """A client that is not connected, with rows as if; a port: bridge, name, external_ids of its interface."""
    client = vswitch.open_client("unix:/nowhere", None, None)
    client.rows["Bridge"] = {name: {"name": name, "ports": frozenset()} for name in bridges}
    for bridge, name, ids in ports:
        client.rows["Interface"][f"i-{name}"] = {"name": name, "external_ids": ids}
        client.rows["Port"][f"p-{name}"] = {"name": name, "interfaces": frozenset({f"i-{name}"})}
        row = client.rows["Bridge"][bridge]
        row["ports"] = row["ports"] | {f"p-{name}"}
    return client


def summary(operations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Removed ports' UUIDs and added devices' names."""
    found = []
    for operation in operations:
        if operation["op"] == "insert" and operation["table"] == "Interface":
            found.append(("add", operation["row"]["name"]))
        elif operation["op"] == "mutate" and operation["mutations"][0][1] == "delete":
            found.append(("remove", operation["mutations"][0][2][1][0][1]))
    return found


def plug(client: Client, taps: dict[str, str]) -> list[tuple[str, str]]:
    return summary(vswitch.plug(client, "br-int", taps, "gw1", "now"))


def test_a_missing_port_is_added() -> None:
    assert plug(host(), {"trunk": "tap1"}) == [("add", "tap1")]


def test_a_port_that_is_right_is_left_alone() -> None:
    assert plug(host(("br-int", "tap1", OURS | {"iface-id": "trunk"})), {"trunk": "tap1"}) == []


def test_foreign_ports_are_left_alone() -> None:
    client = host(("br-int", "vm", {"iface-id": "vm"}), ("br-int", "patch", {}), ("br-ex", "eth0", {"x": "y"}))
    assert plug(client, {}) == []


@pytest.mark.parametrize(
    "left",
    [
        ("br-int", "tap0", {"iface-id": "trunk", "isthmus:chassis": "gw1", "isthmus:run": "before"}),
        ("br-int", "tap0", OURS | {"iface-id": "gone"}),
        ("br-ex", "tap1", OURS | {"iface-id": "trunk"}),
        ("br-int", "hand-made", {"iface-id": "trunk"}),
    ],
)
def test_what_is_left_over_or_stands_in_the_way_is_replaced(left: tuple[str, str, dict[str, str]]) -> None:
    assert plug(host(left), {"trunk": "tap1"}) == [("remove", f"p-{left[1]}"), ("add", "tap1")]


def test_ports_of_another_chassis_on_the_same_switch_are_left_alone() -> None:
    theirs = {"iface-id": "their-trunk", "isthmus:chassis": "gw2", "isthmus:run": "theirs"}
    assert plug(host(("br-int", "tap9", theirs)), {}) == []


def test_nothing_is_added_while_the_bridge_is_missing() -> None:
    assert plug(host(bridges=("br-ex",)), {"trunk": "tap1"}) == []


def test_unplugging_removes_one_runs_ports_only() -> None:
    client = host(
        ("br-int", "tap1", OURS | {"iface-id": "a"}),
        ("br-int", "tap2", {"iface-id": "b", "isthmus:chassis": "gw1", "isthmus:run": "next"}),
    )
    assert summary(vswitch.unplug(client, lambda ids: ids.get(vswitch.RUN) == "now")) == [("remove", "p-tap1")]


def test_names_of_devices_fit_the_kernel_and_differ_each_time() -> None:
    names = {tap_name("isthmus-" + "x" * 200, "gw1") for _ in range(20)}
    assert len(names) > 10
    assert all(len(name) <= 15 for name in names)


def test_lock_names_are_identifiers() -> None:
    assert vswitch.lock_name(None) == "isthmus_agent"
    assert vswitch.lock_name("gw-1.example") == "isthmus_agent_gw_1_example"
