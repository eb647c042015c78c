"""Which subnet reaches which, by the rows: representative packets instead of all packets.

Two addresses that no constant of any row tells apart are treated alike, so one of each class is enough. Constants are
taken from routes, networks, policies, ACLs, NAT and load balancers of every site.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from isthmus.model.intent import Prefix
from isthmus.verify.classes import cuts, kinds
from isthmus.verify.path import End, Packet, Trace
from isthmus.verify.place import Place
from isthmus.verify.reach import Entry, World, traces
from isthmus.verify.zone import Switch, Zone


class Answer(Enum):
    """What the rows say of a pair."""

    YES = "yes"
    PARTLY = "partly"
    """Some packets, or some branches, arrive."""
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`arrives` is one trace that arrives, `fails` one that does not or cannot be judged, where there is such."""

    answer: Answer
    arrives: Trace | None = None
    fails: Trace | None = None


class Matrix:
    """Asks a World about pairs of places; every trace is followed once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._cuts = {family: sorted(found) for family, found in cuts(world).items()}
        self._kinds = tuple(kinds(world))
        self._traces: dict[tuple[Entry, Packet], tuple[Trace, ...]] = {}
        self._classes: dict[tuple[Place, Prefix], tuple[IPv4Address | IPv6Address, ...]] = {}
        self._switches: dict[Place, tuple[str, ...]] = {}

    def pair(self, source: Place, target: Place) -> Finding:
        """Packets of `source`, sent by its own router."""
        found = [t for p in self._packets(source, target) for t in self.traces(source, p, source.doors)]
        return self._judge(found, target)

    def attack(self, source: Place, target: Place, sources: Iterable[IPv4Address | IPv6Address]) -> Finding:
        """Packets with one of `sources` as their address, sent to every router port on `source`'s switch."""
        found: list[Trace] = []
        for address in sources:
            for prefix in target.prefixes:
                if prefix.version == address.version:
                    for host in self.classes(target, prefix):
                        for packet in self._of_each_kind(prefix.version, int(address), int(host)):
                            found += self.traces(source, packet, None)
        return self._judge(found, target)

    def traces(self, source: Place, packet: Packet, doors: tuple[str, ...] | None) -> tuple[Trace, ...]:
        """Branches of a packet from a machine of `source`; `doors` None: by every router port of the switch."""
        found: list[Trace] = []
        zone = self.world.zones[source.site]
        for switch in self.switches(source):
            for door in self._chosen(zone.switches[switch], packet, doors):
                found += self._follow(Entry(source.site, switch, door=door), packet)
        return tuple(found)

    def _chosen(self, switch: Switch, packet: Packet, doors: tuple[str, ...] | None) -> list[str | None]:
        """Names of router ports; of several that are the place's own, those in the network of the packet's source."""
        chosen = [p.router_port for p in switch.ports if p.router_port and (doors is None or p.router_port in doors)]
        if doors is not None and len(chosen) > 1:
            ports = self.world.zones[switch.row.site].router_ports
            near = [n for n in chosen if n in ports and ports[n].member(packet.family, packet.src)]
            chosen = near or chosen
        return [*chosen] or [None]

    def _follow(self, entry: Entry, packet: Packet) -> tuple[Trace, ...]:
        key = (entry, packet)
        if key not in self._traces:
            self._traces[key] = traces(self.world, entry, packet, anybody=True)
        return self._traces[key]

    def switches(self, place: Place) -> tuple[str, ...]:
        """As `switches_of`."""
        if place not in self._switches:
            self._switches[place] = switches_of(self.world.zones[place.site], place)
        return self._switches[place]

    def _packets(self, source: Place, target: Place) -> Iterator[Packet]:
        for one in source.prefixes:
            for other in target.prefixes:
                if one.version != other.version:
                    continue
                for src in self.classes(source, one):
                    for dst in self.classes(target, other):
                        yield from self._of_each_kind(one.version, int(src), int(dst))

    def _of_each_kind(self, family: int, src: int, dst: int) -> Iterator[Packet]:
        for protocol, sport, dport in self._kinds:
            yield replace(Packet.between(family, src, dst, protocol), sport=sport, dport=dport)

    def classes(self, place: Place, prefix: Prefix) -> tuple[IPv4Address | IPv6Address, ...]:
        """One usable host address of each class of a place's prefix."""
        key = (place, prefix)
        if key not in self._classes:
            self._classes[key] = tuple(self._representatives(place, prefix))
        return self._classes[key]

    def bounds(self, prefix: Prefix) -> list[int]:
        """Where classes of a prefix begin, and where its last one has ended."""
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        cuts = self._cuts[prefix.version]
        return [first, *cuts[bisect_left(cuts, first + 1) : bisect_left(cuts, last + 1)], last + 1]

    def kind(self, family: int, number: int) -> int:
        """Which of all classes an address is in."""
        return bisect_right(self._cuts[family], number)

    def _representatives(self, place: Place, prefix: Prefix) -> Iterator[IPv4Address | IPv6Address]:
        taken, had = self._taken(place, prefix.version)
        if prefix.num_addresses > 2:
            taken |= {int(prefix.network_address), int(prefix.broadcast_address)}
        for low, high in pairwise(self.bounds(prefix)):
            host = _free(low, high, taken | had)
            if host is None and had:
                host = _free(low, high, taken)
            if host is not None:
                yield IPv4Address(host) if prefix.version == 4 else IPv6Address(host)

    def _taken(self, place: Place, family: int) -> tuple[set[int], set[int]]:
        """Addresses of router ports on the place's switches, which no machine has; and those that machines have.

        What is asked is the subnet, so that an address without a port is better: a port may be disabled, or elsewhere.
        """
        zone = self.world.zones[place.site]
        ports = [p for u in self.switches(place) for p in zone.switches[u].ports]
        doors = {p.router_port for p in ports} | set(place.doors)
        found = [port for name in doors if (port := zone.router_ports.get(name))]
        had = {n for p in ports if p.machine for o in p.owned for f, n in o.addresses if f == family}
        return {int(n.ip) for p in found for n in p.networks if n.version == family}, had

    def _judge(self, found: list[Trace], target: Place) -> Finding:
        switches = self.switches(target)
        good: list[Trace] = []
        bad: list[Trace] = []
        for trace in found:
            arrived = trace.end is End.DELIVERED and trace.site == target.site and trace.switch in switches
            (good if arrived else bad).append(trace)
        unknown = next((t for t in bad if t.end is End.UNKNOWN), None)
        arrives, fails = (good[0] if good else None), (unknown or (bad[0] if bad else None))
        if unknown is not None:
            return Finding(Answer.UNKNOWN, arrives, fails)
        if not good:
            return Finding(Answer.NO, None, fails)
        return Finding(Answer.PARTLY if bad else Answer.YES, arrives, fails)


def switches_of(zone: Zone, place: Place) -> tuple[str, ...]:
    """UUIDs of a place's switches: those behind its doors, by its name where several are."""
    behind = {p.switch for door in place.doors for p in zone.doors.get(door, ())}
    named = {u for u, s in zone.switches.items() if place.name in (s.name, u)}
    return tuple(sorted(behind & named or named or behind))


def _free(low: int, high: int, taken: set[int]) -> int | None:
    """The first number from `low` to before `high` that is not taken."""
    return next((n for n in range(low, min(high, low + len(taken) + 1)) if n not in taken), None)
