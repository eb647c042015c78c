"""How a cluster's nodes meet its Pods: a way into every VPC, and the API server's Service in it.

Every VPC router has a small link of ours with a `localport` (ovn-nb(5)) that every node's agent answers for: what is
sent to it arrives at the sender's own node, and what comes from it reaches Pods of that node alone. Through it go
kubelet's probes, and requests to the Service `default/kubernetes`; in the default VPC everything that leaves it. No row
is needed for a node, and no node is a way from one VPC to another. ADR 0021.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from isthmus.compile import names
from isthmus.compile.networks import GATEWAYS, of_subnet, of_vpc, on_switch
from isthmus.model.facts import Interface
from isthmus.model.networks import DEFAULT_VPC, NODES_SUBNET, Api, Subnet, Vpc
from isthmus.model.rows import Parent, Row, Value, nb

ROUTER: tuple[Interface, ...] = (IPv4Interface("169.254.1.1/30"), IPv6Interface("fd69:7376::1/126"))
NODE: tuple[Interface, ...] = (IPv4Interface("169.254.1.2/30"), IPv6Interface("fd69:7376::2/126"))
"""Both ends of the link, the same in every VPC and on every node: outside of the ranges of Interconnects' links."""

API_PORT = 6443
"""Where a node takes requests to the API server that came through a VPC."""

VPC, API = "isthmus:vpc", "isthmus:api"
"""external_ids of the localport: the VPC that it is a way into; where API servers are, `ADDRESS PORT` each."""


def link_rows(site: str, owner: str, vpc: Vpc, api: Api) -> Iterator[Row]:
    """A VPC's link to whichever node a Pod is on."""
    group, path, name = of_vpc(vpc.name), f"Vpc/{vpc.name}", f"isthmus-nodes.{vpc.name}"
    switch = f"{group}/nodes"
    marks: Mapping[str, Value] = {"name": name, "external_ids": {"isthmus:link": "nodes"}}
    yield Row(nb(site), "Logical_Switch", switch, marks, None, path)
    router = Parent("Logical_Router", "ports", key=f"{group}/router")
    ours: dict[str, Value] = {
        "name": f"{name}.router",
        "mac": names.mac(owner, name, "router"),
        "networks": frozenset(map(str, ROUTER)),
    }
    yield Row(nb(site), "Logical_Router_Port", f"{group}/nodes-router", ours, router, path)
    on_link = Parent("Logical_Switch", "ports", key=switch)
    theirs: dict[str, Value] = {
        "name": f"{name}.switch",
        "type": "router",
        "addresses": frozenset({"router"}),
        "options": {"router-port": f"{name}.router"},
    }
    yield Row(nb(site), "Logical_Switch_Port", f"{group}/nodes-switch", theirs, on_link, path)
    mac = names.mac(owner, name, "node")
    door: dict[str, Value] = {
        "name": f"{name}.node",
        "type": "localport",
        "addresses": frozenset({" ".join([mac, *(str(a.ip) for a in NODE)])}),
        "external_ids": {
            VPC: vpc.name,
            GATEWAYS: " ".join(map(str, ROUTER)),
            API: ",".join(f"{address} {port}" for address, port in api.endpoints),
        },
    }
    yield Row(nb(site), "Logical_Switch_Port", f"{group}/nodes-node", door, on_link, path)
    if vpc.name == DEFAULT_VPC:
        yield from _way_out(site, vpc)


def _way_out(site: str, vpc: Vpc) -> Iterator[Row]:
    """Pods of the default VPC leave it through their node, where nobody has routed them elsewhere."""
    group = of_vpc(vpc.name)
    parent = Parent("Logical_Router", "static_routes", key=f"{group}/router")
    routed = {route.prefix for route in vpc.routes if route.by == "dst"}
    for own in NODE:
        everything = ip_network("0.0.0.0/0" if own.version == 4 else "::/0")
        if everything not in routed:
            columns: Mapping[str, Value] = {"ip_prefix": str(everything), "nexthop": str(own.ip), "policy": "dst-ip"}
            key = f"{group}/way-out/{own.version}"
            yield Row(nb(site), "Logical_Router_Static_Route", key, columns, parent, f"Vpc/{vpc.name}")


def api_rows(site: str, subnet: Subnet, api: Api) -> Iterator[Row]:
    """The Service `default/kubernetes` for Pods of a Subnet: by their node, for no VPC has a way to an API server.

    Nodes need none, and theirs must have none: conntrack would meet answers there to what went out by another door.
    """
    found = {}
    if subnet.name == NODES_SUBNET:
        return
    for vip in api.vips:
        door = next(a for a in NODE if a.version == vip.version)
        if any(a.version == vip.version for a, _ in api.endpoints):
            found[_socket(ip_interface(vip), api.port)] = _socket(door, API_PORT)
    if found:
        group = of_subnet(subnet.name)
        columns: Mapping[str, Value] = {"name": f"isthmus-api.{subnet.name}", "vips": found, "protocol": "tcp"}
        parent = on_switch(subnet.name, "load_balancer")
        yield Row(nb(site), "Load_Balancer", f"{group}/api", columns, parent, "Service/default/kubernetes")


def _socket(address: Interface, port: int) -> str:
    """As `Load_Balancer` has it in `vips` (ovn-nb(5)).

    >>> _socket(IPv6Interface("fd00::1"), 443)
    '[fd00::1]:443'
    """
    return f"{address.ip}:{port}" if address.version == 4 else f"[{address.ip}]:{port}"
