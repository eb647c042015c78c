"""Source addresses that must not pass from a sender to a target, and who could send with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from isthmus.verify import neutron
from isthmus.verify.expect import Expectation, Pair
from isthmus.verify.matrix import Answer, Finding, Matrix
from isthmus.verify.path import RowRef
from isthmus.verify.place import Place
from isthmus.verify.steps import OUTSIDE as LEADING_OUT
from isthmus.verify.steps import may_send
from isthmus.verify.zone import SwitchPort

Address = IPv4Address | IPv6Address

OUTSIDE = (IPv4Address("203.0.113.77"), IPv6Address("2001:db8:77::77"))
"""Source addresses that belong to nobody (RFC 5737, RFC 3849)."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A listed address of the sender's own router can be sent from where it does not belong, and arrives.

    row    the port that nobody holds to its own addresses, or the one that leads out of OVN
    ports  how many are like it
    known  Neutron means it so: nothing on its router tells by which port a packet came in (ADR 0015)
    """

    row: RowRef
    ports: int
    known: bool
    finding: Finding


class Lies:
    """Not a lie is the address of another listed subnet of the sender's own router: the segments of one side may speak
    for each other. Tried are the addresses that some row lets pass: the target's legal partners, and what hangs on the
    sender's own router; and one that belongs to nobody.

    On a router that Neutron keeps there is no policy of ours, so that the edge believes every listed address that comes
    from it. There it is port security that keeps machines of other subnets honest: what they can send is asked of
    their ports, one by one.
    """

    def __init__(self, matrix: Matrix, expectation: Expectation) -> None:
        self.matrix = matrix
        self.partners: dict[Place, list[Place]] = {}
        self.homes: dict[tuple[str, str], list[Place]] = {}
        for pair in expectation.pairs():
            if pair.wanted:
                self.partners.setdefault(pair.target, []).append(pair.source)
        for place in expectation.places:
            self.homes.setdefault((place.site, place.vpc), []).append(place)
        self._kept = {home: self._keeps(places) for home, places in self.homes.items()}

    def of(self, pair: Pair) -> Iterator[Address]:
        """What nobody may get through, from wherever on the sender's segment she sends it."""
        families = {p.version for p in pair.target.prefixes}
        home = (pair.source.site, pair.source.vpc)
        partners = self.partners.get(pair.target, [])
        at_home = pair.wanted or self._kept[home]
        tried = [p for p in partners if not (at_home and (p.site, p.vpc) == home)]
        if not pair.wanted:
            # No lie, but perhaps another router of the segment takes it.
            tried.append(pair.source)
        if pair.interconnects:
            yield from (a for a in OUTSIDE if a.version in families)
            tried += [p for p in self.homes[home] if p != pair.source and p not in partners]
        yield from self._addresses(tried, families)

    def spoken(self, pair: Pair) -> tuple[Spoken, ...]:
        """Who on the sender's segment can speak for a listed subnet of the same router, where Neutron keeps it."""
        home = (pair.source.site, pair.source.vpc)
        if pair.wanted or not self._kept[home]:
            return ()
        here = set(self.matrix.switches(pair.source))
        partners = [
            p
            for p in self.partners.get(pair.target, [])
            if (p.site, p.vpc) == home and not here & set(self.matrix.switches(p))
        ]
        found: dict[RowRef, Spoken] = {}
        for address in self._addresses(partners, {*(p.version for p in pair.target.prefixes)}):
            for port, many in self._speakers(pair.source, address):
                name = port.name if port.machine else None
                finding = self.matrix.attack(pair.source, pair.target, [address], name)
                if finding.answer is not Answer.NO:
                    known = not self._drifted(pair.source.site, port)
                    found.setdefault(port.row, Spoken(port.row, many, known, finding))
        return tuple(found.values())

    def _addresses(self, places: list[Place], families: Collection[int]) -> Iterator[Address]:
        for place in places:
            for prefix in place.prefixes:
                if prefix.version in families:
                    yield from self.matrix.classes(place, prefix)[:1]

    def _keeps(self, places: list[Place]) -> bool:
        zone = self.matrix.world.zones[places[0].site]
        ports = (zone.router_ports.get(door) for place in places for door in place.doors)
        return any(neutron.keeps(zone.routers[p.router].record) for p in ports if p)

    def _speakers(self, place: Place, address: Address) -> list[tuple[SwitchPort, int]]:
        """Ports by which a packet with this source can come onto the segment: of those treated alike one, how many."""
        zone = self.matrix.world.zones[place.site]
        kinds: dict[object, list[SwitchPort]] = {}
        for switch in self.matrix.switches(place):
            for port in zone.switches[switch].ports:
                if port.machine and port.enabled and may_send(port, address.version, int(address)):
                    alike = zone.memberships.get(port.name), bool(port.security)
                    kinds.setdefault(alike, []).append(port)
                elif port.type in LEADING_OUT and not port.machine:
                    kinds.setdefault(port.type, []).append(port)
        return [(ports[0], len(ports)) for ports in kinds.values()]

    def _drifted(self, site: str, port: SwitchPort) -> bool:
        """Neutron gave the port security, and its row has lost it."""
        checked = f"@{neutron.DROP}" in self.matrix.world.zones[site].memberships.get(port.name, ())
        return port.machine and checked and not port.security
