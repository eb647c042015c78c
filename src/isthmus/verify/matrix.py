"""Which subnet reaches which, by the rows: representative packets instead of all packets.

Two addresses that no constant of any row tells apart are treated alike, so one of each class is enough. Constants are
taken from routes, networks, policies, ACLs, NAT and load balancers of every site.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_interface
from itertools import pairwise, product

from isthmus.model.intent import Prefix
from isthmus.verify.match import constants
from isthmus.verify.path import End, Packet, Trace
from isthmus.verify.place import Place
from isthmus.verify.reach import Entry, World, traces
from isthmus.verify.zone import Zone, mapping, text, texts

_USUAL = Packet(4, 0, 0)
_PORT = re.compile(r"\b(tcp|udp)\.(src|dst)\s*([=!<>]=?)\s*(\{[^}]*\}|\d+)")


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
        self._cuts = {family: sorted(found) for family, found in _cuts(world).items()}
        self._kinds = tuple(_kinds(world))
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
        for switch in self.switches(source):
            zone = self.world.zones[source.site]
            here = [p.router_port for p in zone.switches[switch].ports if p.router_port]
            chosen: list[str | None] = [w for w in here if doors is None or w in doors]
            for door in chosen or [None]:
                found += self._follow(Entry(source.site, switch, door=door), packet)
        return tuple(found)

    def _follow(self, entry: Entry, packet: Packet) -> tuple[Trace, ...]:
        key = (entry, packet)
        if key not in self._traces:
            self._traces[key] = traces(self.world, entry, packet)
        return self._traces[key]

    def switches(self, place: Place) -> tuple[str, ...]:
        """UUIDs of a place's switches: those behind its doors, by its name where several are."""
        if place not in self._switches:
            self._switches[place] = self._find_switches(place)
        return self._switches[place]

    def _find_switches(self, place: Place) -> tuple[str, ...]:
        zone = self.world.zones[place.site]
        behind = {p.switch for door in place.doors for p in zone.doors.get(door, ())}
        named = {u for u, s in zone.switches.items() if place.name in (s.name, u)}
        return tuple(sorted(behind & named or named or behind))

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

    def _representatives(self, place: Place, prefix: Prefix) -> Iterator[IPv4Address | IPv6Address]:
        first, last = int(prefix.network_address), int(prefix.broadcast_address)
        cuts = self._cuts[prefix.version]
        inside = cuts[bisect_left(cuts, first + 1) : bisect_left(cuts, last + 1)]
        taken = self._taken(place, prefix.version)
        if prefix.num_addresses > 2:
            taken |= {first, last}
        bounds = [first, *inside, last + 1]
        for low, high in pairwise(bounds):
            host = next((n for n in range(low, min(high, low + len(taken) + 1)) if n not in taken), None)
            if host is not None:
                yield IPv4Address(host) if prefix.version == 4 else IPv6Address(host)

    def _taken(self, place: Place, family: int) -> set[int]:
        """Addresses of router ports on the place's switches: no machine has them."""
        zone = self.world.zones[place.site]
        ports = {p.router_port for u in self.switches(place) for p in zone.switches[u].ports}
        found = [port for name in ports | set(place.doors) if (port := zone.router_ports.get(name))]
        return {int(n.ip) for p in found for n in p.networks if n.version == family}

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


def _kinds(world: World) -> Iterator[tuple[str, int, int]]:
    """Protocol, source and destination port: the usual ones, and those that some router policy tells apart.

    Not those of ACLs: isolation is made by policies, and what an ACL closes on a port is a security group's affair.
    """
    ports: dict[tuple[str, str], set[int]] = {}
    for zone in world.zones.values():
        for rule in _matches(zone.table("Logical_Router_Policy")):
            for protocol, end, relation, words in _PORT.findall(rule):
                around = (0,) if relation in ("==", "!=") else (-1, 0, 1)
                for number in map(int, re.findall(r"\d+", words)):
                    ports.setdefault((protocol, end), set()).update(number + n for n in around)
    yield "icmp", _USUAL.sport, _USUAL.dport
    for protocol in ("tcp", "udp"):
        sources = {_USUAL.sport} | ports.get((protocol, "src"), set())
        targets = {_USUAL.dport} | ports.get((protocol, "dst"), set())
        for sport, dport in product(sorted(sources), sorted(targets)):
            if 0 <= sport < 65536 and 0 <= dport < 65536:
                yield protocol, sport, dport


def _cuts(world: World) -> dict[int, set[int]]:
    """Family -> the first number of every class: where an interval of some row begins, or has just ended."""
    found: dict[int, set[int]] = {4: set(), 6: set()}
    for zone in world.zones.values():
        for family, low, high in _intervals(zone):
            found[family] |= {low, high + 1}
    return found


def _intervals(zone: Zone) -> Iterator[tuple[int, int, int]]:
    for words in _words(zone):
        try:
            own = ip_interface(words)
        except ValueError:
            continue
        network = own.network
        yield own.version, int(network.network_address), int(network.broadcast_address)
        yield own.version, int(own.ip), int(own.ip)
    for rule in _rules(zone):
        for family, (low, high) in constants(rule):
            yield family, low, high


def _words(zone: Zone) -> Iterator[str]:
    """Every prefix and address outside of matches."""
    for port in zone.table("Logical_Router_Port").values():
        yield from texts(port.get("networks"))
    for route in zone.table("Logical_Router_Static_Route").values():
        yield text(route.get("ip_prefix"))
    for nat in zone.table("NAT").values():
        yield text(nat.get("external_ip"))
        yield text(nat.get("logical_ip"))
    for balancer in zone.table("Load_Balancer").values():
        for vip in mapping(balancer.get("vips")):
            yield vip[1:].partition("]")[0] if vip.startswith("[") else vip if vip.count(":") > 1 else vip.split(":")[0]
    policies = " ".join(_matches(zone.table("Logical_Router_Policy")))
    for name, members in zone.sets.items():
        if f"${name}" in policies:
            yield from members


def _rules(zone: Zone) -> Iterator[str]:
    yield from _matches(zone.table("Logical_Router_Policy"))
    yield from _matches(zone.table("ACL"))


def _matches(table: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    for record in table.values():
        match = record.get("match")
        if isinstance(match, str):
            yield match
