"""Where a packet goes, from northbound rows alone: an interpreter of OVN that shares nothing with the compiler.

It follows what northd 23.03 makes of rows, through all sites, and explores every branch that OVN leaves open (ECMP,
equal priorities, doubled MACs). What it cannot read ends as `unknown`, never as isolation. Held against ovn-trace by
tests/ovsdb/test_reach_like_ovn_trace.py.

Not modelled, so that a packet that meets it ends `unknown`: destination NAT, load balancers, matches on conntrack,
registers or residence. Not modelled at all: flows of connections that exist already, machines that forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from isthmus.model.rows import Snapshot
from isthmus.verify.columns import Owned
from isthmus.verify.lpm import Member, Table
from isthmus.verify.path import End, Hop, Packet, RowRef, Trace
from isthmus.verify.routes import forwarding, port_towards
from isthmus.verify.rules import (
    Verdict,
    balancer,
    facts,
    filtered,
    judge,
    source_translation,
)
from isthmus.verify.steps import (
    OUTSIDE,
    NextHop,
    Way,
    aged,
    delivered,
    doors_of,
    end,
    inadmissible,
    neighbour,
    policy_end,
    refused,
    reroutes,
    resolve,
    ruled,
    segment,
    verdict_end,
)
from isthmus.verify.zone import Router, RouterPort, Switch, SwitchPort, Zone

BRANCHES = 512
"""More branches than these end as unknown."""


class World:
    """Every site's rows, indexed once.

    `derive_remotes` is for rows that no ovn-ic has seen (a plan, a test written by hand): the remote ports of transit
    switches are then concluded from the other sites' router ports instead of read.
    """

    def __init__(self, sites: Mapping[str, Snapshot], *, derive_remotes: bool = False) -> None:
        self.zones = {name: Zone(name, snapshot) for name, snapshot in sites.items()}
        self.tables: dict[str, dict[str, Table]] = {name: forwarding(z) for name, z in self.zones.items()}
        if derive_remotes:
            self._derive_remotes()

    def _derive_remotes(self) -> None:
        for zone in self.zones.values():
            for switch in zone.switches.values():
                if switch.interconn:
                    local = [p for p in switch.ports if p.type != "remote"]
                    switch.ports[:] = [*local, *self._remotes(zone, switch)]

    def _remotes(self, zone: Zone, switch: Switch) -> Iterator[SwitchPort]:
        for other in self.zones.values():
            if other is zone:
                continue
            for far in other.switches.values():
                if far.interconn == switch.interconn:
                    for port in far.ports:
                        peer = other.router_ports.get(port.router_port)
                        if peer is not None:
                            owned = (Owned(peer.mac, peer.addresses),)
                            yield replace(port, type="remote", switch=switch.row.uuid, owned=owned)

    def far_end(self, zone: Zone, switch: Switch, name: str) -> tuple[Zone, SwitchPort] | None:
        """The port of another site that a remote port stands for."""
        for other in self.zones.values():
            port = other.switch_ports.get(name)
            if other is zone or port is None or port.type == "remote":
                continue
            if other.switches[port.switch].interconn == switch.interconn:
                return other, port
        return None


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a packet enters: a switch, by a port (`lsp`) or as a machine that has no port of its own yet.

    door  name of the router port that the machine takes as its router; None: every one on the switch
    """

    site: str
    switch: str
    lsp: str | None = None
    door: str | None = None


def traces(world: World, entry: Entry, packet: Packet, *, anybody: bool = False) -> tuple[Trace, ...]:
    """Every branch of the packet's way. At least one trace; raises KeyError for an entry that does not exist.

    anybody  a machine that it arrives at counts as one that came by a new port: no rule knows its name, or its groups
    """
    found: list[Trace] = []
    walker = _Walker(world, anybody)
    zone = world.zones[entry.site]
    switch = zone.switches[entry.switch]
    for trace in walker.enter(zone, switch, entry, packet):
        found.append(trace)
        if len(found) > BRANCHES:
            found.append(replace(trace, end=End.UNKNOWN, reason=f"more than {BRANCHES} branches"))
            break
    return tuple(found)


class _Walker:
    def __init__(self, world: World, anybody: bool) -> None:
        self.world, self.anybody = world, anybody

    def enter(self, zone: Zone, switch: Switch, entry: Entry, packet: Packet) -> Iterator[Trace]:
        port = zone.switch_ports[entry.lsp] if entry.lsp else None
        way = Way(packet)
        if port is not None and (ending := refused(zone, port, way)):
            yield ending
            return
        if (local := neighbour(switch, packet)) is not None:
            yield from self.switched(zone, switch, port, local, way)
            return
        doors = [d for d in doors_of(zone, switch) if entry.door in (None, d.name)]
        if port is None or entry.door is None:
            # A machine's router is the one in its own network; without one any will do.
            doors = [d for d in doors if d.member(packet.family, packet.src)] or doors
        if not doors:
            yield end(zone, way, End.DROPPED, switch.row, f"{switch.name} has no router port")
        for door in doors:
            if door.member(packet.family, packet.dst) and not door.owns(packet.family, packet.dst):
                # The destination is in the machine's own network: it asks the neighbours, not the router.
                yield segment(zone, switch, way, door)
            else:
                yield from self.switched(zone, switch, port, door.mac, way)

    def switched(self, zone: Zone, switch: Switch, port: SwitchPort | None, mac: int, way: Way) -> Iterator[Trace]:
        """A packet for `mac` in the ingress pipeline of a switch."""
        if port is not None and not port.enabled:
            yield end(zone, way, End.DROPPED, port.row, f"port {port.name} is disabled")
            return
        verdict = filtered(zone, switch, way.packet, "from-lport", inport=port.name if port else "")
        if verdict.word != "allow":
            yield verdict_end(zone, way, verdict, switch)
            return
        if verdict.rule is not None:
            way = replace(way, admitted=(verdict.rule.row,))
        if (port is None or not port.router_port) and (row := balancer(zone, switch.balancers, way.packet)):
            yield end(zone, way, End.UNKNOWN, row, "a load balancer takes the packet")
            return
        out = [p for p in switch.ports if p.type != "external" and any(o.mac == mac for o in p.owned)]
        if not out:
            yield self.flooded(zone, switch, port, way)
        for target in out:
            yield from self.leave_switch(zone, switch, port, target, mac, way)

    def flooded(self, zone: Zone, switch: Switch, port: SwitchPort | None, way: Way) -> Trace:
        outside = next((p for p in switch.ports if p.unknown and p.enabled and p is not port), None)
        if outside is None:
            return end(zone, way, End.DROPPED, switch.row, f"no port of {switch.name} has the MAC")
        return end(zone, way, End.LEFT, outside.row, f"to {outside.name}, which has unknown addresses")

    def leave_switch(
        self, zone: Zone, switch: Switch, came: SwitchPort | None, target: SwitchPort, mac: int, way: Way
    ) -> Iterator[Trace]:
        if not target.enabled:
            yield end(zone, way, End.DROPPED, target.row, f"port {target.name} is disabled")
            return
        if target is came:
            yield end(zone, way, End.DROPPED, target.row, f"it would leave by {target.name}, where it came in")
            return
        hop = Hop(zone.site, switch.row, came.name if came else "", target.name, (*way.admitted, target.row))
        onward = replace(way, hops=(*way.hops, hop), admitted=())
        if target.type == "remote":
            yield from self.crossed(zone, switch, came, target, mac, onward)
            return
        yield from self.emerge(zone, switch, target, mac, onward)

    def emerge(self, zone: Zone, switch: Switch, target: SwitchPort, mac: int, way: Way) -> Iterator[Trace]:
        """The egress pipeline of a switch, in the zone that `target` is in."""
        name = "" if self.anybody and target.machine else target.name
        verdict = filtered(zone, switch, way.packet, "to-lport", outport=name)
        way = ruled(way, switch, verdict)
        if verdict.word != "allow":
            yield verdict_end(zone, way, verdict, switch)
        elif target.type in OUTSIDE:
            yield end(zone, way, End.LEFT, target.row, f"by {target.type} port {target.name}")
        elif target.type == "router":
            yield from self.through_door(zone, target, mac, way)
        elif target.type in ("", "virtual", "localport"):
            yield delivered(zone, switch, target, way)
        else:
            yield end(zone, way, End.UNKNOWN, target.row, f"a port of type {target.type}")

    def through_door(self, zone: Zone, target: SwitchPort, mac: int, way: Way) -> Iterator[Trace]:
        port = zone.router_ports.get(target.router_port)
        if port is None:
            yield end(zone, way, End.DROPPED, target.row, f"no router has port {target.router_port or '(none)'}")
        else:
            yield from self.routed(zone, port, mac, way)

    def crossed(
        self, zone: Zone, switch: Switch, came: SwitchPort | None, target: SwitchPort, mac: int, way: Way
    ) -> Iterator[Trace]:
        """Over the transit switch, into the zone that has the port."""
        near = zone.router_ports.get(came.router_port) if came else None
        far = self.world.far_end(zone, switch, target.name) if switch.interconn else None
        if far is None:
            yield end(zone, way, End.DROPPED, target.row, f"no other site has port {target.name}")
            return
        other, port = far
        peer = other.router_ports.get(port.router_port)
        if peer is None:
            yield end(other, way, End.DROPPED, port.row, f"no router has port {port.router_port or '(none)'}")
        elif not peer.gateway:
            yield end(other, way, End.DROPPED, peer.row, f"{peer.name} has no gateway chassis")
        elif near is None or not near.gateway:
            row = near.row if near else switch.row
            yield end(zone, way, End.UNKNOWN, row, "without a gateway chassis only gateway hosts can send")
        else:
            far_switch = other.switches[port.switch]
            yield from self.emerge(other, far_switch, port, mac, way)

    def routed(self, zone: Zone, port: RouterPort, mac: int, way: Way) -> Iterator[Trace]:
        """The ingress pipeline of a router, from admission to the routing decision."""
        router = zone.routers[port.router]
        if (ending := inadmissible(zone, router, port, mac, way)) is not None:
            yield ending
            return
        packet = way.packet
        mark = (port.name, router.row.uuid, packet.src, packet.dst)
        if mark in way.seen:
            yield end(zone, way, End.DROPPED, router.row, "a routing loop: it goes round until its TTL ends")
            return
        way = replace(way, seen=way.seen | {mark})
        table = self.world.tables[zone.site][router.row.uuid]
        in_table = port.options.get("route_table", "")
        routes = table.lookup(packet.family, packet.src, packet.dst, port.name, in_table)
        # A source route of length 0 has the priority of northd's own last flow, which drops: either may win.
        if not routes or routes[0].priority == 0:
            yield end(zone, way, End.DROPPED, router.row, f"{router.name} has no route to {packet.target}")
        for route in routes:
            if not route.members:
                yield end(zone, way, End.DROPPED, route.row, "the route discards")
            for member in route.members:
                yield from self.chosen(zone, router, port, member, replace(way, packet=aged(packet)))

    def chosen(self, zone: Zone, router: Router, port: RouterPort, member: Member, way: Way) -> Iterator[Trace]:
        """A route has been chosen: now the policies."""
        out = zone.router_ports.get(member.port) if member.port else None
        if out is None:
            yield end(zone, way, End.DROPPED, member.row, "its next hop leads nowhere, yet it is a part of ECMP")
            return
        rules = [r for r in router.policies if r.action != "reroute" or reroutes(router, r)]
        about = facts(way.packet, zone.sets, inport=port.name, outport=out.name)
        verdicts = judge(rules, about) or (Verdict("allow"),)
        for verdict in verdicts:
            rows = (member.row, verdict.rule.row) if verdict.rule else (member.row,)
            if verdict.word == "allow":
                number = way.packet.dst if member.nexthop is None else member.nexthop
                hop = (way.packet.family, number)
                yield from self.leave_router(zone, router, port, out, hop, rows, way)
            elif verdict.word == "reroute" and verdict.rule:
                for word in verdict.rule.nexthops:
                    hop = (ip_address(word).version, int(ip_address(word)))
                    towards = port_towards(router.ports, *hop)
                    if towards is not None:
                        yield from self.leave_router(zone, router, port, towards, hop, rows, way)
            else:
                yield policy_end(zone, router, way, verdict, port, member.row)

    def leave_router(
        self,
        zone: Zone,
        router: Router,
        came: RouterPort,
        out: RouterPort,
        nexthop: NextHop,
        rows: tuple[RowRef, ...],
        way: Way,
    ) -> Iterator[Trace]:
        """Resolve the next hop's MAC, and go out by `out`."""
        hop = Hop(zone.site, router.row, came.name, out.name, rows)
        way = replace(way, hops=(*way.hops, hop))
        if out.router != router.row.uuid:
            yield end(zone, way, End.DROPPED, rows[0], f"{out.name} is a port of another router")
            return
        if not out.enabled:
            yield end(zone, way, End.DROPPED, out.row, f"port {out.name} is disabled")
            return
        translated = source_translation(router, way.packet, out)
        if translated is not None:
            nat, source = translated
            if nat.excepted:
                yield end(zone, way, End.UNKNOWN, nat.row, "source NAT with exceptions")
                return
            hop = replace(hop, rows=(*rows, nat.row), note=f"source becomes {ip_address(nat.external)}")
            way = replace(way, packet=replace(way.packet, src=source), hops=(*way.hops[:-1], hop))
        doors = zone.doors.get(out.name, [])
        peer = zone.router_ports.get(out.peer) if out.peer else None
        if peer is not None and peer.peer == out.name:
            yield from self.to_peer(zone, out, peer, nexthop, way)
        elif not doors:
            yield end(zone, way, End.DROPPED, out.row, f"port {out.name} leads nowhere")
        for door in doors:
            yield from self.resolved(zone, router, out, door, nexthop, way)

    def to_peer(self, zone: Zone, out: RouterPort, peer: RouterPort, nexthop: NextHop, way: Way) -> Iterator[Trace]:
        if peer.owns(*nexthop):
            yield from self.routed(zone, peer, peer.mac, way)
        else:
            yield end(zone, way, End.DROPPED, out.row, f"{peer.name} does not have the next hop's address")

    def resolved(
        self, zone: Zone, router: Router, out: RouterPort, door: SwitchPort, nexthop: NextHop, way: Way
    ) -> Iterator[Trace]:
        switch = zone.switches[door.switch]
        macs = resolve(zone, switch, out, door, nexthop)
        for mac in macs:
            yield from self.switched(zone, switch, door, mac, way)
        if not macs:
            yield self.unresolved(zone, switch, out, door, nexthop, way)

    def unresolved(
        self, zone: Zone, switch: Switch, out: RouterPort, door: SwitchPort, nexthop: NextHop, way: Way
    ) -> Trace:
        """The router asks the segment who has the address; the rows do not know."""
        if not door.enabled:
            return end(zone, way, End.DROPPED, door.row, f"port {door.name} is disabled")
        verdict = filtered(zone, switch, way.packet, "from-lport", inport=door.name)
        if verdict.word == "allow":
            verdict = filtered(zone, switch, way.packet, "to-lport", outport="")
        if verdict.word != "allow":
            return verdict_end(zone, way, verdict, switch)
        if nexthop == (way.packet.family, way.packet.dst):
            return segment(zone, switch, way, out)
        outside = next((p for p in switch.ports if p.enabled and (p.unknown or p.type in OUTSIDE)), None)
        if outside is None:
            return end(zone, way, End.DROPPED, switch.row, f"nobody on {switch.name} has the next hop's address")
        return end(zone, way, End.LEFT, outside.row, f"to a next hop outside of OVN, by {outside.name}")
