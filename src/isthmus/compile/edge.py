"""The edge router of an Attachment and its way to the other edges: transit port, or the inner link of one site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.compile import names, record
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Parent, Row, Value, nb

TOP_PRIORITY = 100
"""Gateway_Chassis priority of the preferred chassis; each further one has one less (0 to 32767, ovn-nb(5))."""


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    maker = Maker(joined, side)
    ids = {record.SIDES: record.dump(record.of(joined))}
    if joined.is_first(side) and side.site in joined.refused:
        ids[record.REFUSED] = joined.refused[side.site]
    yield maker.row("Logical_Router", "edge", {"name": maker.name("edge"), "external_ids": ids})
    if joined.is_first(side):
        yield from _transit(joined, side, maker)
        for further in joined.further(side):
            yield from _inner(joined, further)


class Maker:
    """Makes rows of one Attachment: database, key and spec path are the same for all of them."""

    def __init__(self, joined: Joined, side: Side) -> None:
        self.joined, self.side = joined, side
        self.database = nb(side.site)
        self.prefix = f"{joined.name}/{side.name}"
        self.path = f"spec.attachments[{side.name}]"

    def name(self, what: str) -> str:
        return names.of(self.joined.owner, self.joined.name, self.side.name, what)

    def mac(self, what: str) -> str:
        return names.mac(self.name(what))

    def key(self, what: str) -> str:
        return f"{self.prefix}/{what}"

    def row(
        self, table: str, what: str, columns: Mapping[str, Value], parent: Parent | None = None, path: str = ""
    ) -> Row:
        return Row(self.database, table, self.key(what), columns, parent, path or self.path)

    def on_edge(self, column: str, side: Side | None = None) -> Parent:
        owner = side or self.side
        return Parent("Logical_Router", column, key=f"{self.joined.name}/{owner.name}/edge")

    def on_vpc(self, column: str) -> Parent:
        return Parent("Logical_Router", column, uuid=self.side.vpc.uuid)

    def switch_port(self, what: str, lrp: str, parent: Parent) -> Row:
        """The switch's end of a router port; OVN takes MAC and addresses from the router's end."""
        columns: dict[str, Value] = {
            "name": self.name(what),
            "type": "router",
            "addresses": frozenset({"router"}),
            "options": {"router-port": self.name(lrp)},
        }
        return self.row("Logical_Switch_Port", what, columns, parent)


def _transit(joined: Joined, side: Side, maker: Maker) -> Iterator[Row]:
    numbers = joined.numbers[side.name]
    columns: dict[str, Value] = {
        "name": maker.name("transit"),
        # ovn-ic replaces the number that northd gave the switch's port. The flow from the router's port to it holds the
        # number; ovn-controller before 24.03.2 makes it anew only when the router's port changes in the southbound
        # database (ovn-org/ovn ddf051cbc6af), and else sends under the old number, to be dropped at the far end.
        # Nobody claims a port that ovn-controller has lost sight of until its row changes: `controller.nudges`.
        "mac": names.spelled(maker.mac("transit"), numbers.port_key, numbers.nudges),
        "networks": frozenset(str(i) for i in joined.transit(side)),
        # Larger packets are answered with "fragmentation needed" here, before the tunnel (ovn-nb(5), gateway_mtu).
        "options": {"gateway_mtu": str(joined.mtu)},
    }
    if numbers.nudges:
        columns["external_ids"] = {record.NUDGES: str(numbers.nudges)}
    yield maker.row("Logical_Router_Port", "transit", columns, maker.on_edge("ports"))
    for place, chassis in enumerate(side.gateways):
        yield maker.row(
            "Gateway_Chassis",
            f"gateway/{chassis}",
            {"name": f"{maker.name('transit')}_{chassis}", "chassis_name": chassis, "priority": TOP_PRIORITY - place},
            Parent("Logical_Router_Port", "gateway_chassis", key=maker.key("transit")),
            path=f"{maker.path}.gateways[{place}]",
        )
    switch = names.transit_switch(joined.owner, joined.name)
    yield maker.switch_port("transit-port", "transit", Parent("Logical_Switch", "ports", name=switch))


def _inner(joined: Joined, further: Side) -> Iterator[Row]:
    """A switch between the first edge of a site and a further one."""
    maker = Maker(joined, further)
    first = joined.first(further.site)
    yield maker.row("Logical_Switch", "inner", {"name": maker.name("inner"), "external_ids": {"isthmus:link": "inner"}})
    on_switch = Parent("Logical_Switch", "ports", key=maker.key("inner"))
    for what, host, edge in (("inner-first", 1, first), ("inner-edge", 2, further)):
        columns: dict[str, Value] = {
            "name": maker.name(what),
            "mac": maker.mac(what),
            "networks": frozenset(str(i) for i in joined.inner(further, host)),
        }
        yield maker.row("Logical_Router_Port", what, columns, maker.on_edge("ports", edge))
        yield maker.switch_port(f"{what}-port", what, on_switch)
