"""Static routes of a cluster's Vpcs: what their routers do with packets that no Subnet is the target of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from isthmus.model.intent import Prefix
from isthmus.model.networks import Route
from isthmus.model.rows import PATH
from isthmus.verify.classes import vip_address
from isthmus.verify.cluster import Home
from isthmus.verify.columns import interfaces, mapping, text
from isthmus.verify.fault import Fault, Ground
from isthmus.verify.lies import OUTSIDE
from isthmus.verify.matrix import switches_of
from isthmus.verify.path import Packet, Trace, address
from isthmus.verify.steps import multicast

TABLE = "Logical_Router_Static_Route"


def routes(ground: Ground) -> Iterator[Fault]:
    """Those that no Vpc says, and those that its packets do not take."""
    for vpc, homes in ground.vpcs.items():
        wanted = ground.networks.routes.get(vpc, ())
        yield from _unwanted(ground, vpc, homes[0].place.vpc, wanted)
        for route in wanted:
            # OVN passes over a route whose next hop is in no network of its router.
            door = (route.nexthop.version, int(route.nexthop)) in ground.networks.way.addresses
            if door or any(route.nexthop in p for h in homes for p in h.place.prefixes):
                yield from _misled(ground, vpc, route, wanted)


def _unwanted(ground: Ground, vpc: str, router: str, wanted: tuple[Route, ...]) -> Iterator[Fault]:
    """Somebody's, or ours of a Vpc that has changed; Interconnects' are not judged here."""
    known = {(r.by, str(r.prefix), str(r.nexthop)) for r in wanted}
    record = ground.zone.table("Logical_Router").get(router, {})
    for uuid, row in ground.zone.children(TABLE, record.get("static_routes")):
        prefix, nexthop = text(row.get("ip_prefix")), text(row.get("nexthop"))
        by = (text(row.get("policy")) or "dst-ip").removesuffix("-ip")
        found = interfaces((prefix,))
        if found and (by, str(found[0].network), nexthop) in known:
            continue
        ref = ground.zone.ref(TABLE, uuid, f"{prefix} {nexthop}")
        if not ref.ours or mapping(row.get("external_ids")).get(PATH) == _path(vpc):
            yield ground.fault("route", vpc, ref, "its Vpc does not say so")


def _misled(ground: Ground, vpc: str, route: Route, wanted: tuple[Route, ...]) -> Iterator[Fault]:
    """The first packet that a route is for and that goes elsewhere."""
    equal = {str(r.nexthop) for r in wanted if (r.by, r.prefix) == (route.by, route.prefix)}
    what = "from" if route.by == "src" else "to"
    for home, packet in _travellers(ground, vpc, route, wanted):
        found = ground.matrix.traces(home.place, packet, home.place.doors)
        hops = {_nexthop(ground, trace, home) for trace in found}
        if found and (str(route.nexthop) not in hops or hops - equal):
            trace = next((t for t in found if _nexthop(ground, t, home) not in equal), found[0])
            reason = f"packets {what} {route.prefix} do not go to {route.nexthop}: {trace.reason}"
            yield ground.fault("route", vpc, trace.row, reason, trace)
            return


def _travellers(ground: Ground, vpc: str, route: Route, wanted: tuple[Route, ...]) -> Iterator[tuple[Home, Packet]]:
    """Packets of a Vpc that this route decides: from each Subnet to an address of each class, or of nobody."""
    family, by_dst = route.prefix.version, route.by == "dst"
    # A longer prefix goes before it; at equal length a route by the target before one by the source.
    least = route.prefix.prefixlen + (1 if by_dst else 0)
    nearer = [r for r in wanted if r.prefix.prefixlen >= least]
    taken = [r.prefix for r in nearer if r.by == "dst"] + _others(ground, vpc, route)
    elsewhere = [r.prefix for r in wanted if r.by == "src" and r.prefix.prefixlen > route.prefix.prefixlen]
    targets = ground.matrix.bounds(route.prefix)[:-1] if by_dst else [int(a) for a in OUTSIDE if a.version == family]
    targets = [t for t in targets if _goes(family, t) and not any(address(family, t) in p for p in taken)]
    for home in ground.vpcs[vpc]:
        hosts = [a for p in home.place.prefixes if p.version == family for a in ground.matrix.classes(home.place, p)]
        hosts = [a for a in hosts if (by_dst or a in route.prefix) and not any(a in p for p in elsewhere)]
        for source, target in product(hosts[:1], targets):
            yield home, Packet.between(family, int(source), target)


def _others(ground: Ground, vpc: str, route: Route) -> list[Prefix]:
    """What goes elsewhere from a Vpc's router, and should: to its networks and ours, by Interconnects, to balancers."""
    length = route.prefix.prefixlen
    zone, homes = ground.zone, ground.vpcs[vpc]
    router = zone.routers.get(homes[0].place.vpc)
    found = [p for h in homes for p in h.place.prefixes]
    if router is not None:
        found += [n.network for port in router.ports if port.row.ours for n in port.networks]
        for uuid, row in zone.children(TABLE, router.record.get("static_routes")):
            if zone.ref(TABLE, uuid).ours and mapping(row.get("external_ids")).get(PATH) != _path(vpc):
                there = interfaces((text(row.get("ip_prefix")),))
                found += [i.network for i in there if i.network.prefixlen > length]
    balancers = {b for h in homes for u in switches_of(zone, h.place) for b in zone.switches[u].balancers}
    for uuid in sorted(balancers):
        vips = mapping(zone.table("Load_Balancer").get(uuid, {}).get("vips"))
        found += [i.network for i in interfaces(tuple(map(vip_address, vips)))]
    return found


def _path(vpc: str) -> str:
    return f"Vpc/{vpc}/spec.staticRoutes"


def _goes(family: int, number: int) -> bool:
    """Routers route it at all."""
    return not multicast(Packet.between(family, number, number)) and number != 0 and number >> 118 != 0x3FA


def _nexthop(ground: Ground, trace: Trace, home: Home) -> str:
    """Where its Vpc's router sent a packet, or "" where no static route decided."""
    hop = next((h for h in trace.hops if h.at.uuid == home.place.vpc), None)
    out = ground.zone.router_ports.get(hop.port) if hop is not None else None
    if hop is None or out is None or hop.rows[0].table != TABLE:
        return ""
    found = interfaces((text(ground.zone.table(TABLE)[hop.rows[0].uuid].get("nexthop")),))
    # By a port that has no such neighbour it comes to nobody.
    return next((str(n.ip) for n in found if out.member(n.version, int(n.ip))), "")
