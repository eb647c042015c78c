"""Subnets that an Attachment defines: a switch that carries the user's name, and the VPC router's port to it."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Parent, Row, Value


def port_name(maker: Maker, subnet: str) -> str:
    """Name of the VPC router's port to a subnet of ours."""
    return maker.name(f"subnet.{subnet}")


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    maker = Maker(joined, side)
    for subnet in side.defined:
        what, name = f"subnet/{subnet.name}", port_name(maker, subnet.name)
        path = f"{maker.path}.subnets[{subnet.name}]"
        yield maker.row("Logical_Switch", what, {"name": subnet.name}, path=path)
        router_port: dict[str, Value] = {
            "name": name,
            "mac": maker.mac(f"subnet.{subnet.name}"),
            "networks": frozenset(str(n) for n in subnet.networks),
        }
        yield maker.row("Logical_Router_Port", f"{what}/gateway", router_port, maker.on_vpc("ports"), path)
        switch_port: dict[str, Value] = {
            "name": f"{name}.port",
            "type": "router",
            "addresses": frozenset({"router"}),
            "options": {"router-port": name},
        }
        on_switch = Parent("Logical_Switch", "ports", key=maker.key(what))
        yield maker.row("Logical_Switch_Port", f"{what}/port", switch_port, on_switch, path)
