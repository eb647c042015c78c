"""What Neutron of a real cloud showed while `tenant-a` was connected (`listing.json`).

What of it is ours, and what a pass would do about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from isthmus.backends.changes import Change, Owner
from isthmus.backends.openstack.diff import diff
from isthmus.backends.openstack.facts import spelled
from isthmus.backends.openstack.listing import Listing
from isthmus.backends.openstack.marks import description, key_of, tags
from isthmus.backends.openstack.owned import Place, owned
from isthmus.model.rows import Parent, Row, Value

WRITTEN = json.loads(Path(__file__).with_name("listing.json").read_text(encoding="utf-8"))
OWNER = Owner("default", "0123456789abcdef")
LINK, PEERS = "tenant-a/cloud/link", "tenant-a/cloud/peers"


def listing(**tables: Any) -> Listing:
    """The cloud's, with some tables replaced."""
    return Listing(
        WRITTEN["project"], frozenset(WRITTEN["extensions"]), {**WRITTEN["tables"], **tables}, WRITTEN["projects"]
    )


def mine(found: Listing) -> Mapping[Place, tuple[Mapping[str, Any], ...]]:
    return owned(found, "default").get("tenant-a", {})


def link_network(found: Listing) -> str:
    return str(mine(found)["network", LINK][0]["id"])


def changes(found: Listing, *desired: Row, in_use: bool = False) -> list[Change]:
    return diff(desired, mine(found), found, OWNER, lambda _: in_use)[0]


def network(key: str, name: str, project: str = "") -> Row:
    return Row("neutron/cloud", "network", key, {"name": name, "project": project}, None, "spec")


def the_link() -> Row:
    return network(LINK, mine(listing())["network", LINK][0]["name"])


def the_group() -> Row:
    (group,) = mine(listing())["address_group", PEERS]
    columns: dict[str, Value] = {
        "name": group["name"],
        "addresses": frozenset(group["addresses"]),
        "project": group["project_id"],
    }
    return Row("neutron/cloud", "address_group", PEERS, columns, None, "spec")


def the_rule() -> Row:
    first = next(r for r in WRITTEN["tables"]["security_group_rule"].values() if r["ethertype"] == "IPv4")
    key = f"tenant-a/cloud/admit/{first['security_group_id']}/4"
    columns: dict[str, Value] = {"ethertype": "IPv4", "remote_address_group": PEERS}
    parent = Parent("security_group", "rules", uuid=first["security_group_id"])
    return Row("neutron/cloud", "security_group_rule", key, columns, parent, "spec")


def test_everything_of_ours_is_found_by_its_marks_and_nothing_else() -> None:
    found = listing()
    subnet = "tenant-a/cloud/subnet/11507a0e2f5e"
    group = next(iter(found.tables["security_group_rule"].values()))["security_group_id"]
    assert set(mine(found)) == {
        ("network", LINK),
        ("subnet", f"{LINK}/4"),
        ("subnet", f"{LINK}/6"),
        ("router_interface", f"{LINK}-vpc"),
        ("network", subnet),
        ("subnet", f"{subnet}/4"),
        ("subnet", f"{subnet}/6"),
        ("router_interface", f"{subnet}/gateway/4"),
        ("router_interface", f"{subnet}/gateway/6"),
        ("extra_route", "tenant-a/cloud/vpc/route/10.2.1.0/24"),
        ("extra_route", "tenant-a/cloud/vpc/route/10.2.2.0/24"),
        ("extra_route", "tenant-a/cloud/vpc/route/169.254.128.8/29"),
        ("extra_route", "tenant-a/cloud/vpc/route/fd00:2:1::/64"),
        ("extra_route", "tenant-a/cloud/vpc/route/fd69:7374:0:1::/64"),
        ("address_group", "tenant-a/cloud/peers"),
        ("security_group_rule", f"tenant-a/cloud/admit/{group}/4"),
        ("security_group_rule", f"tenant-a/cloud/admit/{group}/6"),
    }
    assert set(owned(found, "default")) == {"tenant-a"}
    assert owned(found, "somebody-else") == {}


def test_what_nothing_asks_for_is_removed_but_for_a_subnet_in_use() -> None:
    found = listing()
    assert {(c.op, c.table, c.key) for c in changes(found)} == {("remove", *place) for place in mine(found)}
    kept = {(c.table, c.key) for c in changes(found, in_use=True)}
    assert {place for place in mine(found) if place not in kept} == {p for p in mine(found) if "/subnet/" in p[1]}


def test_somebody_elses_machine_under_an_imitated_mark_keeps_nothing_of_ours() -> None:
    key = "tenant-a/cloud/subnet/11507a0e2f5e"
    networks = deepcopy(WRITTEN["tables"]["network"])
    (own,) = mine(listing())["network", key]
    networks["hers"] = {**own, "id": "hers", "project_id": "f" * 32}
    found = listing(network=networks)
    ours = diff((), mine(found), found, OWNER, lambda network: network == "hers")[0]
    assert {c.uuid for c in ours if (c.table, c.key) == ("network", key)} == {own["id"]}


def tenants_networks() -> Iterator[tuple[str, dict[str, Any]]]:
    for i, one in WRITTEN["tables"]["network"].items():
        if one["project_id"] != WRITTEN["project"] and not one["description"]:
            yield i, one


@pytest.mark.parametrize("words", ["description", "tags"])
def test_a_tenants_network_with_the_mark_of_a_link_is_not_ours(words: str) -> None:
    networks = deepcopy(WRITTEN["tables"]["network"])
    for i, _ in tenants_networks():
        if words == "description":
            networks[i]["description"] = description("default", LINK)
        else:
            networks[i]["tags"] = sorted(tags("default", LINK))
    assert mine(listing(network=networks)) == mine(listing())


def test_a_subnets_mark_in_another_project_is_not_taken_for_the_subnet() -> None:
    """It is nobody's business; a router never gets onto it."""
    key = "tenant-a/cloud/subnet/11507a0e2f5e"
    networks = deepcopy(WRITTEN["tables"]["network"])
    (own,) = mine(listing())["network", key]
    forged, _ = next((i, n) for i, n in tenants_networks() if n["project_id"] != own["project_id"])
    networks[forged] |= {"description": description("default", key), "name": "new"}
    del networks[own["id"]]
    found = changes(listing(network=networks), network(key, "new", own["project_id"]))
    here = [(c.op, c.uuid) for c in found if (c.table, c.key) == ("network", key)]
    assert here == [("add", None)]


@pytest.mark.parametrize("lost", ["description", "tags"])
def test_one_of_the_two_marks_is_enough_and_the_other_is_written_again(lost: str) -> None:
    networks = deepcopy(WRITTEN["tables"]["network"])
    link = link_network(listing())
    networks[link][lost] = "" if lost == "description" else []
    (change,) = [c for c in changes(listing(network=networks), network(LINK, networks[link]["name"])) if c.key == LINK]
    assert (change.op, change.uuid) == ("change", link)
    expected = {"description": description("default", LINK), "tags": tags("default", LINK)}
    assert change.columns == {lost: expected[lost]}


def interface(**other: Value) -> Row:
    (port,) = mine(listing())["router_interface", f"{LINK}-vpc"]
    columns: dict[str, Value] = {
        "router": port["device_id"],
        "fixed_ips": frozenset(f["ip_address"] for f in port["fixed_ips"]),
        "mac_address": port["mac_address"],
        "name": port["name"],
    }
    parent = Parent("network", "ports", key=LINK)
    return Row("neutron/cloud", "router_interface", f"{LINK}-vpc", columns | other, parent, "spec")


def of_interface(found: Listing, row: Row) -> list[tuple[str, dict[str, Value]]]:
    return [(c.op, dict(c.columns)) for c in changes(found, the_link(), row) if c.key == row.key]


def test_a_port_that_no_router_has_is_given_to_its_router_and_one_that_another_has_is_made_anew() -> None:
    found = listing()
    assert of_interface(found, interface()) == []
    assert [op for op, _ in of_interface(found, interface(mac_address="0a:00:00:00:00:01"))] == ["remove", "add"]
    ports = deepcopy(WRITTEN["tables"]["port"])
    (port,) = mine(found)["router_interface", f"{LINK}-vpc"]
    ports[port["id"]] |= {"device_id": "", "device_owner": ""}
    assert of_interface(listing(port=ports), interface()) == [("change", {"router": port["device_id"]})]


def test_a_narrower_rule_with_our_mark_is_replaced() -> None:
    rules = deepcopy(WRITTEN["tables"]["security_group_rule"])
    first = next(r for r in rules.values() if r["ethertype"] == "IPv4")
    row = the_rule()
    assert not [c for c in changes(listing(), the_group(), row) if c.key == row.key]
    first["protocol"] = "tcp"
    found = changes(listing(security_group_rule=rules), the_group(), row)
    assert [c.op for c in found if c.key == row.key] == ["remove", "add"]


def test_without_address_groups_nothing_asks_for_them() -> None:
    old = Listing(WRITTEN["project"], frozenset({"router", "extraroute-atomic"}), WRITTEN["tables"])
    row = Row("neutron/cloud", "address_group", "tenant-a/cloud/peers", {"name": "n"}, None, "spec")
    assert diff([row], {}, old, OWNER, lambda _: False) == ([], {})


def test_the_same_rule_of_the_tenants_own_stands_in_for_ours() -> None:
    """Neutron takes no second one, whatever is written on it."""
    rules = deepcopy(WRITTEN["tables"]["security_group_rule"])
    first = next(r for r in rules.values() if r["ethertype"] == "IPv4")
    first["description"] = "mine"
    row = the_rule()
    assert not [c for c in changes(listing(security_group_rule=rules), the_group(), row) if c.key == row.key]
    first["port_range_min"] = 80
    found = changes(listing(security_group_rule=rules), the_group(), row)
    assert [c.op for c in found if c.key == row.key] == ["add"]


def test_an_imitated_address_group_is_not_named_by_a_rule_and_keeps_nobody_from_being_connected() -> None:
    groups = deepcopy(WRITTEN["tables"]["address_group"])
    (own,) = mine(listing())["address_group", PEERS]
    forged = {**own, "id": "00000000-0000-4000-8000-000000000000", "project_id": "f" * 32, "addresses": ["0.0.0.0/0"]}
    groups[forged["id"]] = forged
    found = listing(address_group=groups)
    ours, known = diff([the_group(), the_rule()], mine(found), found, OWNER, lambda _: False)
    assert known["address_group", PEERS] == own["id"]
    assert forged["id"] not in {c.uuid for c in ours}, "what an attacker keeps in use is not waited for"
    rules = deepcopy(WRITTEN["tables"]["security_group_rule"])
    for rule in rules.values():
        rule["remote_address_group_id"] = forged["id"]
    found = listing(address_group=groups, security_group_rule=rules)
    row = the_rule()
    assert [c.op for c in changes(found, the_group(), row) if c.key == row.key] == ["remove", "add"]


def test_of_two_links_by_one_call_sent_twice_the_one_with_the_routers_port_stays() -> None:
    networks = deepcopy(WRITTEN["tables"]["network"])
    link = link_network(listing())
    for twin in ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"):
        found = listing(network={**networks, twin: {**networks[link], "id": twin}})
        ours, known = diff([the_link()], mine(found), found, OWNER, lambda _: False)
        assert known["network", LINK] == link
        assert [c.uuid for c in ours if (c.op, c.table, c.key) == ("remove", "network", LINK)] == [twin]


def test_routes_over_a_port_that_is_made_anew_go_before_it() -> None:
    found = listing()
    routes = [
        Row("neutron/cloud", "extra_route", key, {c: one[c] for c in ("destination", "nexthop")},
            Parent("router", "routes", uuid=one["router"]), "spec")
        for (table, key), (one,) in mine(found).items() if table == "extra_route"
    ]  # fmt: skip
    assert routes and not [c for c in changes(found, the_link(), interface(), *routes) if c.table == "extra_route"]
    ours = changes(found, the_link(), interface(mac_address="0a:00:00:00:00:01"), *routes)
    assert [c.op for c in ours if c.table == "extra_route"] == ["remove"] * len(routes)


def test_a_second_router_on_a_subnet_that_we_defined_is_left_there() -> None:
    key = "tenant-a/cloud/subnet/11507a0e2f5e"
    ports = deepcopy(WRITTEN["tables"]["port"])
    (port,) = mine(listing())["router_interface", f"{key}/gateway/4"]
    ports["other"] = {**port, "id": "other", "device_id": "second-router"}
    ports["machine"] = {**port, "id": "machine", "device_id": "", "device_owner": ""}
    found = listing(port=ports)
    (defined,) = mine(found)["network", key]
    columns: dict[str, Value] = {
        "router": port["device_id"],
        "fixed_ips": frozenset(f["ip_address"] for f in port["fixed_ips"]),
    }
    row = Row(
        "neutron/cloud", "router_interface", f"{key}/gateway/4", columns, Parent("network", "ports", key=key), "s"
    )
    ours = changes(found, network(key, defined["name"], defined["project_id"]), row)
    assert not [c for c in ours if c.key == row.key]


def test_marks_that_make_no_sense_are_nobodys() -> None:
    networks = deepcopy(WRITTEN["tables"]["network"])
    for (i, _), key in zip(tenants_networks(), ("x/y/subnet", "x", "x//z", "/y/z"), strict=False):
        networks[i]["description"] = description("default", key)
    found = listing(network=networks)
    assert set(owned(found, "default")) <= {"tenant-a", "x"}
    for one in networks.values():
        assert spelled(key_of("default", one), {"name": "any"}) is None or key_of("default", one).count("/") >= 3


@pytest.mark.parametrize(
    ("table", "key"), [("address_group", "tenant-a/cloud/x"), ("network", "tenant-a/cloud/subnet/x")]
)
def test_what_bears_our_mark_in_a_strangers_project_keeps_nobody_waiting(table: str, key: str) -> None:
    """It goes where it can. Where nothing is wanted any more nobody knows whose projects were meant."""
    hers = {
        "id": "hers",
        "name": "x",
        "project_id": "stranger",
        "addresses": [],
        "description": description("default", key),
    }
    there = {**WRITTEN["tables"][table], "hers": hers}
    wanted = changes(listing(**{table: there}), the_link(), the_group(), the_rule())
    assert [c.stray for c in wanted if c.uuid == "hers"] == [True]
    assert not any(c.stray for c in wanted if c.uuid != "hers")
    assert [c.stray for c in changes(listing(**{table: there})) if c.uuid == "hers"] == [False]


def test_words_of_a_rule_are_left_as_they_are() -> None:
    """Neutron has no call that changes them."""
    rules = deepcopy(WRITTEN["tables"]["security_group_rule"])
    for rule in rules.values():
        rule["description"] = rule["description"].replace("Isthmus keeps this", "Keep")
    found = changes(listing(security_group_rule=rules), the_link(), the_group(), the_rule())
    assert not [c for c in found if c.op == "change" and c.table == "security_group_rule"]
