"""The link: the small network between VPC router and edge router. One geometry, whoever keeps the VPC router."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import LINK_EDGE, LINK_NEIGHBOUR, NEIGHBOUR, Parent, Row, Value

EDGE, VPC = 1, 2
"""Hosts of the link: the edge router, the VPC router; probes come after them."""


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    """The edge's end; the switch and the other end are the business of whoever keeps the VPC router."""
    maker = Maker(joined, side)
    yield router_port(joined, side, LINK_EDGE, EDGE, maker.on_edge("ports"))
    yield maker.switch_port("link-edge-port", LINK_EDGE, on_switch(joined, side))


def vpc_end(joined: Joined, side: Side) -> Iterator[Row]:
    """The switch and the VPC router's port on it, as rows: where ports of a router are left to whoever made them."""
    maker = Maker(joined, side)
    yield maker.row("Logical_Switch", "link", {"name": maker.name("link"), "external_ids": {"isthmus:link": "vpc"}})
    yield router_port(joined, side, "link-vpc", VPC, maker.on_vpc("ports"))
    yield maker.switch_port("link-vpc-port", "link-vpc", on_switch(joined, side))


def router_port(joined: Joined, side: Side, what: str, host: int, on_router: Parent) -> Row:
    maker = Maker(joined, side)
    columns: dict[str, Value] = {
        "name": maker.name(what),
        "mac": maker.mac(what),
        "networks": frozenset(str(i) for i in joined.link(side, host)),
    }
    return maker.row("Logical_Router_Port", what, columns, on_router)


def neighbours(joined: Joined, side: Side, ports: Mapping[int, str]) -> Iterator[Row]:
    """The edge's MAC, told to a VPC router that would ask for it, and forget it every five minutes (ADR 0029).

    ports  IP version -> name of the VPC router's port on the link, where it has one
    """
    maker = Maker(joined, side)
    for address in joined.link(side, EDGE):
        if address.version in ports:
            columns: dict[str, Value] = {
                "logical_port": ports[address.version],
                "ip": str(address.ip),
                "mac": maker.mac(LINK_EDGE),
                "override_dynamic_mac": True,
            }
            yield maker.row(NEIGHBOUR, f"{LINK_NEIGHBOUR}/{address.version}", columns)


def vpc_port(side: Side, version: int) -> str:
    """Of the VPC router's port that has the link's address of an IP version.

    Neutron's own check takes a router's port with two networks for wrong every other time (ADR 0014): on its routers
    each version has a port of its own.
    """
    return "link-vpc-6" if side.vpc.keeper == "neutron" and version == 6 else "link-vpc"


def on_switch(joined: Joined, side: Side) -> Parent:
    """Where ports of the link go."""
    key = Maker(joined, side).key("link")
    if side.vpc.keeper == "neutron":
        return Parent("Logical_Switch", "ports", network=key)
    return Parent("Logical_Switch", "ports", key=key)
