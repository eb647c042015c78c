"""What guests' own security groups let in from the other sides of an Interconnect, and out to them.

Isolation between subnets is `compare`'s affair, and is judged as if every machine were a new one. Here the ports that
are there are asked, by the ACLs that Neutron made of its security groups; ports that are treated alike only once.
What a tenant closes is told, not counted: it is hers. What an Attachment was asked to open and is closed all the same,
or is open to more than was asked for, is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isthmus.model.intent import Prefix
from isthmus.verify import neutron
from isthmus.verify.culprit import culprit, set_differences
from isthmus.verify.expect import Expectation
from isthmus.verify.lies import OUTSIDE
from isthmus.verify.matrix import Answer, switches_of
from isthmus.verify.opening import Door, Opening, Openings
from isthmus.verify.path import RowRef
from isthmus.verify.place import Place
from isthmus.verify.reach import World
from isthmus.verify.zone import SwitchPort, Zone


@dataclass(frozen=True, slots=True)
class Gate:
    """What an Attachment says of security groups, at a site where Neutron keeps them. Ids are Neutron's.

    groups  ids of `securityGroups`
    rules   ids of the rules that we keep there
    peers   name and id of the address group that holds what the other sides list; no id where there is none
    away    what it should hold; None where that cannot be told now
    """

    interconnect: str
    attachment: str
    site: str
    groups: tuple[str, ...] = ()
    rules: frozenset[str] = frozenset()
    peers: tuple[str, str] = ("", "")
    away: tuple[Prefix, ...] | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Ports alike of a subnet, and what they do not let pass, or let pass too much.

    kind        closed, partly, unknown; unenforced: nothing is filtered although the ports have security groups;
                narrowed, widened: the rows of our address group hold less or more than it should
    difference  it is for Isthmus or Neutron to repair; otherwise it is how the tenant has it
    ingress     of packets to the ports, or from them
    place       the subnet; None where an address group itself is meant
    peers       the other sides' subnets that it is about
    passes      what does pass, in words
    missing     IP versions for which a rule is missing
    """

    kind: str
    difference: bool
    gate: Gate
    row: RowRef
    reason: str
    ingress: bool = True
    place: Place | None = None
    peers: tuple[Place, ...] = ()
    ports: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    missing: tuple[int, ...] = ()


def admissions(world: World, expectation: Expectation, gates: Iterable[Gate]) -> tuple[Admission, ...]:
    """Everything that is not just open, in the order of gates and places."""
    asked = _Asked(world, expectation)
    return tuple(found for gate in gates if gate.site in world.zones for found in asked.of(gate))


def closed_pairs(found: Iterable[Admission]) -> frozenset[tuple[Place, Place]]:
    """(from, to): wanted pairs of which some ports do not let everything pass."""
    return frozenset(
        (peer, a.place) if a.ingress else (a.place, peer) for a in found if a.place is not None for peer in a.peers
    )


@dataclass(frozen=True, slots=True)
class _Alike:
    """Ports of one subnet that are treated alike; `groups` are the security groups that they have, or should."""

    zone: Zone
    ports: tuple[SwitchPort, ...]
    groups: tuple[str, ...]

    def door(self, ingress: bool) -> Door:
        return Door(self.zone, self.ports[0], ingress)


class _Asked:
    def __init__(self, world: World, expectation: Expectation) -> None:
        self.world, self.expectation = world, expectation
        self._openings = Openings()
        self._alike: dict[Place, tuple[_Alike, ...]] = {}
        self._named: dict[str, dict[str, str]] = {}
        self._listed: dict[str, list[Place]] = {}
        for place, memberships in expectation.memberships.items():
            for interconnect in sorted({one for one, _ in memberships}):
                self._listed.setdefault(interconnect, []).append(place)

    def of(self, gate: Gate) -> Iterator[Admission]:
        zone = self.world.zones[gate.site]
        for kind, row, reason in set_differences(zone, gate.peers[1], gate.away):
            yield Admission(kind, True, gate, row, reason)
        for place in self._listed.get(gate.interconnect, ()):
            if (gate.interconnect, gate.attachment) in self.expectation.memberships[place]:
                for alike in self.alike(place):
                    yield from self._unenforced(gate, place, alike)
                    for ingress in (True, False):
                        yield from self._closed(gate, place, alike, ingress)

    def alike(self, place: Place) -> tuple[_Alike, ...]:
        """The subnet's ports that Neutron made, by how they are treated."""
        if place not in self._alike:
            self._alike[place] = tuple(self._kinds(self.world.zones[place.site], place))
        return self._alike[place]

    def _kinds(self, zone: Zone, place: Place) -> Iterator[_Alike]:
        table = zone.table("Logical_Switch_Port")
        near: dict[object, list[SwitchPort]] = {}
        for switch in switches_of(zone, place):
            for port in zone.switches[switch].ports:
                # A virtual port's packets go to the machine that has its address now, and by that machine's rules.
                if (
                    port.type in ("", "external")
                    and port.enabled
                    and neutron.maker(port.row.table, table[port.row.uuid])
                ):
                    said = neutron.groups_of(table[port.row.uuid])
                    near.setdefault((switch, zone.memberships.get(port.name), said), []).append(port)
        for ports in near.values():
            kinds: dict[object, list[SwitchPort]] = {}
            one = Door(zone, ports[0], True).personal or Door(zone, ports[0], False).personal
            for port in ports:
                if Door(zone, port, True).addresses(place.prefixes):
                    kinds.setdefault(port.name if one else "", []).append(port)
            for alike in kinds.values():
                yield _Alike(zone, tuple(sorted(alike, key=lambda p: p.name)), self._groups(zone, alike[0]))

    def _groups(self, zone: Zone, port: SwitchPort) -> tuple[str, ...]:
        """Security groups: what Neutron says of the port, and what the port groups say."""
        if zone.site not in self._named:
            groups = zone.table("Port_Group").values()
            self._named[zone.site] = {f"@{r['name']}": neutron.group_of(r) for r in groups}
        of = self._named[zone.site]
        said = neutron.groups_of(zone.table("Logical_Switch_Port")[port.row.uuid])
        inside = zone.memberships.get(port.name, frozenset())
        return tuple(sorted({*said, *(of[name] for name in inside if of.get(name))}))

    def _closed(self, gate: Gate, place: Place, alike: _Alike, ingress: bool) -> Iterator[Admission]:
        door = alike.door(ingress)
        by: dict[Opening, list[Place]] = {}
        for peer in self._peers(gate, place, ingress):
            opening = self._openings.opening(door, place, peer)
            if opening.answer is not Answer.YES:
                by.setdefault(opening, []).append(peer)
        for opening, peers in by.items():
            assert opening.row is not None
            row, reason, ours = opening.row, f"{opening.row} decides", bool(set(alike.groups) & set(gate.groups))
            if ours and ingress:
                row, reason = culprit(alike.zone, alike.ports, gate.groups, gate.peers[1], opening)
            yield Admission(
                kind=KINDS[opening.answer],
                difference=ours and ingress,
                gate=gate,
                row=row,
                reason=reason,
                ingress=ingress,
                place=place,
                peers=tuple(peers),
                ports=tuple(p.name for p in alike.ports),
                groups=alike.groups,
                passes=opening.passes if opening.answer is not Answer.NO else (),
                missing=opening.closed,
            )

    def _peers(self, gate: Gate, place: Place, ingress: bool) -> Iterator[Place]:
        for other in self._listed[gate.interconnect]:
            if other != place:
                pair = self.expectation.pair(*((other, place) if ingress else (place, other)))
                if pair.wanted and gate.interconnect in pair.interconnects:
                    yield other

    def _unenforced(self, gate: Gate, place: Place, alike: _Alike) -> Iterator[Admission]:
        """Somebody whom no rule names gets through: because nothing is filtered, or because a rule of ours is wider."""
        if not alike.groups:
            return
        for ingress in (True, False):
            door = alike.door(ingress)
            for stranger in OUTSIDE:
                own = door.addresses(place.prefixes).get(stranger.version)
                if own is None:
                    continue
                word, rule = door.asks(door.between(own, int(stranger), stranger.version, "icmp"))
                if word != "allow":
                    continue
                found = Admission(
                    "unenforced",
                    True,
                    gate,
                    _drop_row(alike.zone) or alike.ports[0].row,
                    f"whatever no rule names passes, although the ports should be in port group {neutron.DROP}",
                    ingress,
                    place,
                    ports=tuple(p.name for p in alike.ports),
                    groups=alike.groups,
                )
                if rule is None:
                    yield found
                    return
                if neutron.mark(alike.zone.table("ACL")[rule.row.uuid], "security_group_rule_id") in gate.rules:
                    reason = "a rule of ours lets in more than the address group"
                    yield Admission("widened", True, gate, rule.row, reason, ingress, place, ports=found.ports)
                    return


KINDS: Mapping[Answer, str] = {Answer.NO: "closed", Answer.PARTLY: "partly", Answer.UNKNOWN: "unknown"}


def _drop_row(zone: Zone) -> RowRef | None:
    for uuid, record in zone.table("Port_Group").items():
        if record.get("name") == neutron.DROP:
            return zone.ref("Port_Group", uuid)
    return None
