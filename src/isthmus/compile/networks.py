"""Networks of a cluster to rows: routers, switches, and ports of Pods. Each group of rows stands by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isthmus.compile import names
from isthmus.compile.view import order
from isthmus.model.facts import Interface
from isthmus.model.networks import Pod, Subnet, Vpc
from isthmus.model.rows import Parent, Row, Value, nb

UID, NODE, SUBNET, SLOT, GATEWAYS, MTU, IN_VPC = (
    f"isthmus:{what}" for what in ("pod-uid", "node", "subnet", "statefulset", "gateways", "mtu", "in-vpc")
)
"""external_ids of a Pod's port: all that an agent needs to make its interface, and we to know it again."""
ROUTES, NAT = "isthmus:routes", "isthmus:nat"
"""external_ids of a node's port: networks that are behind it, and those of them that leave with the node's address."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a Pod was given, with the prefix lengths of its Subnet."""

    subnet: str
    addresses: tuple[Interface, ...]
    mac: str


def of_vpc(name: str) -> str:
    """The group of a Vpc's rows; names of Kubernetes hold no slash."""
    return f"vpc.{name}"


def of_subnet(name: str) -> str:
    return f"subnet.{name}"


def of_pod(namespace: str, name: str) -> str:
    """One to one: a namespace's name holds no dot."""
    return f"pod.{namespace}.{name}"


def port_name(namespace: str, name: str) -> str:
    """Of the port of a Pod or, without a namespace, of a node: Kube-OVN's, which is the name of its `IP` too."""
    return f"{name}.{namespace}" if namespace else f"node-{name}"


def router_port(vpc: str, subnet: str) -> str:
    """Of the port that a Vpc's router has in a Subnet."""
    return f"{vpc}/{subnet}"


def vpc_rows(site: str, vpc: Vpc) -> Iterator[Row]:
    """The router; its ports belong to the Subnets."""
    group, path = of_vpc(vpc.name), f"Vpc/{vpc.name}"
    # Neighbours are asked for when somebody is sent to them, not learned from whoever says so.
    options = {"dynamic_neigh_routers": "true", "always_learn_from_arp_request": "false"}
    router = f"{group}/router"
    yield Row(nb(site), "Logical_Router", router, {"name": vpc.name, "options": options}, None, path)
    parent = Parent("Logical_Router", "static_routes", key=router)
    for route in vpc.routes:
        columns: dict[str, Value] = {
            "ip_prefix": str(route.prefix),
            "nexthop": str(route.nexthop),
            "policy": f"{route.by}-ip",
        }
        key = f"{group}/route/{route.by} {route.prefix} {route.nexthop}"
        yield Row(nb(site), "Logical_Router_Static_Route", key, columns, parent, f"{path}/spec.staticRoutes")


def subnet_rows(site: str, owner: str, subnet: Subnet) -> Iterator[Row]:
    """The switch, and its way to the router of its VPC, which exists."""
    group, path = of_subnet(subnet.name), f"Subnet/{subnet.name}"
    switch, port = f"{group}/switch", router_port(subnet.vpc, subnet.name)
    yield Row(nb(site), "Logical_Switch", switch, {"name": subnet.name}, None, path)
    ours: dict[str, Value] = {
        "name": port,
        "mac": names.mac(f"{owner}/{port}"),
        "networks": frozenset(map(str, subnet.gateways)),
    }
    router = Parent("Logical_Router", "ports", key=f"{of_vpc(subnet.vpc)}/router")
    yield Row(nb(site), "Logical_Router_Port", f"{group}/router-port", ours, router, path)
    theirs: dict[str, Value] = {
        "name": f"{subnet.name}/{subnet.vpc}",
        "type": "router",
        "addresses": frozenset({"router"}),
        "options": {"router-port": port},
    }
    yield Row(nb(site), "Logical_Switch_Port", f"{group}/port", theirs, on_switch(subnet.name), path)


def pod_row(site: str, pod: Pod, lease: Lease, subnet: Subnet) -> Row:
    """The port of a Pod. Only its own node may have it, and only its own addresses may leave it."""
    return _port(site, pod, lease, subnet, {}, secure=True)


def node_row(site: str, node: Pod, lease: Lease, subnet: Subnet, others: Iterable[Subnet]) -> Row:
    """The port of a node, by which it reaches the Pods of the default VPC; whoever it routes may send there.

    others  the Subnets of that VPC
    """
    behind = sorted(
        ((p, s.nat) for s in others if s.name != subnet.name for p in s.prefixes), key=lambda b: order(b[0])
    )
    ids = {ROUTES: " ".join(str(p) for p, _ in behind), NAT: " ".join(str(p) for p, nat in behind if nat)}
    return _port(site, node, lease, subnet, ids, secure=False)


def _port(site: str, pod: Pod, lease: Lease, subnet: Subnet, more: Mapping[str, str], *, secure: bool) -> Row:
    own = " ".join([lease.mac, *(str(a.ip) for a in lease.addresses)])
    ids = {
        UID: pod.uid,
        NODE: pod.node,
        SUBNET: subnet.name,
        GATEWAYS: " ".join(map(str, subnet.gateways)),
        MTU: str(subnet.mtu),
        IN_VPC: subnet.vpc,
        **more,
    }
    columns: Mapping[str, Value] = {
        "name": port_name(pod.namespace, pod.name),
        "addresses": frozenset({own}),
        "port_security": frozenset({own}) if secure else frozenset(),
        "options": {"requested-chassis": pod.node},
        "external_ids": ids | ({SLOT: pod.slot} if pod.slot else {}),
    }
    key = f"{of_pod(pod.namespace, pod.name)}/port"
    path = f"Pod/{pod.namespace}/{pod.name}" if pod.namespace else f"Node/{pod.name}"
    return Row(nb(site), "Logical_Switch_Port", key, columns, on_switch(subnet.name), path)


def on_switch(subnet: str) -> Parent:
    return Parent("Logical_Switch", "ports", key=f"{of_subnet(subnet)}/switch")
