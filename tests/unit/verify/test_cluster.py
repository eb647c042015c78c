"""Rows of a real cluster (Kubernetes 1.34, in the lab) that is joined to machines elsewhere: sound, and broken.

Tenants `a` and `b` have the same addresses, two Subnets each, and static routes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from dumps import Dump, load
from isthmus.model.intent import Configuration
from isthmus.verify.cluster import Resident
from isthmus.verify.compare import Difference, differences
from isthmus.verify.expect import expect
from isthmus.verify.fault import Fault
from isthmus.verify.faults import faults
from isthmus.verify.reach import World

Rows = dict[str, dict[str, dict[str, Any]]]
SITE = "cloud"


@cache
def dump() -> Dump:
    return load("cluster")


def judged(sites: Any) -> tuple[Difference | Fault, ...]:
    world = World(sites)
    return differences(world, dump().expectation) + faults(world, dump().networks[0])


def test_sound_rows_have_no_differences() -> None:
    assert judged(dump().sites) == ()
    (networks,) = dump().networks
    assert {h.place.name for h in networks.homes} == {"a-web", "a-quiet", "b-web", "b-quiet", "ovn-default", "join"}
    assert len(networks.residents) == 6
    assert {vpc: len(routes) for vpc, routes in networks.routes.items()} == {"a": 3, "b": 3, "ovn-cluster": 3}
    assert networks.way.nodes.keys() == {"cloud-1", "cloud-2"}


def test_subnets_of_one_vpc_owe_each_other_everything_whoever_lists_them() -> None:
    pairs = {(p.source.name, p.target.name): p for p in dump().expectation.pairs()}
    assert pairs["a-web", "a-quiet"].wanted and not pairs["a-web", "a-quiet"].native
    assert not pairs["a-web", "b-web"].wanted and not pairs["a-web", "b-web"].native
    assert pairs["a-web", "a-pods"].wanted and not pairs["a-quiet", "a-pods"].wanted


def test_a_cluster_without_interconnects_is_judged_too() -> None:
    expected = expect(Configuration(), {}, {}, dump().networks)
    assert expected.at({"elsewhere"}).places == ()
    assert {p.site for p in expected.places} == {SITE}
    assert differences(World(dump().sites), expected) == ()


def resident(tenant: str = "a", subnet: str = "a-web") -> Resident:
    """The first Pod of a Subnet."""
    rows = dump().sites[SITE]
    (switch,) = (r for r in rows["Logical_Switch"].values() if r["name"] == subnet)
    inside = {rows["Logical_Switch_Port"][u]["name"] for u in switch["ports"]}
    return next(r for r in dump().networks[0].residents if r.name.startswith(f"{tenant}/") and r.port in inside)


def named(rows: Rows, table: str, name: str) -> tuple[str, dict[str, Any]]:
    return next((u, r) for u, r in rows[table].items() if r["name"] == name)


def of_pod(**columns: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        named(rows, "Logical_Switch_Port", resident().port)[1].update(columns)

    return change


def moved(rows: Rows) -> None:
    uuid, _ = named(rows, "Logical_Switch_Port", resident().port)
    for name, there in (("a-web", False), ("b-web", True)):
        switch = named(rows, "Logical_Switch", name)[1]
        switch["ports"] = switch["ports"] | {uuid} if there else switch["ports"] - {uuid}


def route_gone(rows: Rows) -> None:
    table = "Logical_Router_Static_Route"
    uuid = next(u for u in named(rows, "Logical_Router", "a")[1]["static_routes"]
                if rows[table][u]["ip_prefix"] == "192.0.2.0/24")  # fmt: skip
    del rows[table][uuid]


def far_route_gone(rows: Rows) -> None:
    table = "Logical_Router_Static_Route"
    for uuid in [u for u, r in rows[table].items() if r["ip_prefix"] == "10.2.1.0/24"]:
        del rows[table][uuid]


def gateway_lost(rows: Rows) -> None:
    port = named(rows, "Logical_Router_Port", "a/a-web")[1]
    port["networks"] = frozenset({"10.1.1.254/24", "fd00:1:1::1/64"})


def door_shut(rows: Rows) -> None:
    named(rows, "Logical_Switch_Port", "isthmus-nodes.a.node")[1]["enabled"] = False


def node_moved(rows: Rows) -> None:
    named(rows, "Logical_Switch_Port", "node-cloud-1")[1]["options"] = {"requested-chassis": "cloud-2"}


def service_gone(rows: Rows) -> None:
    table = "Logical_Router_Static_Route"
    uuid = next(u for u in named(rows, "Logical_Router", "a")[1]["static_routes"]
                if rows[table][u]["ip_prefix"] == "10.96.0.1/32")  # fmt: skip
    del rows[table][uuid]


CHANGES: dict[str, tuple[Callable[[Rows], None], str]] = {
    "no port security": (of_pod(port_security=frozenset()), "pod"),
    "a disabled port": (of_pod(enabled=False), "pod"),
    "whoever claims the port": (of_pod(options={}), "pod"),
    "a Pod on another tenant's switch": (moved, "pod"),
    "a static route gone": (route_gone, "route"),
    "another gateway": (gateway_lost, "subnet"),
    "the nodes' door disabled": (door_shut, "door"),
    "a node's port for another node": (node_moved, "node"),
    "no way to the API server's Service": (service_gone, "route"),
    "an Interconnect's routes gone": (far_route_gone, "pair"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_is_found_and_said(name: str) -> None:
    change, kind = CHANGES[name]
    sites = copy.deepcopy(dump().sites)
    change(sites[SITE])
    found = judged(sites)
    assert kind in {each.kind for each in found}, [str(each) for each in found]
    for each in found:
        assert each.as_json()["reason"] in str(each)


def test_a_pod_that_comes_or_goes_is_not_a_stranger() -> None:
    (networks,) = dump().networks
    world = World(dump().sites)
    fewer = replace(networks, residents=networks.residents[1:])
    assert faults(world, fewer) == ()
    (found,) = faults(world, replace(fewer, moving=frozenset()))
    assert (found.kind, found.reason) == ("stranger", "whom it was for is not there")
