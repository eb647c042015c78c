"""What the rows ask of a chassis, and what it says of itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from isthmus.agent import desired
from isthmus.agent.desired import Overrides
from isthmus.agent.probe import Verdict
from isthmus.errors import WorldError

SPEC = {
    "addresses": ["169.254.128.3", "fd69:7374::3"],
    "router_macs": {"4": "02:00:00:00:99:02", "6": "02:00:00:00:99:06"},
    "targets": [
        {"subnet": "cluster/pods", "address": "10.2.0.1"},
        {"subnet": "cluster/pods", "address": "fd00:2::1"},
    ],
    "generation": "abc",
}
NAMES = frozenset({"gw1", "gw1.example"})


def binding(name: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "logical_port": name,
        "mac": frozenset(),
        "tag": None,
        "parent_port": None,
        "chassis": None,
        "options": {"requested-chassis": "gw1"},
        "external_ids": {},
    }
    return row | changes


def child(spec: object = None, **changes: Any) -> dict[str, Any]:
    row = binding(
        "p1",
        mac=frozenset({"02:00:00:00:99:03 169.254.128.3 fd69:7374::3"}),
        tag=7,
        parent_port="trunk",
        external_ids={"isthmus:probe": json.dumps(SPEC if spec is None else spec)},
    )
    return row | changes


def test_trunks_and_children_of_this_chassis_are_found() -> None:
    trunk = binding("trunk", external_ids={"isthmus:trunk": "true"})
    ports = desired.read_ports([trunk, child(chassis="uuid"), binding("vm")], NAMES)
    assert ports.trunks == {"trunk"}
    found = ports.children["p1"]
    assert (found.trunk, found.tag, found.bound) == ("trunk", 7, True)
    assert found.mac == bytes.fromhex("020000009903") and found.router_macs == {
        4: bytes.fromhex("020000009902"),
        6: bytes.fromhex("020000009906"),
    }
    assert [str(target) for target in found.probe.targets] == ["cluster/pods 10.2.0.1", "cluster/pods fd00:2::1"]
    assert [str(found.source(target.address)) for target in found.probe.targets] == SPEC["addresses"]
    assert ports.complaints == []


def test_a_port_may_be_requested_by_the_hosts_name() -> None:
    assert desired.read_ports([child(options={"requested-chassis": "gw1.example"})], NAMES).children


def test_ports_of_other_chassis_are_not_ours() -> None:
    rows = [child(options={"requested-chassis": "gw2"}), child(options={})]
    assert desired.read_ports(rows, NAMES) == desired.Ports()


@pytest.mark.parametrize(
    "spec",
    [
        [],
        "text",
        {},
        SPEC | {"addresses": ["169.254.128.3"]},
        SPEC | {"addresses": ["nonsense"]},
        SPEC | {"router_macs": {"4": "02", "6": "02"}},
        SPEC | {"router_macs": {"4": "02:00:00:00:99:02"}},
        SPEC | {"targets": [{"address": "10.2.0.1"}]},
        SPEC | {"targets": 3},
    ],
)
def test_a_port_whose_mark_makes_no_sense_is_complained_about(spec: object) -> None:
    ports = desired.read_ports([child(spec)], NAMES)
    assert ports.children == {}
    [complaint] = ports.complaints
    assert complaint.startswith("p1: isthmus:probe cannot be understood")


def test_a_port_without_an_address_of_its_own_is_complained_about() -> None:
    assert desired.read_ports([child(mac=frozenset())], NAMES).complaints


def test_a_result_is_written_as_the_contract_says() -> None:
    wall = datetime(2026, 11, 23, 19, 0, 10, 500_000, tzinfo=UTC)
    text = desired.result(Verdict("abc", "down", 90.0, ("a/b 10.0.0.1",)), 100.0, wall)
    assert json.loads(text) == {
        "generation": "abc",
        "state": "down",
        "since": "2026-11-23T19:00:00.500Z",
        "lost": ["a/b 10.0.0.1"],
    }


def test_only_what_changed_of_our_own_keys_is_written() -> None:
    row = {
        "external_ids": {
            "foreign": "kept",
            "isthmus:other": "kept",
            "isthmus:agent": "same",
            "isthmus:probe:gone": "x",
            "isthmus:probe:changed": "old",
        }
    }
    wanted = {"isthmus:agent": "same", "isthmus:probe:changed": "new", "isthmus:probe:added": "y"}
    assert desired.changes(row, wanted) == [
        ["external_ids", "delete", ["set", ["isthmus:probe:changed", "isthmus:probe:gone"]]],
        ["external_ids", "insert", ["map", [["isthmus:probe:added", "y"], ["isthmus:probe:changed", "new"]]]],
    ]


def test_nothing_is_written_when_nothing_changed() -> None:
    assert desired.changes({"external_ids": {"isthmus:agent": "same"}}, {"isthmus:agent": "same"}) == []


SWITCH = {
    "external_ids": {
        "system-id": "gw1",
        "hostname": "gw1.example",
        "ovn-remote": "ssl:192.0.2.1:6642,ssl:192.0.2.2:6642",
    }
}
SSL = {"private_key": "/k.pem", "certificate": "/c.pem", "ca_cert": "/ca.pem"}


def test_the_place_is_read_from_the_local_database() -> None:
    place = desired.read_place(SWITCH, [SSL], Overrides())
    assert (place.chassis, place.names, place.bridge) == ("gw1", NAMES, "br-int")
    assert place.southbound.remotes == ("ssl:192.0.2.1:6642", "ssl:192.0.2.2:6642")
    assert place.southbound.tls is not None
    assert place.southbound.tls.key_file == Path("/k.pem")


def test_the_command_line_goes_before_the_local_database() -> None:
    overrides = Overrides("other", "ssl:198.51.100.1:6642", Path("/x"), Path("/y"), Path("/z"), "sb.example")
    place = desired.read_place(SWITCH, [], overrides)
    assert (place.chassis, place.southbound.remotes) == ("other", ("ssl:198.51.100.1:6642",))
    assert place.southbound.tls is not None
    assert (place.southbound.tls.ca_file, place.southbound.tls.server_name) == (Path("/x"), "sb.example")


def test_a_setting_for_one_chassis_goes_before_that_for_all() -> None:
    ids = SWITCH["external_ids"] | {"ovn-bridge-gw1": "br-one", "ovn-remote-gw1": "unix:/sb.sock"}
    place = desired.read_place({"external_ids": ids}, [], Overrides())
    assert (place.bridge, place.southbound.remotes, place.southbound.tls) == ("br-one", ("unix:/sb.sock",), None)


@pytest.mark.parametrize(
    ("ids", "keys", "option"),
    [
        ({}, [SSL], "--chassis"),
        ({"system-id": "gw1"}, [SSL], "--sb"),
        (SWITCH["external_ids"], [], "--ca"),
    ],
)
def test_what_is_missing_is_named_with_the_option_that_gives_it(
    ids: dict[str, str], keys: list[dict[str, str]], option: str
) -> None:
    with pytest.raises(WorldError, match=option):
        desired.read_place({"external_ids": ids}, keys, Overrides())
