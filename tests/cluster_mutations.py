"""Ways to open or to close something in a cluster's own networks, and ways to change rows that do neither.

For the small cluster of `clusters`, as operations on rows (see `mutations`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mutations import LRP, LSP, POLICY, ROUTE, ROUTER, SWITCH, Delete, Insert, Operation, Update

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]
POD, PEER, OTHER = "web-n1.red", "web-n2.red", "web-n1.blue"
DOOR, PLUG = {"name": "red/red-web"}, {"name": "red-web/red"}
RED, BLUE, WEB = {"name": "red"}, {"name": "blue"}, {"name": "red-web"}
NOBODY = "02:00:00:00:00:99"


@dataclass(frozen=True)
class Wrong:
    """What happens to rows of the cluster, and what must be found.

    kind   of a fault; or `pair`, `forged` of a pair of Subnets
    names  of the object, or of source and target
    table  of the row that is named, "" where any will do
    opens  somebody gets what she must not, or may send it
    """

    name: str
    operations: tuple[Operation, ...]
    kind: str
    names: tuple[str, ...]
    table: str = ""
    opens: bool = False


def wrong(rows: Rows) -> list[Wrong]:
    mac, own = _own(rows, POD)
    return [
        *_ports(mac, own),
        *_moved(),
        *_strangers(mac, own),
        *_subnets(),
        *_routes(),
        *_rules(),
        *_leaks(),
        *_nodes(),
    ]


def _own(rows: Rows, port: str) -> tuple[str, str]:
    """A Pod's MAC and its first address."""
    (row,) = (r for r in rows[LSP].values() if r["name"] == port)
    words = next(iter(row["addresses"])).split()
    return words[0], words[1]


def _ports(mac: str, own: str) -> Iterator[Wrong]:
    def pod(name: str, columns: Mapping[str, Any], opens: bool = False) -> Wrong:
        return Wrong(name, (Update(LSP, {"name": POD}, columns),), "pod", ("red/web-n1",), LSP, opens)

    def security(*words: str) -> dict[str, Any]:
        return {"port_security": frozenset(words)}

    def addresses(*words: str) -> dict[str, Any]:
        return {"addresses": frozenset(words)}

    whole = f"{mac} {own} fd00:1::2"
    yield Wrong("a Pod's port deleted", (Delete(LSP, {"name": POD}),), "pod", ("red/web-n1",))
    yield pod("a Pod's port disabled", {"enabled": False})
    yield pod("a Pod's port of another type", {"type": "localport"}, True)
    yield pod("a Pod's port inside of another", {"parent_name": PEER})
    yield pod("a Pod's port for another node", {"options": {"requested-chassis": "n2"}}, True)
    yield pod("a Pod's port for whoever claims it", {"options": {}}, True)
    yield pod("port security taken away", security(), True)
    yield pod("port security by the MAC alone", security(mac), True)
    yield pod("port security with a network", security(whole, f"{mac} 10.1.0.0/24"), True)
    yield pod("port security with a neighbour's address", security(whole, f"{mac} 10.1.0.77"), True)
    yield pod("port security with another MAC", security(whole, f"{NOBODY} {own}"), True)
    yield pod("port security of another MAC", security(f"{NOBODY} {own}"), True)
    yield pod("port security without IPv6", security(f"{mac} {own}"))
    yield pod("a Pod's port with unknown addresses", addresses(whole, "unknown"), True)
    yield pod("a Pod's port with one address more", addresses(f"{whole} 10.1.0.77"), True)
    yield pod("a Pod's port with another address", addresses(f"{mac} 10.1.0.78 fd00:1::2"))
    yield pod("a Pod's port without IPv6", addresses(f"{mac} {own}"))
    yield pod("a Pod's port with another MAC", addresses(f"{NOBODY} {own} fd00:1::2"))
    yield pod("a Pod's port with a MAC more", addresses(whole, NOBODY), True)
    yield pod("a Pod's port without addresses", addresses())


def _moved() -> Iterator[Wrong]:
    """The same port on another switch."""
    port = {"name": POD, "type": "", "addresses": frozenset({f"{NOBODY} 10.1.0.2"})}
    for switch, opens in (("blue-web", True), ("nobodys", False)):
        moved = (Delete(LSP, {"name": POD}), Insert(LSP, port, {"name": switch}))
        yield Wrong(f"a Pod's port moved to {switch}", moved, "pod", ("red/web-n1",), LSP, opens)


def _strangers(mac: str, own: str) -> Iterator[Wrong]:
    def stranger(name: str, columns: Mapping[str, Any], switch: str = "red-web") -> Wrong:
        insert = Insert(LSP, {"name": "stray", "type": "", **columns}, {"name": switch})
        return Wrong(name, (insert,), "stranger", ("stray",), LSP, True)

    yield stranger("somebody on a Subnet's switch", {"addresses": frozenset({f"{NOBODY} 10.1.0.99"})})
    yield stranger("somebody with unknown addresses", {"addresses": frozenset({"unknown"})})
    yield stranger("a way out of OVN", {"type": "localnet", "addresses": frozenset({"unknown"})})
    twin = {"addresses": frozenset({f"{NOBODY} {own}"})}
    yield stranger("somebody with a Pod's address", twin)
    insert = Insert(LSP, {"name": "stray", "type": "", **twin}, WEB)
    yield Wrong("and so the Pod", (insert,), "pod", ("red/web-n1",), LSP)
    yield stranger("somebody with a Pod's MAC", {"addresses": frozenset({mac})})
    marks = {"isthmus:owner": "networks.cluster", "isthmus:key": "pod.red.gone/port", "isthmus:path": "Pod/red/gone"}
    left = {"addresses": frozenset({f"{NOBODY} 10.1.0.98"}), "external_ids": marks}
    yield stranger("the port of a Pod that has gone", left)


def _subnets() -> Iterator[Wrong]:
    def subnet(name: str, *operations: Operation, table: str = LRP, opens: bool = False) -> Wrong:
        return Wrong(name, operations, "subnet", ("red-web",), table, opens)

    def networks(*words: str) -> Operation:
        return Update(LRP, DOOR, {"networks": frozenset(words)})

    yield subnet("a Vpc's router deleted", Delete(ROUTER, RED))
    yield subnet("a Vpc's router disabled", Update(ROUTER, RED, {"enabled": False}))
    yield subnet("a router's port deleted", Delete(LRP, DOOR))
    yield subnet("a router's port disabled", Update(LRP, DOOR, {"enabled": False}))
    yield subnet("a router's port with another gateway", networks("10.1.0.254/24", "fd00:1::1/64"))
    yield subnet("a router's port with a shorter prefix", networks("10.1.0.1/16", "fd00:1::1/64"))
    yield subnet("a router's port without IPv6", networks("10.1.0.1/24"))
    yield subnet("a router's port with a network more", networks("10.1.0.1/24", "fd00:1::1/64", "10.8.0.1/24"))
    yield subnet("a router's port bound to another", Update(LRP, DOOR, {"peer": "blue/blue-web"}))
    moved = {"name": "red/red-web", "mac": NOBODY, "networks": frozenset({"10.1.0.1/24", "fd00:1::1/64"})}
    yield subnet("a router's port on another router", Delete(LRP, DOOR), Insert(LRP, moved, BLUE), opens=True)
    yield subnet("a switch's way to its router deleted", Delete(LSP, PLUG))
    yield subnet("a switch's way to its router disabled", Update(LSP, PLUG, {"enabled": False}), table=LSP)
    yield subnet("a switch's way to its router of another type", Update(LSP, PLUG, {"type": "localnet", "options": {}}))
    lost = {"options": {"router-port": "nowhere"}}
    yield subnet("a switch's way to its router leads nowhere", Update(LSP, PLUG, lost))
    joined = {"type": "router", "addresses": frozenset({"router"}), "options": {"router-port": "red/red-web"}}
    twice = Insert(LSP, {"name": "joined", **joined}, {"name": "blue-web"})
    yield subnet("two switches at one router port", twice, table=LSP, opens=True)
    yield subnet("a router port moved to another's switch", Delete(LSP, PLUG), twice, table=LSP, opens=True)
    yield subnet("a Subnet's switch deleted", Delete(SWITCH, WEB))


def _routes() -> Iterator[Wrong]:
    def route(name: str, *operations: Operation, table: str = "", opens: bool = False) -> Wrong:
        return Wrong(name, operations, "route", ("red",), table, opens)

    def add(prefix: str, nexthop: str, **more: Any) -> Insert:
        return Insert(ROUTE, {"ip_prefix": prefix, "nexthop": nexthop, **more}, RED)

    dst, src = {"ip_prefix": "192.0.2.0/24"}, {"policy": "src-ip"}
    six = {"ip_prefix": "2001:db8:5::/48"}
    yield route("a static route deleted", Delete(ROUTE, dst))
    yield route("a static route of IPv6 deleted", Delete(ROUTE, six))
    yield route("a longer static route deleted", Delete(ROUTE, {"ip_prefix": "192.0.2.128/25"}))
    yield route("a static route by the source deleted", Delete(ROUTE, src))
    yield route("a static route to another next hop", Update(ROUTE, dst, {"nexthop": "10.1.0.99"}), table=ROUTE)
    yield route("a static route by the source to another one", Update(ROUTE, src, {"nexthop": "10.1.0.99"}))
    yield route("a static route to another router's network", Update(ROUTE, dst, {"nexthop": "10.9.0.9"}))
    yield route("a static route cut to half", Update(ROUTE, dst, {"ip_prefix": "192.0.2.0/26"}))
    yield route("a static route made wider", Update(ROUTE, dst, {"ip_prefix": "192.0.0.0/16"}), opens=True)
    yield route("a static route by the other end", Update(ROUTE, dst, {"policy": "src-ip"}))
    yield route("a static route by the other end, once more", Update(ROUTE, src, {"policy": "dst-ip"}))
    yield route("a static route in a table", Update(ROUTE, dst, {"route_table": "t9"}))
    yield route("a static route that discards", Update(ROUTE, dst, {"nexthop": "discard"}))
    yield route("a static route out of another port", Update(ROUTE, dst, {"output_port": "red/red-db"}))
    yield route("a static route shared with somebody", add("192.0.2.0/24", "10.2.0.99"), opens=True)
    yield route("somebody's default route", add("0.0.0.0/0", "10.1.0.3"), table=ROUTE, opens=True)
    yield route("somebody's longer route", add("192.0.2.7/32", "discard"), table=ROUTE)
    marks = {"isthmus:owner": "networks.cluster", "isthmus:key": "vpc.red/route/x", "isthmus:path": PATH}
    yield route("a route that the Vpc says no more", add("198.51.100.0/24", "10.1.0.3", external_ids=marks), opens=True)
    drop = {"priority": 1000, "match": "ip4.dst == 192.0.2.0/24", "action": "drop"}
    yield route("a policy in the way of a route", Insert(POLICY, drop, RED), table=POLICY)


PATH = "Vpc/red/spec.staticRoutes"


def _rules() -> Iterator[Wrong]:
    """What closes ways inside of a Vpc."""
    web_to_db = ("red-web", "red-db")

    def policy(match: str, action: str = "drop", **more: Any) -> Insert:
        return Insert(POLICY, {"priority": 1000, "match": match, "action": action, **more}, RED)

    def acl(match: str, direction: str = "from-lport") -> Insert:
        return Insert("ACL", {"priority": 1000, "direction": direction, "match": match, "action": "drop"}, WEB)

    yield Wrong("a policy drops", (policy("ip4.dst == 10.2.0.0/24"),), "pair", web_to_db, POLICY)
    yield Wrong("a policy drops a half", (policy("ip4.dst == 10.2.0.128/25"),), "pair", web_to_db, POLICY)
    yield Wrong("a policy drops TCP to a port", (policy("tcp.dst == 443"),), "pair", web_to_db, POLICY)
    hops = {"nexthops": frozenset({"10.1.0.99"})}
    yield Wrong("a policy reroutes", (policy("ip4.dst == 10.2.0.0/24", "reroute", **hops),), "pair", web_to_db)
    yield Wrong("a policy that nobody can read", (policy("ct.new && ip4"),), "pair", web_to_db, POLICY)
    longer = Insert(ROUTE, {"ip_prefix": "10.2.0.0/25", "nexthop": "discard"}, RED)
    yield Wrong("a route into a Subnet", (longer,), "pair", web_to_db, ROUTE)
    yield Wrong("an ACL drops", (acl("ip4"),), "pair", web_to_db, "ACL")
    yield Wrong("an ACL drops what comes to one Pod", (acl(f'outport == "{PEER}" && ip4', "to-lport"),), "pod",
                ("red/web-n1",), "ACL")  # fmt: skip
    yield Wrong("an ACL drops what one Pod sends", (acl(f'inport == "{POD}" && ip6'),), "pod", ("red/web-n1",), "ACL")
    yield Wrong("an ACL drops from a Pod's address", (acl("ip4.src == 10.1.0.2"),), "pod", ("red/web-n1",), "ACL")
    yield Wrong("an ACL drops one port within the Subnet", (acl("udp.dst == 53"),), "pod", ("red/web-n1",), "ACL")
    renamed = Update(LSP, {"name": "web-n2.blue"}, {"addresses": frozenset({f"{NOBODY} 10.1.0.77"})})
    yield Wrong("another Pod's port", (renamed,), "pod", ("blue/web-n2",), LSP, True)


def _leaks() -> Iterator[Wrong]:
    """What lets a tenant into another one's Vpc."""
    joint = ("192.0.2.241", "192.0.2.242")
    ports = tuple(
        Insert(LRP, {"name": f"leak-{n}", "peer": f"leak-{1 - n}", "mac": f"02:00:00:00:08:0{n}",
                     "networks": frozenset({f"{joint[n]}/30"})}, router)
        for n, router in enumerate((BLUE, RED))
    )  # fmt: skip
    # Both have the same addresses: only a longer prefix takes packets off the sender's own network.
    over = Insert(ROUTE, {"ip_prefix": "10.2.0.0/25", "nexthop": joint[1]}, BLUE)
    yield Wrong("two routers joined, and a route", (*ports, over), "pair", ("blue-web", "red-db"), opens=True)
    door = {"name": "joined", "type": "router", "addresses": frozenset({"router"})}
    new = {"name": "new", "mac": "02:00:00:00:09:01", "networks": frozenset({"10.66.0.1/24"})}
    inside = Insert(LSP, {**door, "options": {"router-port": "new"}}, {"name": "blue-web"})
    yield Wrong(
        "a router with a port on the other's switch",
        (Insert(LRP, new, RED), inside),
        "forged",
        ("blue-web", "red-db"),
        opens=True,
    )
    yield Wrong("and it is a stranger there", (Insert(LRP, new, RED), inside), "stranger", ("joined",), LSP, opens=True)


def _nodes() -> Iterator[Wrong]:
    """Between nodes and Pods."""
    door, node = {"name": "isthmus-nodes.red.node"}, {"name": "node-n1"}
    link = {"name": "isthmus-nodes.red.router"}

    def shut(name: str, columns: Mapping[str, Any], opens: bool = False) -> Wrong:
        return Wrong(name, (Update(LSP, door, columns),), "door", ("red",), LSP, opens)

    yield Wrong("the nodes' door deleted", (Delete(LSP, door),), "door", ("red",))
    yield shut("the nodes' door disabled", {"enabled": False})
    yield shut("the nodes' door as anybody's port", {"type": ""}, True)
    yield shut("the nodes' door with another address", {"addresses": frozenset({f"{NOBODY} 169.254.1.3"})})
    yield Wrong("the nodes' link off its router", (Delete(LRP, link),), "pod", ("red/web-n1",))
    elsewhere = Update(LRP, link, {"networks": frozenset({"169.254.1.5/30"})})
    yield Wrong("the nodes' link with another network", (elsewhere,), "pod", ("red/web-n1",))
    joined = {"name": "joined", "type": "router", "addresses": frozenset({"router"}), "options": {"router-port": "new"}}
    new = Insert(LRP, {"name": "new", "mac": "02:00:00:00:09:01", "networks": frozenset({"169.254.1.1/30"})}, BLUE)
    at_door = Insert(LSP, joined, {"name": "isthmus-nodes.red"})
    yield Wrong("another tenant's router at the door", (new, at_door), "stranger", ("joined",), LSP, True)
    drop = {"priority": 1000, "match": "ip4.src == 169.254.1.2", "action": "drop"}
    yield Wrong("a policy drops probes", (Insert(POLICY, drop, RED),), "pod", ("red/web-n2",), POLICY)
    yield Wrong("a node's port deleted", (Delete(LSP, node),), "node", ("n1",))
    yield Wrong("a node's port for another node", (Update(LSP, node, {"options": {}}),), "node", ("n1",), LSP, True)
    moved = Insert(LSP, {"name": "node-n1", "type": "", "addresses": frozenset({NOBODY})}, WEB)
    yield Wrong("a node's port in a tenant's Subnet", (Delete(LSP, node), moved), "node", ("n1",), LSP, True)
    service = {"key": "vpc.red/to-node/10.96.0.1/32"}
    yield Wrong("the way to the API server's Service deleted", (Delete(ROUTE, service),), "route", ("red",))
    away = Update(ROUTE, service, {"nexthop": "10.1.0.99"})
    yield Wrong("the way to the API server's Service to a Pod", (away,), "route", ("red",), "", True)
    balancer = Insert(BALANCER, {"name": "new", "vips": {"10.96.0.2:80": "10.1.0.99:80"}}, WEB)
    yield Wrong("a load balancer", (balancer,), "balancer", ("red-web",), BALANCER, True)
    way_out = Delete(ROUTE, {"key": "vpc.ovn-cluster/to-node/0.0.0.0/0"})
    yield Wrong("the default Vpc's way out deleted", (way_out,), "route", ("ovn-cluster",))
    away = Update(ROUTE, {"key": "vpc.ovn-cluster/to-node/0.0.0.0/0"}, {"nexthop": "10.16.0.77"})
    yield Wrong("the default Vpc's way out to a Pod", (away,), "route", ("ovn-cluster",), "", True)


BALANCER = "Load_Balancer"


@dataclass(frozen=True)
class Idle:
    """What happens to rows and neither opens nor closes anything; `why`, for who reads the list."""

    name: str
    operations: tuple[Operation, ...]
    why: str


def idle(rows: Rows) -> list[Idle]:
    mac, own = _own(rows, "db-n1.red")
    twice = Update(LSP, {"name": "db-n1.red"}, {"port_security": frozenset({f"{mac} {own}", f"{mac} {own}/32"})})
    allow = {"priority": 1000, "match": "ip4", "action": "allow"}
    acl = {"priority": 1000, "direction": "to-lport", "match": "ip4", "action": "allow"}
    refused = {"priority": 1000, "match": 'inport != "red/red-web" && tcp', "action": "drop"}
    away = {"priority": 1000, "match": "ip4.src == 10.77.0.0/16", "action": "drop"}
    chassis = {"name": "red/red-web_n1", "chassis_name": "n1", "priority": 1}
    lost = Insert(ROUTE, {"ip_prefix": "198.51.100.0/24", "nexthop": "10.7.7.7", "external_ids": OURS}, RED)
    return [
        Idle("a router's MAC", (Update(LRP, DOOR, {"mac": NOBODY}),), "neighbours ask for it"),
        Idle("a router's options", (Update(ROUTER, RED, {"options": {}}),), "how neighbours are learned"),
        Idle("a mark of ours", (Update(ROUTER, RED, {"external_ids": {}}),), "OVN reads none"),
        Idle("a policy that allows", (Insert(POLICY, allow, RED),), "it is allowed without it"),
        Idle("a policy that OVN refuses", (Insert(POLICY, refused, RED),), "it makes no flow"),
        Idle("a policy for nobody's addresses", (Insert(POLICY, away, RED),), "no Pod may send from them"),
        Idle("an ACL that allows", (Insert("ACL", acl, WEB),), "it is allowed without it"),
        Idle("port security said twice", (twice,), "the second says what the first does"),
        Idle("a router's port on a gateway", (Insert("Gateway_Chassis", chassis, DOOR),), "it goes round, and arrives"),
        Idle("a static route of an Interconnect", (lost,), "its next hop is nowhere"),
    ]


OURS = {"isthmus:owner": "default", "isthmus:key": "tenant-a/cluster/vpc/route/198.51.100.0/24"}
