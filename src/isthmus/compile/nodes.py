"""How a cluster's nodes meet its Pods: a way into every VPC, and the API server's Service in it.

Every VPC router has a small link of ours with a `localport` (ovn-nb(5)) that every node's agent answers for: what is
sent to it arrives at the sender's own node, and what comes from it reaches Pods of that node alone. Through it go
kubelet's probes, and requests to the Service `default/kubernetes`; in the default VPC everything that leaves it. No row
is needed for a node, and no node is a way from one VPC to another. ADR 0021.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_network

from isthmus.compile import names
from isthmus.compile.networks import GATEWAYS, of_vpc
from isthmus.model.facts import Interface
from isthmus.model.networks import DEFAULT_VPC, Api, Route, Vpc
from isthmus.model.rows import Parent, Row, Value, nb

ROUTER: tuple[Interface, ...] = (IPv4Interface("169.254.1.1/30"), IPv6Interface("fd69:7376::1/126"))
NODE: tuple[Interface, ...] = (IPv4Interface("169.254.1.2/30"), IPv6Interface("fd69:7376::2/126"))
"""Both ends of the link, the same in every VPC and on every node: outside of the ranges of Interconnects' links."""

VPC, SERVICE, API = "isthmus:vpc", "isthmus:service", "isthmus:api"
"""external_ids of the localport: the VPC that it is a way into; where the API server's Service is, and where API
servers are, `ADDRESS PORT` each."""


def door_name(vpc: str) -> str:
    """Of the port by which a Pod's own node is in a VPC."""
    return f"isthmus-nodes.{vpc}.node"


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
        "name": door_name(vpc.name),
        "type": "localport",
        "addresses": frozenset({" ".join([mac, *(str(a.ip) for a in NODE)])}),
        "external_ids": {
            VPC: vpc.name,
            GATEWAYS: " ".join(map(str, ROUTER)),
            SERVICE: ",".join(f"{address} {api.port}" for address in api.vips),
            API: ",".join(f"{address} {port}" for address, port in api.endpoints),
        },
    }
    yield Row(nb(site), "Logical_Switch_Port", f"{group}/nodes-node", door, on_link, path)
    parent = Parent("Logical_Router", "static_routes", key=f"{group}/router")
    for route in routes(vpc, api):
        columns: Mapping[str, Value] = {
            "ip_prefix": str(route.prefix),
            "nexthop": str(route.nexthop),
            "policy": "dst-ip",
        }
        yield Row(nb(site), "Logical_Router_Static_Route", f"{group}/to-node/{route.prefix}", columns, parent, path)


def routes(vpc: Vpc, api: Api) -> Iterator[Route]:
    """What goes to the Pod's own node: the API server's Service, and from the default VPC whatever is not routed."""
    routed = {route.prefix for route in vpc.routes if route.by == "dst"}
    for own in NODE:
        wanted = [ip_network(vip) for vip in api.vips if vip.version == own.version and api.reached(own.version)]
        if vpc.name == DEFAULT_VPC:
            wanted.append(ip_network("0.0.0.0/0" if own.version == 4 else "::/0"))
        yield from (Route(prefix, own.ip, "dst") for prefix in wanted if prefix not in routed)
