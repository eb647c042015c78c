"""What rows tell apart: addresses that no constant of any row separates are of one class, and so are ports.

Constants are taken from routes, networks, policies, ACLs, NAT and load balancers of every site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface
from itertools import product

from isthmus.verify.columns import mapping, text, texts
from isthmus.verify.match import constants
from isthmus.verify.path import Packet
from isthmus.verify.reach import World
from isthmus.verify.zone import Zone

USUAL = Packet(4, 0, 0)
_PORT = re.compile(r"\b(tcp|udp)\.(src|dst)\s*([=!<>]=?)\s*(\{[^}]*\}|\d+)")
_SET = re.compile(r"\$([A-Za-z_.][\w.]*)")


def kinds(world: World) -> Iterator[tuple[str, int, int]]:
    """Those that router policies tell apart.

    Not ACLs: isolation is made by policies, and what an ACL closes on a port is a security group's affair.
    """
    return told_apart(m for zone in world.zones.values() for m in _matches(zone.table("Logical_Router_Policy")))


def told_apart(matches: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Protocol, source and destination port: the usual ones, and those that some match tells apart."""
    ports: dict[tuple[str, str], set[int]] = {}
    for rule in matches:
        for protocol, end, relation, words in _PORT.findall(rule):
            around = (0,) if relation in ("==", "!=") else (-1, 0, 1)
            for number in map(int, re.findall(r"\d+", words)):
                ports.setdefault((protocol, end), set()).update(number + n for n in around)
    yield "icmp", USUAL.sport, USUAL.dport
    for protocol in ("tcp", "udp"):
        sources = {USUAL.sport} | ports.get((protocol, "src"), set())
        targets = {USUAL.dport} | ports.get((protocol, "dst"), set())
        for sport, dport in product(sorted(sources), sorted(targets)):
            if 0 <= sport < 65536 and 0 <= dport < 65536:
                yield protocol, sport, dport


def cuts(world: World) -> dict[int, set[int]]:
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
            yield vip_address(vip)
    named = {name for rule in _rules(zone) for name in named_sets(rule)}
    for name in sorted(named & zone.sets.keys()):
        yield from zone.sets[name]


def vip_address(vip: str) -> str:
    """
    >>> [vip_address(v) for v in ("192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80")]
    ['192.0.2.1', '192.0.2.1', '2001:db8::1', '2001:db8::1']
    """
    return (
        vip[1:].partition("]")[0]
        if vip.startswith("[")
        else vip
        if vip.count(":") > 1
        else vip.split(":", maxsplit=1)[0]
    )


def named_sets(match: str) -> list[str]:
    """Names of the address sets that a match mentions."""
    return _SET.findall(match)


def named_ports(match: str, protocol: str) -> set[int]:
    """Destination ports that a match mentions.

    >>> sorted(named_ports("tcp && tcp.dst >= 8000 && tcp.dst <= 8100 || udp.dst == 53", "tcp"))
    [8000, 8100]
    """
    found = (words for of, end, _, words in _PORT.findall(match) if (of, end) == (protocol, "dst"))
    return {int(number) for words in found for number in re.findall(r"\d+", words)}


def _rules(zone: Zone) -> Iterator[str]:
    """Not the ACLs of port groups with machines alone: what they say of a port, they do not say of its subnet."""
    yield from _matches(zone.table("Logical_Router_Policy"))
    network = {p.name for p in zone.switch_ports.values() if not p.machine}
    seen: dict[str, str] = {}
    for switch in zone.switches.values():
        for rules in switch.acls.values():
            for rule in rules:
                if not rule.group or network & zone.sets.get(rule.group, network):
                    seen[rule.row.uuid] = rule.match
    yield from seen.values()


def _matches(table: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    for record in table.values():
        match = record.get("match")
        if isinstance(match, str):
            yield match
