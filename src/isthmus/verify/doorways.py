"""How a cluster's nodes meet its Pods: their own ports, and the door that every Vpc has."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.verify.cluster import Resident
from isthmus.verify.columns import mapping
from isthmus.verify.fault import Fault, Ground
from isthmus.verify.path import RowRef
from isthmus.verify.residents import amiss, doubles, owned
from isthmus.verify.zone import SwitchPort

PORT = "Logical_Switch_Port"


def nodes(ground: Ground) -> Iterator[Fault]:
    """Each has a port of its own. What its addresses are nobody but the row says; it may send from any."""
    way, owners = ground.networks.way, owned(ground)
    for node, name in sorted(way.nodes.items()):
        port = ground.zone.switch_ports.get(name)
        if port is None:
            yield ground.fault("node", node, RowRef(ground.zone.site, PORT, "", name), "it has no port")
            continue
        home = ground.of_switch.get(port.switch)
        if home is None or home.place.name != way.home:
            where = ground.zone.switches[port.switch].name
            yield ground.fault("node", node, port.row, f"its port is in {where}, not in {way.home}")
            continue
        own = frozenset(a for o in port.owned for a in o.addresses)
        wanted = Resident(node, name, node, own, frozenset({way.home}))
        for reason in (*amiss(ground.zone, wanted, port), *doubles(port, owners)):
            yield ground.fault("node", node, port.row, reason)


def doors(ground: Ground) -> Iterator[Fault]:
    """One port that every node answers for, on a switch with the Vpc's router and with nobody else."""
    routers = {router.name: uuid for uuid, router in ground.zone.routers.items()}
    for vpc, name in sorted(ground.networks.way.doors.items()):
        port = ground.zone.switch_ports.get(name)
        if port is None:
            yield ground.fault("door", vpc, RowRef(ground.zone.site, PORT, "", name), "nodes have no door into it")
            continue
        for reason in _shut(ground, port):
            yield ground.fault("door", vpc, port.row, reason)
        for other in ground.zone.switches[port.switch].ports:
            there = ground.zone.router_ports.get(other.router_port)
            if other.name != name and (there is None or there.router != routers.get(vpc)):
                yield ground.fault("stranger", other.name, other.row, f"no object puts it at the door of {vpc}")


def _shut(ground: Ground, port: SwitchPort) -> Iterator[str]:
    own = [a for o in port.owned for a in o.addresses]
    if port.type != "localport":
        yield f"the nodes' door is of type {port.type or 'a machine'}"
    if not port.enabled:
        yield "the nodes' door is disabled"
    if len(port.owned) != 1 or port.unknown or sorted(own) != sorted(ground.networks.way.addresses):
        yield "the nodes' door has other addresses than nodes answer for"


def balancers(ground: Ground) -> Iterator[Fault]:
    """Nobody's: no object wants one in the way of a Subnet."""
    for uuid, home in ground.of_switch.items():
        router = ground.zone.routers.get(home.place.vpc)
        there = [*ground.zone.switches[uuid].balancers, *(router.balancers if router is not None else ())]
        for found in there:
            vips = mapping(ground.zone.table("Load_Balancer").get(found, {}).get("vips"))
            for vip, to in sorted(vips.items()):
                row, reason = ground.zone.ref("Load_Balancer", found), f"what is for {vip} goes to {to}"
                yield ground.fault("balancer", home.place.name, row, f"{reason}, and no object says so")
