"""Single steps of the way of a packet, each a judgement of rows: admission, neighbours, how a path ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address

from isthmus.verify.path import End, Hop, Packet, RowRef, Trace
from isthmus.verify.routes import port_towards
from isthmus.verify.rules import Verdict, balancer, translates_destination
from isthmus.verify.zone import Router, RouterPort, Rule, Switch, SwitchPort, Zone

NextHop = tuple[int, int]
"""Family and address. A policy may send a packet of one family to a next hop of the other."""

OUTSIDE = frozenset({"localnet", "l2gateway", "vtep", "external"})
"""Port types that lead out of OVN."""


@dataclass(frozen=True, slots=True)
class Way:
    """What has happened so far."""

    packet: Packet
    hops: tuple[Hop, ...] = ()
    seen: frozenset[tuple[str, str, int, int]] = frozenset()
    admitted: tuple[RowRef, ...] = ()
    """The ACL that let it onto the switch where it is."""


@lru_cache(maxsize=65536)
def aged(packet: Packet) -> Packet:
    return replace(packet, ttl=packet.ttl - 1)


def end(zone: Zone, way: Way, end: End, row: RowRef, reason: str) -> Trace:
    return Trace(way.packet, way.hops, end, zone.site, row, reason)


def verdict_end(zone: Zone, way: Way, verdict: Verdict, switch: Switch) -> Trace:
    if verdict.word == "unknown":
        row = verdict.rule.row if verdict.rule else switch.row
        return end(zone, way, End.UNKNOWN, row, "an ACL that cannot be judged")
    row = verdict.rule.row if verdict.rule else switch.row
    return end(zone, way, End.DROPPED, row, f"ACL of {switch.name}" if verdict.rule else "default_acl_drop")


def ruled(way: Way, switch: Switch, verdict: Verdict) -> Way:
    """With the ACL that lets the packet off the switch; what drops it ends the path by itself."""
    if verdict.rule is None or verdict.word != "allow" or not way.hops or way.hops[-1].at != switch.row:
        return way
    hop = replace(way.hops[-1], rows=(*way.hops[-1].rows, verdict.rule.row))
    return replace(way, hops=(*way.hops[:-1], hop))


def policy_end(zone: Zone, router: Router, way: Way, verdict: Verdict, came: RouterPort, route: RowRef) -> Trace:
    assert verdict.rule is not None
    hop = Hop(zone.site, router.row, came.name, "", (route, verdict.rule.row))
    way = replace(way, hops=(*way.hops, hop))
    if verdict.word == "drop":
        return end(zone, way, End.DROPPED, verdict.rule.row, f"policy of {router.name}")
    reason = "a policy that cannot be judged" if verdict.word == "unknown" else f"policy action {verdict.word}"
    return end(zone, way, End.UNKNOWN, verdict.rule.row, reason)


def segment(zone: Zone, switch: Switch, way: Way, port: RouterPort) -> Trace:
    hop = Hop(zone.site, switch.row, "", "", (switch.row,))
    return Trace(way.packet, (*way.hops, hop), End.DELIVERED, zone.site, port.row, f"on {switch.name}", switch.row.uuid)


def delivered(zone: Zone, switch: Switch, port: SwitchPort, way: Way) -> Trace:
    return Trace(
        way.packet,
        way.hops,
        End.DELIVERED,
        zone.site,
        port.row,
        f"to {port.name}",
        switch.row.uuid,
        port.name,
    )


def refused(zone: Zone, port: SwitchPort, way: Way) -> Trace | None:
    """Port security, for a packet with the port's own MAC."""
    macs = {o.mac for o in port.owned}
    own = [s for s in port.security if s.mac in macs or not macs]
    if not port.security or any(s.lets(way.packet.family, way.packet.src) for s in own):
        return None
    return end(zone, way, End.DROPPED, port.row, f"port security of {port.name}")


def neighbour(switch: Switch, packet: Packet) -> int | None:
    """The MAC of a machine on the same switch that has the destination's address."""
    wanted = (packet.family, packet.dst)
    for port in switch.ports:
        if port.type != "remote" and not port.router_port:
            for owned in port.owned:
                if wanted in owned.addresses:
                    return owned.mac
    return None


def doors_of(zone: Zone, switch: Switch) -> list[RouterPort]:
    found = (zone.router_ports.get(p.router_port) for p in switch.ports if p.router_port)
    return [p for p in found if p is not None]


def inadmissible(zone: Zone, router: Router, port: RouterPort, mac: int, way: Way) -> Trace | None:
    """Admission and IP input: what is dropped, or answered by the router itself, before routing."""
    packet = way.packet
    drops = (
        (not port.enabled, port.row, f"port {port.name} is disabled"),
        (mac != port.mac, port.row, f"port {port.name} has another MAC"),
        (bad_source(router, packet), port.row, "source is the router's own, a broadcast or not routable"),
        (multicast(packet), router.row, "multicast or loopback is not routed"),
    )
    for true, row, reason in drops:
        if true:
            return end(zone, way, End.DROPPED, row, reason)
    if (row_or_none := translates_destination(router, packet)) is not None:
        return end(zone, way, End.UNKNOWN, row_or_none, "destination NAT is not modelled")
    return taken_by_router(zone, router, way)


def taken_by_router(zone: Zone, router: Router, way: Way) -> Trace | None:
    packet = way.packet
    own = next((p for p in router.ports if p.owns(packet.family, packet.dst)), None)
    if own is not None:
        return end(zone, way, End.ROUTER, own.row, f"{router.name} itself has {packet.target}")
    if packet.ttl <= 1:
        return end(zone, way, End.DROPPED, router.row, "TTL exceeded")
    if (row := balancer(zone, router.balancers, packet)) is not None:
        return end(zone, way, End.UNKNOWN, row, "a load balancer takes the packet")
    return None


def bad_source(router: Router, packet: Packet) -> bool:
    src = packet.src
    if packet.family == 6:
        return False
    if src >> 28 == 0xE or src == 0xFFFFFFFF or src >> 24 in (0, 127):
        return True
    return any(src in port.refused for port in router.ports)


def multicast(packet: Packet) -> bool:
    if packet.family == 6:
        return packet.dst >> 120 == 0xFF
    return packet.dst >> 28 == 0xE or packet.dst == 0xFFFFFFFF or packet.dst >> 24 in (0, 127)


def reroutes(router: Router, rule: Rule) -> bool:
    """northd makes no flow of a reroute with a next hop that no port can reach, or with mixed families."""
    families = set()
    for word in rule.nexthops:
        try:
            address = ip_address(word)
        except ValueError:
            return False
        families.add(address.version)
        if port_towards(router.ports, address.version, int(address)) is None:
            return False
    return len(families) == 1


def resolve(zone: Zone, switch: Switch, out: RouterPort, door: SwitchPort, nexthop: NextHop) -> tuple[int, ...]:
    """MACs that northd presets for an address behind a router port; several where rows contradict each other.

    Of other routers' ports it presets none where the router has `dynamic_neigh_routers`: who answers there is the same,
    but a row of Static_MAC_Binding is believed before anybody is asked.
    """
    told = zone.told.get((out.name, *nexthop))
    asks = zone.routers[out.router].options.get("dynamic_neigh_routers") == "true"
    found: list[int] = []
    near = out.member(*nexthop) is not None
    for port in switch.ports:
        if not port.router_port:
            if near and port.enabled and port.type != "virtual":
                found += [o.mac for o in port.owned if nexthop in o.addresses]
        elif door.enabled and port.router_port != out.name and not (asks and told is not None):
            peer = zone.router_ports.get(port.router_port)
            if peer is not None and peer.owns(*nexthop):
                found.append(peer.mac)
    if told is not None and not found:
        found.append(told)
    return tuple(dict.fromkeys(found))
