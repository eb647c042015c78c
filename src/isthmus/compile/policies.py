"""Router policies: what an edge lets pass, and what may enter a VPC router on its way to the edge.

An edge knows by which port a packet came: its link (the own VPC), its transit port, an inner link. Everything *behind*
that port may speak, as itself, to everything behind the other ports; the rest is dropped. Policies are stateless
(ovn-nb(5), Logical_Router_Policy).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from isthmus.compile.edge import Maker
from isthmus.compile.routes import away
from isthmus.compile.view import Joined, Side
from isthmus.model.facts import Interface
from isthmus.model.intent import Address, Prefix
from isthmus.model.rows import LINK_EDGE, Parent, Row, Value

ALLOW, DROP = 200, 100
"""Priorities on an edge, which is ours alone."""

VPC_ALLOW, VPC_DROP = 2, 1
"""Priorities on a VPC router: below everybody's, so that a foreign policy always has its say first (ADR 0006)."""

ERRORS = {4: "icmp4.type == {3, 11, 12}", 6: "icmp6.type == {1, 2, 3, 4}"}
"""Destination unreachable, time exceeded, parameter problem; ICMPv6 with packet too big (RFC 792, RFC 4443)."""

ECHO = {4: ("icmp4.type == 8", "icmp4.type == 0"), 6: ("icmp6.type == 128", "icmp6.type == 129")}


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    """Those of the edge."""
    maker = Maker(joined, side)
    for what, match in _edge_matches(joined, side, maker):
        columns: Mapping[str, Value] = {"priority": ALLOW, "match": match, "action": "allow"}
        yield maker.row("Logical_Router_Policy", f"edge/policy/{what}", columns, maker.on_edge("policies"))
    columns = {"priority": DROP, "match": "1", "action": "drop"}
    yield maker.row("Logical_Router_Policy", "edge/policy/drop", columns, maker.on_edge("policies"))


def _edge_matches(joined: Joined, side: Side, maker: Maker) -> Iterator[tuple[str, str]]:
    behind = ports(joined, side)
    for port, (name, own, near) in behind.items():
        far = [s for other, (_, _, sides) in behind.items() if other != port for s in sides]
        for version in joined.families:
            where = f'inport == "{name}"'
            pair = pairs(version, _prefixes(near), _prefixes(far))
            if pair:
                yield f"{port}/{version}/subnets", f"{where} && {pair}"
            service = [m for m in _services(joined, version, own, near, far) if m]
            if service:
                yield f"{port}/{version}/service", f"{where} && ({' || '.join(service)})"


Place = Prefix | Address

Network = IPv4Network, IPv6Network

EdgePort = tuple[str, tuple[Interface, ...], tuple[Side, ...]]


def ports(joined: Joined, side: Side) -> dict[str, EdgePort]:
    """An edge's ports: what -> (router port's name, the edge's own addresses on it, the sides behind it)."""
    maker = Maker(joined, side)
    found: dict[str, EdgePort] = {"link": (maker.name(LINK_EDGE), joined.link(side, 1), (side,))}
    if not joined.is_first(side):
        found["inner"] = (maker.name("inner-edge"), joined.inner(side, 2), joined.others(side))
        return found
    away = tuple(s for s in joined.sides if s.site != side.site)
    found["transit"] = (maker.name("transit"), joined.transit(side), away)
    for further in joined.further(side):
        name = Maker(joined, further).name("inner-first")
        found[f"inner-{further.name}"] = (name, joined.inner(further, 1), (further,))
    return found


def _services(
    joined: Joined, version: int, own: Iterable[Interface], near: Iterable[Side], far: Iterable[Side]
) -> Iterator[str]:
    """ICMP errors of routers, and the probe's echo both ways."""
    routers = {i.ip for i in own} | {a for s in near for a in infrastructure(joined, s)}
    listed = _prefixes((*near, *far))
    if pair := pairs(version, routers, listed):
        yield f"({ERRORS[version]} && {pair})"
    request, reply = ECHO[version]
    if pair := pairs(version, probes(joined, near), [a for s in far for a in s.addresses]):
        yield f"({request} && {pair})"
    if pair := pairs(version, [a for s in near for a in s.addresses], probes(joined, far)):
        yield f"({reply} && {pair})"


def infrastructure(joined: Joined, side: Side) -> set[Address]:
    """Addresses that routers of a side use as the source of ICMP errors."""
    found = {i.ip for host in (1, 2) for i in joined.link(side, host)}
    if joined.is_first(side):
        found |= {i.ip for i in joined.transit(side)}
        found |= {i.ip for further in joined.further(side) for i in joined.inner(further, 1)}
    else:
        found |= {i.ip for host in (1, 2) for i in joined.inner(side, host)}
    return found


def probes(joined: Joined, sides: Iterable[Side]) -> set[Address]:
    return {i.ip for s in sides for c in s.probes for i in joined.link(s, joined.probe_host(s, c))}


def pairs(version: int, sources: Iterable[Place], destinations: Iterable[Place]) -> str:
    """A match for packets from any of the sources to any of the destinations; "" where a family has none.

    Either side is all prefixes or all addresses.

    >>> from ipaddress import ip_network as n
    >>> pairs(4, [n("10.0.0.0/24")], [n("10.1.0.0/24"), n("10.2.0.0/24"), n("fd00::/64")])
    'ip4.src == 10.0.0.0/24 && ip4.dst == {10.1.0.0/24, 10.2.0.0/24}'
    """
    source, destination = _set(version, sources), _set(version, destinations)
    return f"ip{version}.src == {source} && ip{version}.dst == {destination}" if source and destination else ""


def _set(version: int, places: Iterable[Place]) -> str:
    found = [_text(p) for p in sorted({p for p in places if p.version == version})]
    return found[0] if len(found) == 1 else "{" + ", ".join(found) + "}" if found else ""


@lru_cache(maxsize=4096)
def _text(place: Place) -> str:
    if isinstance(place, Network) and place.prefixlen == place.max_prefixlen:
        return str(place.network_address)
    return str(place)


def _prefixes(sides: Iterable[Side]) -> list[Prefix]:
    return [p for s in sides for p in s.prefixes]


def on_vpc(joined: Joined, side: Side, link: Mapping[int, str], parent: Parent) -> Iterator[Row]:
    """What goes to remote prefixes entered by a listed subnet's port or the link; what comes from them, by the link.

    The edge sees source addresses only; a neighbour on an external or unlisted network could forge a listed one, or
    pose as the far side, who would get the answer.

    link    IP version -> name of the VPC router's port on the link; of a version that it lacks nothing is said
    parent  the VPC router, where its policies go
    """
    maker, remotes = Maker(joined, side), set(away(joined, side))
    doors = {port for s in side.subnets for port in s.ports}
    for version in joined.families:
        if version in link and (remote := _set(version, remotes)):
            inports = "{" + ", ".join(f'"{name}"' for name in sorted(doors | {link[version]})) + "}"
            enter = f"inport == {inports} && ip{version}.dst == {remote}"
            if back := pairs(version, remotes, side.prefixes):
                enter = f'({enter}) || (inport == "{link[version]}" && {back})'
            for what, priority, action, text in (
                ("enter", VPC_ALLOW, "allow", enter),
                ("drop", VPC_DROP, "drop", f"ip{version}.dst == {remote} || ip{version}.src == {remote}"),
            ):
                columns: Mapping[str, Value] = {"priority": priority, "match": text, "action": action}
                key = f"vpc/policy/{version}/{what}"
                yield maker.row("Logical_Router_Policy", key, columns, parent)
