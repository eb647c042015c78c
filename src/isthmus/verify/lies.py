"""Source addresses that must not pass from a sender to a target."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from isthmus.verify.expect import Expectation, Pair
from isthmus.verify.matrix import Matrix
from isthmus.verify.place import Place

OUTSIDE = (IPv4Address("203.0.113.77"), IPv6Address("2001:db8:77::77"))
"""Source addresses that belong to nobody (RFC 5737, RFC 3849)."""


class Lies:
    """Not a lie is the address of another listed subnet of the sender's own router: the segments of one side may speak
    for each other. Tried are the addresses that some row lets pass: the target's legal partners, and what hangs on the
    sender's own router; and one that belongs to nobody.
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

    def of(self, pair: Pair) -> Iterator[IPv4Address | IPv6Address]:
        families = {p.version for p in pair.target.prefixes}
        home = (pair.source.site, pair.source.vpc)
        partners = self.partners.get(pair.target, [])
        tried = [p for p in partners if not (pair.wanted and (p.site, p.vpc) == home)]
        if not pair.wanted:
            # No lie, but perhaps another router of the segment takes it.
            tried.append(pair.source)
        if pair.interconnects:
            yield from (a for a in OUTSIDE if a.version in families)
            tried += [p for p in self.homes[home] if p != pair.source and p not in partners]
        for place in tried:
            for prefix in place.prefixes:
                if prefix.version in families:
                    yield from self.matrix.classes(place, prefix)[:1]
