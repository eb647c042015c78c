"""A cluster's Subnets as segments: the way to their router, and who is there."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.model.rows import PATH
from isthmus.verify.cluster import Home
from isthmus.verify.columns import interfaces, mapping, texts
from isthmus.verify.fault import Fault, Ground
from isthmus.verify.path import RowRef
from isthmus.verify.zone import SwitchPort, Zone

SLOT = "isthmus:statefulset"
"""external_ids of a Pod's port that may wait for the next member of a StatefulSet."""


def subnets(ground: Ground) -> Iterator[Fault]:
    for home in ground.networks.homes:
        if found := _home(ground.zone, home):
            row, reason = found
            yield ground.fault("subnet", home.place.name, row, reason)


def _home(zone: Zone, home: Home) -> tuple[RowRef, str] | None:
    """What is wrong with the router's port in a Subnet, or with the switch's port to it."""
    (name,) = home.place.doors
    door, plugs = zone.router_ports.get(name), zone.doors.get(name, [])
    if door is None:
        return RowRef(zone.site, "Logical_Router_Port", "", name), f"no router that works has a port {name}"
    there = set(interfaces(texts(zone.table("Logical_Router_Port")[door.row.uuid].get("networks"))))
    has, wanted = (", ".join(sorted(map(str, each))) or "nothing" for each in (there, home.gateways))
    plug = plugs[0] if plugs else None
    wrong = (
        (door.router != home.place.vpc, door.row, f"its port is on router {zone.routers[door.router].name}"),
        (not door.enabled, door.row, "its router's port is disabled"),
        (there != set(home.gateways), door.row, f"its router has {has} there, not {wanted}"),
        (bool(door.peer), door.row, f"its router's port is bound to {door.peer}"),
        (plug is None, door.row, "its router's port is plugged in nowhere"),
        (len(plugs) > 1, plugs[-1].row if plugs else door.row, f"{len(plugs)} switch ports lead to {name}"),
    )
    return next(((row, reason) for true, row, reason in wrong if true), None) or (
        _plug(zone, home, plug) if plug else None
    )


def _plug(zone: Zone, home: Home, plug: SwitchPort) -> tuple[RowRef, str] | None:
    switch = zone.switches[plug.switch].name
    if switch != home.place.name:
        return plug.row, f"its router's port is plugged into {switch}"
    return None if plug.enabled else (plug.row, "the port to its router is disabled")


def strangers(ground: Ground) -> Iterator[Fault]:
    """Ports on Subnets' switches that are neither Pods' or nodes' nor lead to the Subnet's own router."""
    networks = ground.networks
    known = {r.port for r in networks.residents} | networks.moving | {*networks.way.nodes.values()}
    for uuid, home in ground.of_switch.items():
        for port in ground.zone.switches[uuid].ports:
            marks = mapping(ground.zone.table("Logical_Switch_Port")[port.row.uuid].get("external_ids"))
            if port.name in known or port.router_port in home.place.doors:
                continue
            if marks.get(PATH, "").startswith(("Pod/", "Node/")) and SLOT not in marks:
                yield ground.fault("stranger", port.name, port.row, "whom it was for is not there")
            elif not port.row.ours:
                yield ground.fault("stranger", port.name, port.row, f"no object puts it on {home.place.name}")
