"""Ordered rules: ACLs of a switch, policies of a router, translation and load balancers in the way.

A rule whose match cannot be judged makes the answer unknown, unless a rule above it has decided already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from isthmus.verify.columns import mapping, text
from isthmus.verify.match import Facts, compile_match
from isthmus.verify.path import TCP, UDP, Packet, RowRef
from isthmus.verify.zone import Nat, Router, RouterPort, Rule, Switch, Zone

_VERDICTS = {
    "allow": "allow",
    "allow-related": "allow",
    "allow-stateless": "allow",
    "drop": "drop",
    "reject": "drop",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What rules say: `allow`, `drop`, `reroute` or `unknown`, and the rule that said it (None: no rule matched)."""

    word: str
    rule: Rule | None = None


PASS = Verdict("allow")


def facts(packet: Packet, sets: Mapping[str, Iterable[str]], **fields: str | int) -> Facts:
    known = packet.fields()
    known["ip.ttl"] = packet.ttl
    known |= fields
    return Facts(known, packet.family, packet.proto, sets)


def judge(rules: Iterable[Rule], about: Facts) -> tuple[Verdict, ...]:
    """Verdicts of the first matching priority: one, or several where equal priorities say different things.

    `rules` are sorted by falling priority. Empty: no rule matches. A rule that cannot be judged makes it unknown,
    unless it would say what the rules below it say anyway.
    """
    found: list[Verdict] = []
    doubtful: list[Rule] = []
    level: int | None = None
    for rule in rules:
        if found and rule.priority != level:
            break
        truth = compile_match(rule.match)(about)
        if truth is None:
            doubtful.append(rule)
        elif truth:
            level = rule.priority
            verdict = Verdict(_VERDICTS.get(rule.action, rule.action), rule)
            if all(_effect(v.rule) != _effect(rule) for v in found):
                found.append(verdict)
    effects = {_effect(v.rule) for v in found} or {("allow", ())}
    for rule in doubtful:
        if effects != {_effect(rule)}:
            return (Verdict("unknown", rule),)
    return tuple(found)


def _effect(rule: Rule | None) -> tuple[str, tuple[str, ...]]:
    return ("allow", ()) if rule is None else (_VERDICTS.get(rule.action, rule.action), rule.nexthops)


def filtered(zone: Zone, switch: Switch, packet: Packet, direction: str, **ports: str) -> Verdict:
    """What the ACLs of one direction say: drop or unknown if any stage and branch may.

    `ports`: inport and outport by name; "" is a port without a name in any rule, such as a machine's new one.
    """
    if not switch.acls:
        return PASS
    about = facts(packet, zone.sets, **ports)
    last = PASS
    for late in (False, True):
        verdicts = judge(rules_for(zone, switch, (direction, late), *ports.values()), about)
        if not verdicts and zone.default_drop and not (late and direction == "to-lport"):
            return Verdict("drop")
        words = {v.word for v in verdicts}
        if len(words) > 1 or "unknown" in words:
            return Verdict("unknown", verdicts[0].rule)
        if words == {"drop"}:
            return verdicts[0]
        last = verdicts[0] if verdicts else last
    return last


def rules_for(zone: Zone, switch: Switch, stage: tuple[str, bool], port: str) -> list[Rule]:
    """Rules of a stage that may concern a port: not those of port groups that it is not in."""
    rules = switch.acls.get(stage, ())
    return [r for r in rules if not r.group or port in zone.sets.get(r.group, (port,))]


def balancer(zone: Zone, uuids: Iterable[str], packet: Packet) -> RowRef | None:
    """The load balancer whose address the packet is for."""
    for uuid in uuids:
        record = zone.table("Load_Balancer").get(uuid)
        if record is None:
            continue
        protocol = text(record.get("protocol")) or "tcp"
        for vip in mapping(record.get("vips")):
            address, port = _vip(vip)
            if address == (packet.family, packet.dst) and _port_matches(port, protocol, packet):
                return zone.ref("Load_Balancer", uuid)
    return None


def _port_matches(port: int | None, protocol: str, packet: Packet) -> bool:
    if port is None:
        return True
    return {"tcp": TCP, "udp": UDP}.get(protocol) == packet.proto and port == packet.dport


@lru_cache(maxsize=4096)
def _vip(word: str) -> tuple[tuple[int, int] | None, int | None]:
    """Address and port of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    host, port = word, None
    if word.startswith("["):
        host, _, rest = word[1:].partition("]")
        port = int(rest[1:]) if rest.startswith(":") else None
    elif word.count(":") == 1:
        host, _, rest = word.partition(":")
        port = int(rest)
    try:
        address = ip_address(host)
    except ValueError:
        return None, port
    return (address.version, int(address)), port


def translates_destination(router: Router, packet: Packet) -> RowRef | None:
    """The NAT row that has the destination as its external address: what follows is not modelled."""
    for nat in router.nats:
        if _same_address(nat.external, packet.family, packet.dst):
            return nat.row
    return None


def source_translation(router: Router, packet: Packet, port: RouterPort) -> tuple[Nat, int] | None:
    """The NAT row, and the new source, for a packet that leaves by `port`; the longest `logical_ip` wins."""
    best: tuple[int, Nat] | None = None
    gateway_router = bool(router.options.get("chassis"))
    for nat in router.nats:
        if nat.type not in ("snat", "dnat_and_snat") or not (gateway_router or _bound(nat, port)):
            continue
        length = _inside(nat.logical, packet.family, packet.src)
        if length is not None and (best is None or length > best[0]):
            best = length, nat
    if best is None:
        return None
    return best[1], int(ip_address(best[1].external))


def _bound(nat: Nat, port: RouterPort) -> bool:
    return nat.port == port.name if nat.port else port.gateway


def _same_address(word: str, family: int, number: int) -> bool:
    try:
        address = ip_address(word)
    except ValueError:
        return False
    return address.version == family and int(address) == number


def _inside(word: str, family: int, number: int) -> int | None:
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        return None
    if network.version != family or (number ^ int(network.network_address)) & int(network.netmask):
        return None
    return network.prefixlen
