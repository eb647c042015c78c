"""Ports of a cluster's Pods: where they are, what may leave them, and whether their Pods reach each other.

Each port is judged by itself. Then Pods are asked for each other, packet by packet: of ports that no row tells apart
two, and of the addresses of a Subnet one of each class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from isthmus.verify.classes import told_apart
from isthmus.verify.cluster import Home, Resident
from isthmus.verify.columns import text
from isthmus.verify.fault import Fault, Ground
from isthmus.verify.matrix import switches_of
from isthmus.verify.opening import Door
from isthmus.verify.path import End, Packet, RowRef, Trace, address
from isthmus.verify.reach import Entry, traces
from isthmus.verify.zone import SwitchPort, Zone

Owners = Mapping[tuple[str, object], list[str]]
"""(switch, MAC or address) -> names of the ports that have it."""


@dataclass(frozen=True, slots=True)
class _Dweller:
    """Who has a port that is as it should be; `home`: where a Pod is, None of a node."""

    name: str
    port: SwitchPort
    addresses: frozenset[tuple[int, int]]
    home: Home | None = None

    def number(self, family: int) -> int | None:
        """Its address of a family."""
        return min((n for f, n in self.addresses if f == family), default=None)


def residents(ground: Ground) -> Iterator[Fault]:
    sound: dict[str, dict[object, list[_Dweller]]] = defaultdict(lambda: defaultdict(list))
    owners = owned(ground)
    for resident in ground.networks.residents:
        port = ground.zone.switch_ports.get(resident.port)
        if port is None:
            row = RowRef(ground.zone.site, "Logical_Switch_Port", "", resident.port)
            yield ground.fault("pod", resident.name, row, "it has no port")
            continue
        home = ground.of_switch.get(port.switch)
        if home is None or home.place.name not in resident.subnets:
            where = ground.zone.switches[port.switch].name
            yield ground.fault("pod", resident.name, port.row, f"it is in {where}, where its namespace may not be")
            continue
        wrong = [*amiss(ground.zone, resident, port), *_security(port), *doubles(port, owners)]
        for reason in wrong:
            yield ground.fault("pod", resident.name, port.row, reason)
        alike = sound[home.vpc][_kind(ground, resident, port)]
        if not wrong and len(alike) < 2:
            alike.append(_Dweller(resident.name, port, resident.addresses, home))
    ways = _Ways(ground)
    for vpc, kinds in sound.items():
        members = [found for found in kinds.values() if found]
        senders, receivers = [m[0] for m in members], [m[-1] for m in members]
        yield from ways.between(senders, receivers, ground.vpcs[vpc])
        door = ground.zone.switch_ports.get(ground.networks.way.doors.get(vpc, ""))
        if door is not None:
            node = _Dweller("its node", door, ground.networks.way.addresses)
            yield from ways.through(node, senders, receivers)


def amiss(zone: Zone, resident: Resident, port: SwitchPort) -> Iterator[str]:
    """What is wrong with a port, but for who may send what by it."""
    own = [a for o in port.owned for a in o.addresses]
    chassis = port.options.get("requested-chassis", "")
    if port.type:
        yield f"its port is of type {port.type}"
    if not port.enabled:
        yield "its port is disabled"
    if port.unknown:
        yield "what is for nobody goes to it: its port has unknown addresses"
    if sorted(own) != sorted(resident.addresses) or len(port.owned) != 1:
        has, shows = _words(own), _words(resident.addresses)
        yield f"its port has {len(port.owned)} MACs and {has}, it shows {shows}"
    if chassis != resident.node:
        yield f"{chassis or 'every chassis'} may have its port, it is on {resident.node}"
    if parent := text(zone.table("Logical_Switch_Port")[port.row.uuid].get("parent_name")):
        yield f"its port is inside of {parent}"


def _security(port: SwitchPort) -> Iterator[str]:
    """What may leave a port besides its own address with its own MAC, and what of that may not."""
    own = {(o.mac, family, number) for o in port.owned for family, number in o.addresses}
    if not port.security:
        yield "anything may leave its port: it has no port security"
        return
    for each in port.security:
        for family, low, high in each.ranges:
            if low != high or (each.mac, family, low) not in own:
                yield f"{_mac(each.mac)} may send from {address(family, low)} to {address(family, high)}"
        if not each.ranges:
            yield f"{_mac(each.mac)} may send from any address"
    for mac, family, number in sorted(own):
        if not any(s.mac == mac and s.lets(family, number) for s in port.security):
            yield f"it may not send from {address(family, number)}"


def owned(ground: Ground) -> Owners:
    found: dict[tuple[str, object], list[str]] = defaultdict(list)
    for uuid in ground.of_switch:
        for port in ground.zone.switches[uuid].ports:
            for each in port.owned:
                for what in (each.mac, *each.addresses):
                    found[uuid, what].append(port.name)
    return found


def doubles(port: SwitchPort, owners: Owners) -> Iterator[str]:
    own = {what for o in port.owned for what in (o.mac, *o.addresses)}
    for name in sorted({n for what in own for n in owners[port.switch, what]} - {port.name}):
        yield f"port {name} has its MAC or its address too"


def _kind(ground: Ground, resident: Resident, port: SwitchPort) -> object:
    """Equal for ports that no row tells apart."""
    classes = tuple(sorted((f, ground.matrix.kind(f, n)) for f, n in resident.addresses))
    return port.switch, Door(ground.zone, port, True).kind, Door(ground.zone, port, False).kind, classes


class _Ways:
    """Packets between Pods, and between Pods and what else may be in their Subnets."""

    def __init__(self, ground: Ground) -> None:
        self._ground, zone = ground, ground.zone
        matches = [text(r.get("match")) for r in zone.table("Logical_Router_Policy").values()]
        for uuid in ground.of_switch:
            matches += (rule.match for rules in zone.switches[uuid].acls.values() for rule in rules)
        self._kinds = tuple(told_apart(matches))

    def between(self, senders: list[_Dweller], receivers: list[_Dweller], homes: Iterable[Home]) -> Iterator[Fault]:
        """All within one Vpc: of each kind of port one sends and one receives. The first lost packet of each."""
        for one, other in product(senders, receivers):
            if one.name != other.name and (trace := self._lost(one, other)):
                yield self._fault(one, f"it does not reach Pod {other.name}: {trace.reason}", trace)
        for home in homes:
            for one in senders:
                if one.home != home and (trace := self._unheard(one, home)):
                    yield self._fault(one, f"it does not reach all of {home.place.name}: {trace.reason}", trace)
            for one in receivers:
                if one.home != home and (trace := self._unreached(one, home)):
                    yield self._fault(one, f"not all of {home.place.name} reaches it: {trace.reason}", trace)

    def through(self, node: _Dweller, senders: list[_Dweller], receivers: list[_Dweller]) -> Iterator[Fault]:
        """Between Pods and their own node, by its door into their Vpc."""
        for one in senders:
            if trace := self._lost(one, node):
                yield self._fault(one, f"it does not reach its node: {trace.reason}", trace)
        for one in receivers:
            if trace := self._lost(node, one):
                yield self._fault(one, f"its node does not reach it: {trace.reason}", trace)

    def _fault(self, one: _Dweller, reason: str, trace: Trace) -> Fault:
        return self._ground.fault("pod", one.name, trace.row, reason, trace)

    def _lost(self, sender: _Dweller, receiver: _Dweller) -> Trace | None:
        for family in (4, 6):
            own, other = sender.number(family), receiver.number(family)
            if own is not None and other is not None:
                found = self._sent(self._entry(sender), family, own, other)
                if trace := next((t for t in found if not _arrives(t, receiver)), None):
                    return trace
        return None

    def _unheard(self, sender: _Dweller, home: Home) -> Trace | None:
        """What a Pod sends to a Subnet's addresses that nobody has."""
        there = switches_of(self._ground.zone, home.place)
        for family, own, host in self._hosts(sender, home):
            for trace in self._sent(self._entry(sender), family, own, host):
                if trace.end is not End.DELIVERED or trace.switch not in there:
                    return trace
        return None

    def _unreached(self, receiver: _Dweller, home: Home) -> Trace | None:
        """What comes to a Pod from a Subnet's addresses that nobody has."""
        for switch in switches_of(self._ground.zone, home.place):
            entry = Entry(self._ground.zone.site, switch, door=home.place.doors[0])
            for family, own, host in self._hosts(receiver, home):
                found = self._sent(entry, family, host, own)
                if trace := next((t for t in found if not _arrives(t, receiver)), None):
                    return trace
        return None

    def _hosts(self, dweller: _Dweller, home: Home) -> Iterator[tuple[int, int, int]]:
        """Family, the Pod's address, and one address of each class of a Subnet."""
        for prefix in home.place.prefixes:
            own = dweller.number(prefix.version)
            if own is not None:
                for host in self._ground.matrix.classes(home.place, prefix):
                    yield prefix.version, own, int(host)

    def _entry(self, sender: _Dweller) -> Entry:
        return Entry(self._ground.zone.site, sender.port.switch, lsp=sender.port.name)

    def _sent(self, entry: Entry, family: int, source: int, target: int) -> Iterator[Trace]:
        for protocol, sport, dport in self._kinds:
            packet = replace(Packet.between(family, source, target, protocol), sport=sport, dport=dport)
            yield from traces(self._ground.world, entry, packet)


def _arrives(trace: Trace, receiver: _Dweller) -> bool:
    return trace.end is End.DELIVERED and trace.lsp == receiver.port.name


def _mac(number: int) -> str:
    return ":".join(f"{b:02x}" for b in number.to_bytes(6, "big"))


def _words(addresses: Iterable[tuple[int, int]]) -> str:
    return ", ".join(str(address(f, n)) for f, n in sorted(addresses)) or "no address"
