"""What the intent wants, as a matrix of subnets: it knows documents and facts, but no row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from isthmus.model.facts import Role, Subnet, Vpc
from isthmus.model.intent import Configuration
from isthmus.verify.cluster import Networks
from isthmus.verify.place import Place

Listed = Mapping[tuple[str, str], tuple[Subnet, ...]]
"""(Interconnect, Attachment) -> the subnets that it really connects."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An ordered pair of different subnets.

    wanted         a packet from `source` to `target` must arrive; none can where the two have no IP version in common
    native         both hang on one VPC router of somebody's, which joins them without us: not judged
    interconnects  those that list both, in different Attachments
    """

    source: Place
    target: Place
    wanted: bool
    native: bool
    interconnects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expectation:
    """All places, and what each owes each."""

    places: tuple[Place, ...]
    memberships: Mapping[Place, frozenset[tuple[str, str]]]
    """Place -> (Interconnect, Attachment) that list it; empty for what nobody listed."""
    kept: frozenset[Place] = frozenset()
    """Subnets of clusters: those of one Vpc owe each other everything, whoever lists them."""

    def pairs(self) -> Iterator[Pair]:
        """Every ordered pair, in the order of places."""
        for source in self.places:
            for target in self.places:
                if source != target:
                    yield self.pair(source, target)

    def pair(self, source: Place, target: Place) -> Pair:
        together = (source.site, source.vpc) == (target.site, target.vpc)
        kept = together and source in self.kept and target in self.kept
        common = {
            one
            for one, here in self.memberships[source]
            for other, there in self.memberships[target]
            if one == other and here != there
        }
        alike = {p.version for p in source.prefixes} & {p.version for p in target.prefixes}
        wanted = bool(alike) and (kept or (bool(common) and not together))
        return Pair(source, target, wanted, together and not kept, tuple(sorted(common)))

    def at(self, sites: Collection[str]) -> Expectation:
        """The part of these sites."""
        places = tuple(p for p in self.places if p.site in sites)
        return Expectation(places, {p: self.memberships[p] for p in places}, self.kept & set(places))


def expect(
    configuration: Configuration,
    listed: Listed,
    vpcs: Mapping[tuple[str, str], Vpc] | None = None,
    networks: Iterable[Networks] = (),
) -> Expectation:
    """The expected matrix.

    vpcs  (Interconnect, Attachment) -> its VPC router as the facts show it. With it, subnets of these routers that
          nobody listed, and their external networks, are places too; links are not. Without it VPCs are told apart by
          what the documents say.
    networks  of clusters whose own networks are judged as well
    """
    kept = frozenset(home.place for each in networks for home in each.homes)
    homes = {(p.site, door): p for p in kept for door in p.doors}
    memberships: dict[Place, set[tuple[str, str]]] = {place: set() for place in kept}
    for interconnect in configuration.interconnects:
        for attachment in interconnect.attachments:
            key = (interconnect.name, attachment.name)
            vpc = vpcs.get(key) if vpcs else None
            router = vpc.uuid if vpc else str(attachment.vpc)
            for subnet in listed.get(key, ()):
                known = [homes[attachment.site, p] for p in subnet.ports if (attachment.site, p) in homes]
                place = known[0] if known else Place.of_subnet(attachment.site, router, subnet)
                memberships.setdefault(place, set()).add(key)
    for place in _unlisted((vpcs or {}).values(), memberships):
        memberships.setdefault(place, set())
    places = sorted(memberships, key=lambda p: (p.site, p.vpc, p.name, p.doors))
    return Expectation(tuple(places), {p: frozenset(memberships[p]) for p in places}, kept)


def _unlisted(vpcs: Iterable[Vpc], known: Mapping[Place, object]) -> list[Place]:
    doors = {(p.site, d) for p in known for d in p.doors}
    found: dict[Place, None] = {}
    for vpc in vpcs:
        for port in vpc.ports:
            if port.role not in (Role.LINK, Role.SHARED) and port.prefixes and (vpc.site, port.name) not in doors:
                found[Place.of_port(vpc, port)] = None
    return list(found)
