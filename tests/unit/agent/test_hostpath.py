"""What a node makes of the ports that the southbound database has for it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from isthmus.agent.hostpath import NODE_DEVICE, OUT_DEVICE, HostPath, host_path, tenant_device
from isthmus.agent.netlink import Way
from isthmus.model.networks import DEFAULT_VPC

Row = dict[str, Any]


def pod(name: str, vpc: str, *addresses: str, node: str = "n1") -> Row:
    ids = {"isthmus:pod-uid": name, "isthmus:in-vpc": vpc, "isthmus:gateways": "10.1.0.1/24", "isthmus:mtu": "0"}
    return row(name, " ".join(["0a:00:00:00:00:01", *addresses]), ids, options={"requested-chassis": node})


def link(vpc: str, api: str = "192.0.2.1 6443") -> Row:
    gateways, service = "169.254.1.1/30 fd69:7376::1/126", "10.96.0.1 443,fd00:96::1 443"
    ids = {"isthmus:vpc": vpc, "isthmus:gateways": gateways, "isthmus:api": api, "isthmus:service": service}
    return row(f"isthmus-nodes.{vpc}.node", "0a:00:00:00:00:02 169.254.1.2 fd69:7376::2", ids, type="localport")


def node(routes: str = "10.16.0.0/16 fd00:16::/64", nat: str = "10.16.0.0/16") -> Row:
    ids = {"isthmus:pod-uid": "n1", "isthmus:in-vpc": DEFAULT_VPC, "isthmus:gateways": "100.64.0.1/16"}
    ids |= {"isthmus:routes": routes, "isthmus:nat": nat, "isthmus:mtu": "1300"}
    return row("node-n1", "0a:00:00:00:00:03 100.64.0.2", ids, options={"requested-chassis": "n1"})


def row(port: str, mac: str, ids: dict[str, str], **more: Any) -> Row:
    return {
        "logical_port": port,
        "type": "",
        "mac": frozenset({mac}),
        "options": {},
        "external_ids": ids,
        **more,
    }


def path(*rows: Row) -> HostPath:
    return host_path(rows, frozenset({"n1"}))


def nowhere(address: str) -> Way:
    return Way(ip_network(address))


def through(vpc: str, address: str) -> Way:
    six = ":" in address
    via, own = ("fd69:7376::1", "fd69:7376::2") if six else ("169.254.1.1", "169.254.1.2")
    return Way(ip_network(address), tenant_device(vpc), ip_address(via), ip_address(own))


def test_a_door_into_each_vpc_that_a_pod_of_the_node_is_in() -> None:
    found = path(link("red"), link("blue"), link(DEFAULT_VPC), node(), pod("a", "red", "10.1.0.2"))
    assert {d.device for d in found.doors} == {tenant_device("red"), OUT_DEVICE, NODE_DEVICE}
    (own,) = (d for d in found.doors if d.device == NODE_DEVICE)
    assert (own.port, own.mtu, str(own.addresses[0])) == ("node-n1", 1300, "100.64.0.2")


def test_pods_of_other_nodes_make_nothing() -> None:
    assert path(link("red"), pod("a", "red", "10.1.0.2", node="n2")) == HostPath()


def test_every_pod_is_reached_by_its_own_vpcs_door() -> None:
    found = path(link("red"), link("blue"), pod("a", "red", "10.1.0.2", "fd00:1::2"), pod("b", "blue", "10.1.0.3"))
    assert found.routes == {through("red", "10.1.0.2"), through("red", "fd00:1::2"), through("blue", "10.1.0.3")}


def test_an_address_of_two_vpcs_is_reached_by_nobody() -> None:
    found = path(link("red"), link("blue"), pod("a", "red", "10.1.0.2"), pod("b", "blue", "10.1.0.2"))
    assert found.routes == {nowhere("10.1.0.2")}


def test_nor_one_that_a_pod_of_the_default_vpc_may_have_elsewhere() -> None:
    found = path(link("red"), link(DEFAULT_VPC), node(), pod("a", "red", "10.16.0.9"))
    assert nowhere("10.16.0.9") in found.routes


def test_the_default_vpc_is_reached_as_a_whole_where_the_node_has_an_address_of_the_family() -> None:
    found = path(link(DEFAULT_VPC), node(), pod("a", DEFAULT_VPC, "10.16.0.2"))
    via, own = ip_address("100.64.0.1"), ip_address("100.64.0.2")
    networks = ("10.16.0.0/16", "100.64.0.0/16")
    assert found.routes == {Way(ip_network(n), NODE_DEVICE, via, own) for n in networks}


def test_who_leaves_with_the_nodes_address() -> None:
    rules = path(link(DEFAULT_VPC), node()).rules
    inside = "{ 10.16.0.0/16, 100.64.0.0/16 }"
    assert f"ip saddr {{ 10.16.0.0/16 }} ip daddr != {inside} masquerade" in rules
    assert "ip6 saddr" not in rules
    assert "saddr" not in path(link(DEFAULT_VPC), node(nat="")).rules


def test_requests_to_api_servers_are_spread_over_those_of_their_family() -> None:
    found = path(link(DEFAULT_VPC, "192.0.2.1 6443,192.0.2.2 6444,2001:db8::1 6443"), node())
    choice = "numgen random mod 2 map { 0 : 192.0.2.1 . 6443, 1 : 192.0.2.2 . 6444 }"
    assert f"ip daddr 10.96.0.1 tcp dport 443 ct mark set 0x6973 dnat ip addr . port to {choice}" in found.rules
    assert "numgen random mod 1 map { 0 : 2001:db8::1 . 6443 }" in found.rules
    assert found.forward == {4, 6}
    assert "dnat" not in path(link(DEFAULT_VPC, ""), node()).rules
