"""Rows that a real Neutron wrote (29, in the lab): what `verify` makes of them, sound and broken.

Projects `a` and `b` have the same addresses. `a` lets us open her group `default`; `b` does not. In `a` there are a
port without port security, one with an allowed address pair, a virtual one, a disabled one, and a gateway with a
floating IP.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from dumps import HERE, Dump, load
from isthmus.errors import IntentError
from isthmus.verify.admission import Admission, admissions, closed_pairs
from isthmus.verify.columns import secured
from isthmus.verify.compare import Difference, differences
from isthmus.verify.place import Place
from isthmus.verify.reach import World
from isthmus.verify.telling import as_json, sentence
from isthmus.verify.trace import Drawing, draw, trace

Rows = dict[str, dict[str, dict[str, Any]]]
Change = Callable[[Rows], None]


@cache
def dump() -> Dump:
    return load("neutron")


@cache
def told() -> str:
    return lines(*judged(dump().sites))


def judged(sites: Any) -> tuple[tuple[Difference, ...], tuple[Admission, ...]]:
    world = World(sites)
    return differences(world, dump().expectation), admissions(world, dump().expectation, dump().gates)


def lines(report: tuple[Difference, ...], admitted: tuple[Admission, ...]) -> str:
    found = [str(d) for d in report]
    found += [f"{'' if a.difference else 'note: '}{sentence(a, dump().groups)}" for a in admitted]
    return "\n".join(found) + "\n"


def test_what_verify_says_of_sound_rows_is_written_down() -> None:
    golden = Path(HERE / "neutron.txt").read_text(encoding="utf-8")
    assert told() == golden


def test_sound_rows_have_no_differences_and_their_notes_name_what_is_missing() -> None:
    report, admitted = judged(dump().sites)
    assert report == () and not any(a.difference for a in admitted)
    closed = [a for a in admitted if a.gate.interconnect == "tenant-b" and a.kind == "closed"]
    assert {(str(a.place), *sorted(p.name for p in a.peers)) for a in closed} >= {("cloud/b-db", "b-jobs", "b-pods")}
    text = sentence(closed[0], dump().groups)
    assert "missing: ingress IPv4 from remote address group isthmus-default.tenant-b.cloud.peers" in text
    assert "or write securityGroups: [default] in attachment cloud of interconnect tenant-b" in text


def test_a_group_that_lets_in_some_ports_is_told_with_them() -> None:
    _, admitted = judged(dump().sites)
    (found,) = (a for a in admitted if str(a.place) == "cloud/a-web" and a.peers[0].name == "a-jobs")
    assert (found.kind, found.passes, found.missing) == ("partly", ("tcp 80", "tcp 8000-8100"), (4,))
    assert as_json(found, dump().groups)["securityGroups"] == [{"id": found.groups[0], "name": "web"}]
    pairs = {(str(one), str(other)) for one, other in closed_pairs(admitted)}
    assert ("cluster/b-pods", "cloud/b-web") in pairs and ("cloud/b-web", "cluster/b-pods") not in pairs


def test_a_machines_security_group_is_no_difference_of_its_subnet_and_packets_are_excused() -> None:
    world = World(dump().sites)
    closed = closed_pairs(admissions(world, dump().expectation, dump().gates))
    live = {pair: False for pair in closed}
    assert differences(world, dump().expectation, live, closed=closed, forged=False) == ()
    assert len(differences(world, dump().expectation, live, forged=False)) == len(closed)


# -- mutations --------------------------------------------------------------------------------------------------------


def row(rows: Rows, table: str, **having: str) -> dict[str, Any]:
    """The one row whose columns, or external_ids without `neutron:`, are so."""

    def has(one: dict[str, Any], key: str) -> Any:
        return one.get(key, one.get("external_ids", {}).get(f"neutron:{key}"))

    (found,) = (r for r in rows[table].values() if all(has(r, k) == v for k, v in having.items()))
    return found


def put(rows: Rows, table: str, parent: dict[str, Any], column: str, **columns: Any) -> None:
    uuid = f"new-{table}-{len(rows.get(table, {}))}"
    rows.setdefault(table, {})[uuid] = {"_uuid": uuid, "external_ids": {}, **columns}
    parent[column] = parent.get(column, frozenset()) | {uuid}


def lose(rows: Rows, table: str, column: str, uuid: str) -> None:
    for one in rows[table].values():
        one[column] = one.get(column, frozenset()) - {uuid}


def router(rows: Rows, name: str) -> dict[str, Any]:
    return row(rows, "Logical_Router", router_name=name)


def network(rows: Rows, name: str) -> dict[str, Any]:
    return row(rows, "Logical_Switch", network_name=name)


def port(rows: Rows, name: str) -> dict[str, Any]:
    return row(rows, "Logical_Switch_Port", port_name=name)


def group(rows: Rows) -> dict[str, Any]:
    """The Port_Group of a's `default`."""
    gate = next(g for g in dump().gates if g.interconnect == "tenant-a")
    return row(rows, "Port_Group", security_group_id=gate.groups[0])


def peers(rows: Rows) -> dict[str, Any]:
    gate = next(g for g in dump().gates if g.interconnect == "tenant-a")
    return row(rows, "Address_Set", name=f"ag_{gate.peers[1].replace('-', '_')}_ip4")


def raw_route(rows: Rows) -> None:
    put(
        rows,
        "Logical_Router_Static_Route",
        router(rows, "a"),
        "static_routes",
        ip_prefix="10.2.1.0/25",
        nexthop="10.1.1.77",
    )


def route_gone(rows: Rows) -> None:
    uuid = next(
        u
        for u in router(rows, "a")["static_routes"]
        if rows["Logical_Router_Static_Route"][u]["ip_prefix"] == "10.2.1.0/24"
    )
    lose(rows, "Logical_Router", "static_routes", uuid)


def acl_on_the_network(rows: Rows) -> None:
    columns = {"priority": 1100, "direction": "to-lport", "match": "ip4.src == 10.2.1.0/24", "action": "drop"}
    put(rows, "ACL", network(rows, "a-web"), "acls", **columns)


def our_rules_gone(rows: Rows) -> None:
    name = peers(rows)["name"]
    for uuid in {u for u, r in rows["ACL"].items() if f"${name}" in r["match"]}:
        lose(rows, "Port_Group", "acls", uuid)


def set_emptied(rows: Rows) -> None:
    peers(rows)["addresses"] = frozenset()


def set_halved(rows: Rows) -> None:
    peers(rows)["addresses"] = frozenset({"10.2.1.0/25", "10.2.2.0/24"})


def set_widened(rows: Rows) -> None:
    peers(rows)["addresses"] = frozenset({"0.0.0.0/0"})


def our_rule_widened(rows: Rows) -> None:
    name = peers(rows)["name"]
    for one in rows["ACL"].values():
        one["match"] = one["match"].replace(f" && ip4.src == ${name}", "")


def port_out_of_its_group(rows: Rows) -> None:
    lose(rows, "Port_Group", "ports", port(rows, "cloud-a-db-1")["_uuid"])
    drop = row(rows, "Port_Group", name="neutron_pg_drop")
    drop["ports"] |= {port(rows, "cloud-a-db-1")["_uuid"]}


def out_of_the_drop_group(rows: Rows) -> None:
    drop = row(rows, "Port_Group", name="neutron_pg_drop")
    drop["ports"] -= {port(rows, "cloud-b-db-1")["_uuid"]}


def drop_rules_gone(rows: Rows) -> None:
    row(rows, "Port_Group", name="neutron_pg_drop")["acls"] = frozenset()


def a_rule_above_ours(rows: Rows) -> None:
    match = f"outport == @{group(rows)['name']} && ip4"
    put(rows, "ACL", group(rows), "acls", priority=1003, direction="to-lport", match=match, action="drop")


def guard_gone(rows: Rows) -> None:
    """Our policies on Neutron's router."""
    router(rows, "a")["policies"] = frozenset()


def second_router_port(rows: Rows) -> None:
    columns = {"name": "both", "mac": "02:00:00:00:00:31", "networks": frozenset({"10.66.0.1/24"})}
    put(rows, "Logical_Router_Port", router(rows, "a"), "ports", **columns)
    door = {"name": "both-port", "type": "router", "addresses": frozenset({"router"})}
    put(rows, "Logical_Switch_Port", network(rows, "b-web"), "ports", **door, options={"router-port": "both"})


def link_joined(rows: Rows) -> None:
    """b's router gets a port on a's link, and a route by it to a's edge."""
    columns = {"name": "thief", "mac": "02:00:00:00:00:32", "networks": frozenset({"169.254.128.5/29"})}
    put(rows, "Logical_Router_Port", router(rows, "b"), "ports", **columns)
    door = {"name": "thief-port", "type": "router", "addresses": frozenset({"router"})}
    link = network(rows, "isthmus-default.tenant-a.cloud.link")
    put(rows, "Logical_Switch_Port", link, "ports", **door, options={"router-port": "thief"})
    route = {"ip_prefix": "10.2.1.0/25", "nexthop": "169.254.128.1", "output_port": "thief"}
    put(rows, "Logical_Router_Static_Route", router(rows, "b"), "static_routes", **route)


def destination_nat(rows: Rows) -> None:
    columns = {"type": "dnat_and_snat", "external_ip": "10.2.1.20", "logical_ip": "10.1.1.11"}
    put(rows, "NAT", router(rows, "a"), "nat", **columns)


def link_port_disabled(rows: Rows) -> None:
    row(rows, "Logical_Switch_Port", name="isthmus-default.tenant-a.cloud.link-edge-port")["enabled"] = False


def interface_renumbered(rows: Rows) -> None:
    (door,) = (
        p
        for p in rows["Logical_Router_Port"].values()
        if p["networks"] == frozenset({"10.1.2.1/24"}) and p["_uuid"] in router(rows, "a")["ports"]
    )
    door["networks"] = frozenset({"10.77.0.1/24"})


def tell(rows: Rows, mac: str, override: bool = True) -> None:
    """a's router is told whose the link's next hop is."""
    link = next(
        p for p in rows["Logical_Router_Port"].values() if p["name"] == "isthmus-default.tenant-a.cloud.link-edge"
    )
    columns = {"logical_port": port_on_the_link(rows), "ip": "169.254.128.1", "mac": mac or link["mac"]}
    rows["Static_MAC_Binding"] = {"new": {"_uuid": "new", **columns, "override_dynamic_mac": override}}


def port_on_the_link(rows: Rows) -> str:
    """Name of the port that a's router has on the link."""
    (found,) = (
        str(p["name"])
        for p in rows["Logical_Router_Port"].values()
        if p["_uuid"] in router(rows, "a")["ports"] and any(n.startswith("169.254.128.") for n in p["networks"])
    )
    return found


def told_a_wrong_mac(rows: Rows) -> None:
    tell(rows, "0a:00:00:00:00:99")


TABLE: dict[Change, str] = {
    told_a_wrong_mac: "cloud/a-db must reach cluster/a-pods; rows: no; no port of neutron-",
    raw_route: "cloud/a-web must reach cluster/a-pods; rows: partly",
    route_gone: "cloud/a-db must reach cluster/a-pods; rows: no",
    acl_on_the_network: "cluster/a-pods must reach cloud/a-web; rows: partly; ACL of neutron-",
    our_rules_gone: "has no rule that lets in IPv4 from our address group",
    set_emptied: "it lacks 10.2.1.0/24, 10.2.2.0/24",
    set_halved: "it lacks 10.2.1.0/24",
    set_widened: "it also holds 0.0.0.0/0",
    our_rule_widened: "a rule of ours lets in more than the address group",
    port_out_of_its_group: "it lacks ports that Neutron gave the security group",
    out_of_the_drop_group: "cloud/b-db: 1 port of security group default",
    drop_rules_gone: "whatever no rule names passes",
    a_rule_above_ours: "it decides before our rule does",
    guard_gone: "cloud/a-private with a forged source, or by another router, must not reach cluster/a-pods",
    second_router_port: "cloud/b-web with a forged source, or by another router, must not reach cloud/a-web",
    link_joined: "cloud/b-web must not reach cluster/a-pods",
    destination_nat: "cloud/a-web must reach cluster/a-pods; rows: unknown",
    link_port_disabled: "cloud/a-web must reach cluster/a-pods; rows: no",
    interface_renumbered: "cluster/a-pods must reach cloud/a-db",
}


@pytest.mark.parametrize("change", TABLE, ids=lambda c: c.__name__)
def test_the_change_is_found_and_named(change: Change) -> None:
    sites = copy.deepcopy(dump().sites)
    change(sites["cloud"])
    report, admitted = judged(sites)
    said = lines(report, admitted)
    assert report or any(a.difference for a in admitted)
    assert any(TABLE[change] in line and not line.startswith("note:") for line in said.splitlines()), said


@pytest.mark.parametrize(("mac", "override"), [("", True), ("0a:00:00:00:00:99", False), ("none", True)])
def test_a_router_that_is_told_the_right_mac_or_may_ask_finds_the_edge(mac: str, override: bool) -> None:
    sites = copy.deepcopy(dump().sites)
    tell(sites["cloud"], mac, override)
    assert judged(sites)[0] == ()


def test_places_of_the_dump_are_those_of_its_documents() -> None:
    places: dict[Place, Any] = dict(dump().expectation.memberships)
    assert {p.name for p in places} >= {"a-web", "a-db", "a-private", "ext", "b-web", "a-pods", "b-jobs"}


# -- trace ------------------------------------------------------------------------------------------------------------


def project(name: str) -> str:
    return str(port(dump().sites["cloud"], f"cloud-{name}-web-1")["external_ids"]["neutron:project_id"])


def drawn(source: str, target: str, protocol: str = "icmp", number: int = 80) -> list[Drawing]:
    named = {"cloud": {project("a"): "a", project("b"): "b"}}
    return list(trace(World(dump().sites), source, target, protocol, number, named))


def test_a_trace_names_the_project_the_port_and_the_rule_that_lets_the_packet_in() -> None:
    (found, six) = drawn("cluster/cluster-a-pods-1", "cloud/a/front-a", "tcp", 8080)
    assert found.arrives and six.arrives
    text = draw(found)
    assert "Neutron port front-a" in text and "security groups c124b43a" in text and "DHCPv4 of 10.1.1.0/24" in text
    assert re.search(r"tcp\.dst >= 8000 .*\[Neutron security group rule [0-9a-f-]{36}\]", text)
    identity = port(dump().sites["cloud"], "front-a")["name"]
    assert drawn("cluster/cluster-a-pods-1", f"cloud/{project('a')}/{identity}", "tcp", 8080)[0].arrives


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("cluster/cluster-b-pods-1", "cloud/b/cloud-b-web-1", "[Neutron: no security group rule lets it pass]"),
        ("cloud/a/off", "10.2.1.11", "; disabled"),
        ("cloud/a/off", "10.2.1.11", "is disabled   switch port"),
        ("cloud/a/open", "10.2.1.11", "no port security"),
        ("cloud/a/nfv", "10.2.1.11", "allowed address pairs 10.1.2.0/24"),
        ("cloud/a/nfv", "10.2.1.11", "└─x dropped at cloud: policy of neutron-"),
        ("cluster/cluster-a-pods-1", "cloud/a/vip", "virtual, of"),
    ],
)
def test_a_trace_says_what_neutron_keeps_a_port_from(source: str, target: str, said: str) -> None:
    assert said in draw(drawn(source, target)[0])


def test_a_virtual_port_is_reached_where_its_address_is() -> None:
    (found,) = drawn("cluster/cluster-a-pods-1", "cloud/a/vip")
    assert found.arrives and "that is not" not in draw(found)


def test_what_is_not_there_or_means_two_is_said() -> None:
    rows = copy.deepcopy(dump().sites)
    port(rows["cloud"], "open")["external_ids"]["neutron:port_name"] = "nfv"
    for word, code in (("cloud/c/x", "UnknownProject"), ("cloud/a/x", "UnknownPort"), ("cloud/a/nfv", "AmbiguousPort")):
        with pytest.raises(IntentError) as found:
            trace(World(rows), word, "10.2.1.11", projects={"cloud": {project("a"): "a"}})
        assert found.value.problems[0].code == code


def test_a_prefix_in_port_security_stands_for_its_addresses_and_an_address_with_a_length_for_itself() -> None:
    pair, own = secured("02:00:00:00:00:01 10.1.2.0/24"), secured("02:00:00:00:00:01 10.1.2.7/24 fd00::7")
    assert pair and own
    assert pair.lets(4, int(ip_address("10.1.2.200"))) and not pair.lets(4, int(ip_address("10.1.3.1")))
    assert own.lets(4, int(ip_address("10.1.2.7"))) and not own.lets(4, int(ip_address("10.1.2.8")))
    assert own.lets(6, int(ip_address("fd00::7"))) and not own.lets(6, int(ip_address("fd00::8")))
