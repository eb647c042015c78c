"""How nodes meet Pods: a link into every VPC, and what goes by it."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from isthmus.compile.estate import Estate, Held, key
from isthmus.errors import Problem
from isthmus.model.networks import (
    DEFAULT_SUBNET,
    DEFAULT_VPC,
    NODES_SUBNET,
    Api,
    Namespace,
    Route,
    Subnet,
    Vpc,
    of_node,
)
from isthmus.model.rows import Row

VPCS: dict[str, Vpc | Problem] = {name: Vpc(name) for name in (DEFAULT_VPC, "red")}
API = Api(
    (ip_address("10.96.0.1"),), 443, ((ip_address("192.0.2.1"), 6443), (ip_address("2001:db8::1"), 6443))
)  # fmt: skip


def subnet(name: str, vpc: str, *gateways: str, **more: bool) -> Subnet:
    return Subnet(name, vpc, tuple(map(ip_interface, gateways)), **more)  # type: ignore[arg-type]


SUBNETS: dict[str, Subnet | Problem] = {
    DEFAULT_SUBNET: subnet(DEFAULT_SUBNET, DEFAULT_VPC, "10.16.0.1/24", nat=True),
    "plain": subnet("plain", DEFAULT_VPC, "10.17.0.1/24", "fd00:17::1/64"),
    NODES_SUBNET: subnet(NODES_SUBNET, DEFAULT_VPC, "100.64.0.1/16"),
    "web": subnet("web", "red", "10.1.0.1/24"),
}


def estate(**changed: Subnet | Problem) -> Estate:
    made = Estate("site", "networks.site")
    made.set_namespaces({"red": Namespace("red", {})})
    made.set_networks(VPCS, SUBNETS | changed)
    made.set_api(API)
    return made


def of_table(made: Estate, group: str, table: str) -> list[Row]:
    return [row for row in made.rows(group) if row.table == table]


def test_every_vpc_has_the_same_link_to_its_nodes() -> None:
    made = estate()
    for vpc in (DEFAULT_VPC, "red"):
        (port,) = (r for r in of_table(made, f"vpc.{vpc}", "Logical_Switch_Port") if r.columns["type"] == "localport")
        (words,) = port.columns["addresses"]  # type: ignore[union-attr, misc]
        assert str(words).split()[1:] == ["169.254.1.2", "fd69:7376::2"]
        assert port.columns["external_ids"]["isthmus:api"] == "192.0.2.1 6443,2001:db8::1 6443"  # type: ignore[index, call-overload]


def test_who_is_in_the_default_vpc_leaves_it_through_the_node_unless_routed_elsewhere() -> None:
    made = estate()
    routes = {r.columns["ip_prefix"]: r.columns["nexthop"] for r in of_table(made, f"vpc.{DEFAULT_VPC}", ROUTE)}
    assert routes == {"0.0.0.0/0": "169.254.1.2", "10.96.0.1/32": "169.254.1.2", "::/0": "fd69:7376::2"}
    own = Route(ip_network("0.0.0.0/0"), ip_address("10.16.0.254"), "dst")
    made.set_networks(VPCS | {DEFAULT_VPC: Vpc(DEFAULT_VPC, routes=(own,))}, SUBNETS)
    routes = {r.columns["ip_prefix"]: r.columns["nexthop"] for r in of_table(made, f"vpc.{DEFAULT_VPC}", ROUTE)}
    assert routes == {"0.0.0.0/0": "10.16.0.254", "10.96.0.1/32": "169.254.1.2", "::/0": "fd69:7376::2"}


ROUTE = "Logical_Router_Static_Route"


def test_the_api_servers_service_is_by_the_node_in_every_vpc() -> None:
    made = estate()
    for vpc in ("red", DEFAULT_VPC):
        routes = {r.columns["ip_prefix"]: r.columns["nexthop"] for r in of_table(made, f"vpc.{vpc}", ROUTE)}
        assert routes["10.96.0.1/32"] == "169.254.1.2"


def test_no_service_without_an_api_server_of_its_family() -> None:
    made = estate()
    touched = made.set_api(Api((ip_address("10.96.0.1"),), 443, ((ip_address("2001:db8::1"), 6443),)))
    assert touched == {"vpc.red", f"vpc.{DEFAULT_VPC}"}
    assert not of_table(made, "vpc.red", ROUTE)
    assert made.set_api(Api((ip_address("10.96.0.1"),), 443, ((ip_address("2001:db8::1"), 6443),))) == set()


def test_a_node_has_a_port_that_says_what_is_behind_it() -> None:
    made = estate()
    node = of_node("n1", "u1")
    made.set_pod(key(node), node)
    (row,) = made.rows("pod..n1")
    ids = row.columns["external_ids"]
    assert row.columns["name"] == "node-n1"
    assert ids["isthmus:routes"] == "10.16.0.0/24 10.17.0.0/24 fd00:17::/64"  # type: ignore[index, call-overload]
    assert ids["isthmus:nat"] == "10.16.0.0/24"  # type: ignore[index, call-overload]
    assert not row.columns["port_security"]


def test_a_subnet_more_in_the_default_vpc_is_told_to_every_node() -> None:
    made = estate()
    node = of_node("n1", "u1")
    made.set_pod(key(node), node)
    touched = made.set_networks(VPCS, SUBNETS | {"more": subnet("more", DEFAULT_VPC, "10.18.0.1/24")})
    assert touched == {"subnet.more", "pod..n1"}
    assert made.set_networks(VPCS, SUBNETS | {"more": subnet("more", "red", "10.18.0.1/24")}) == {
        "subnet.more",
        "pod..n1",
    }


def test_a_node_keeps_its_address_and_leaves_it_when_it_goes() -> None:
    made, node = Estate("site", "networks.site"), of_node("n1", "u1")
    standing = subnet(NODES_SUBNET, DEFAULT_VPC, "100.64.0.1/16")
    made.stand([DEFAULT_VPC], [standing], [Held(node, NODES_SUBNET, (ip_address("100.64.0.9"),), "0a:00:00:00:00:09")])
    made.set_networks(VPCS, SUBNETS)
    made.set_pod(key(node), node)
    assert made.rows("pod..n1")[0].columns["addresses"] == frozenset({"0a:00:00:00:00:09 100.64.0.9"})
    made.set_pod(key(node), None)
    assert made.rows("pod..n1") == []


def test_no_subnet_may_be_where_the_link_is_and_the_nodes_subnet_is_the_default_vpcs() -> None:
    made = estate(web=subnet("web", "red", "169.254.0.1/16"), join=subnet("join", "red", "100.64.0.1/16"))
    assert made.wrong["subnet.web"].code == "Overlap"
    assert made.wrong["subnet.join"].code == "BadSubnet"
    node = of_node("n1", "u1")
    made.set_pod(key(node), node)
    assert made.problems["/n1"].code == "NoSubnet"
