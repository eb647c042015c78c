"""From a zone's rows to each router's forwarding table, as northd builds it (23.03).

Sources: northd.c `build_static_route_flows_for_lrouter`, `find_static_route_outport`,
`build_ip_routing_flows_for_lrouter_port`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from isthmus.model.rows import Record
from isthmus.verify.columns import Interface, mapping, text
from isthmus.verify.lpm import CONNECTED, SOURCE, STATIC, Member, Route, Table
from isthmus.verify.path import RowRef
from isthmus.verify.zone import Router, RouterPort, Zone


@dataclass(frozen=True, slots=True)
class _Static:
    """A static route that northd accepts. `port` None: `discard`."""

    row: RowRef
    prefix: Interface
    nexthop: int | None
    port: RouterPort | None
    source: bool
    table: str
    learned: bool
    """options:origin=connected: ranks as a connected route."""

    @property
    def group(self) -> tuple[int, int, int, bool, str]:
        network = self.prefix.network
        return network.version, int(network.network_address), network.prefixlen, self.source, self.table


def forwarding(zone: Zone) -> dict[str, Table]:
    """Router's UUID -> its table."""
    routes: dict[str, list[Route]] = {uuid: list(_connected(r)) for uuid, r in zone.routers.items()}
    for uuid, router in zone.routers.items():
        groups: dict[tuple[int, int, int, bool, str], list[_Static]] = {}
        for static in _statics(zone, router):
            groups.setdefault(static.group, []).append(static)
        for members in groups.values():
            target = uuid
            if len(members) == 1 and members[0].port is not None:
                # northd adds the flow to the router that the output port is on, be it another one.
                target = members[0].port.router
            routes.setdefault(target, []).append(_route(members, uuid))
    return {uuid: Table(found) for uuid, found in routes.items()}


def _connected(router: Router) -> Iterator[Route]:
    for port in router.ports:
        for own in port.networks:
            network = own.network
            yield Route(
                family=network.version,
                network=int(network.network_address),
                length=network.prefixlen,
                rank=CONNECTED,
                members=(Member(port.row, port.name),),
                row=port.row,
                inport=port.name if network.version == 6 and network.is_link_local else None,
            )


def _route(statics: list[_Static], router: str) -> Route:
    first = statics[0]
    rank = SOURCE if first.source else CONNECTED if first.learned else STATIC
    return Route(
        family=first.prefix.version,
        network=int(first.prefix.network.network_address),
        length=first.prefix.network.prefixlen,
        rank=rank,
        members=tuple(_members(statics, router)),
        row=first.row,
        table=first.table if first.table or rank == STATIC else None,
    )


def _members(statics: list[_Static], router: str) -> Iterator[Member]:
    alone = len(statics) == 1
    for one in statics:
        if one.port is None:
            if not alone:
                yield Member(one.row, None)
        elif not alone and one.port.router != router:
            yield Member(one.row, None)
        else:
            yield Member(one.row, one.port.name, one.nexthop)


def _statics(zone: Zone, router: Router) -> Iterator[_Static]:
    for uuid, record in zone.children("Logical_Router_Static_Route", router.record.get("static_routes")):
        prefix = _interface(text(record.get("ip_prefix")))
        if prefix is None or _bfd_down(zone, record):
            continue
        hop_text = text(record.get("nexthop"))
        hop = _interface(hop_text)
        if hop_text not in ("", "discard") and not _usable(hop, prefix):
            continue
        number = int(hop.ip) if hop is not None else None
        port = None
        if hop_text != "discard":
            port = _outport(zone, router, text(record.get("output_port")), prefix.version, number)
            if port is None:
                continue
        name = f"{text(record.get('ip_prefix'))} via {hop_text or text(record.get('output_port'))}"
        yield _Static(
            row=zone.ref("Logical_Router_Static_Route", uuid, name),
            prefix=prefix,
            nexthop=number,
            port=port,
            source=text(record.get("policy")) == "src-ip",
            table=text(record.get("route_table")),
            learned=mapping(record.get("options")).get("origin") == "connected",
        )


def _interface(word: str) -> Interface | None:
    try:
        return ip_interface(word)
    except ValueError:
        return None


def _usable(hop: Interface | None, prefix: Interface) -> bool:
    return hop is not None and hop.version == prefix.version and hop.network.prefixlen == hop.max_prefixlen


def _bfd_down(zone: Zone, record: Record) -> bool:
    session = zone.table("BFD").get(text(record.get("bfd")))
    if session is None or text(session.get("dst_ip")) != text(record.get("nexthop")):
        return False
    return text(session.get("status")) in ("down", "admin_down")


def _outport(zone: Zone, router: Router, wanted: str, family: int, hop: int | None) -> RouterPort | None:
    if wanted:
        port = zone.router_ports.get(wanted)
        return port if port is not None and any(n.version == family for n in port.networks) else None
    return None if hop is None else port_towards(router.ports, family, hop)


def port_towards(ports: Iterable[RouterPort], family: int, number: int) -> RouterPort | None:
    """The first port, in UUID order, with a network that contains the address."""
    return next((p for p in ports if p.member(family, number)), None)
