"""The link: a small switch between the VPC router and the edge router."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Parent, Row, Value


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    maker = Maker(joined, side)
    yield maker.row("Logical_Switch", "link", {"name": maker.name("link"), "external_ids": {"isthmus:link": "vpc"}})
    on_switch = Parent("Logical_Switch", "ports", key=maker.key("link"))
    for what, host, on_router in (
        ("link-edge", 1, maker.on_edge("ports")),
        ("link-vpc", 2, maker.on_vpc("ports")),
    ):
        columns: dict[str, Value] = {
            "name": maker.name(what),
            "mac": maker.mac(what),
            "networks": frozenset(str(i) for i in joined.link(side, host)),
        }
        yield maker.row("Logical_Router_Port", what, columns, on_router)
        yield maker.switch_port(f"{what}-port", what, on_switch)
