"""Columns of rows as values: sets, optional atoms, MACs and addresses as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from isthmus.model.rows import Value

Interface = IPv4Interface | IPv6Interface


def texts(value: Value) -> tuple[str, ...]:
    """A set, an optional atom or nothing, as sorted strings: UUID order, which is the order northd sees."""
    if value is None:
        return ()
    if isinstance(value, frozenset | set | list | tuple):
        return tuple(sorted(str(v) for v in value))
    return (str(value),)


def text(value: Value) -> str:
    """An optional string; "" where there is none."""
    found = texts(value)
    return found[0] if found else ""


def mapping(value: Value) -> Mapping[str, str]:
    return value if isinstance(value, Mapping) else {}


def flag(value: Value, default: bool) -> bool:
    """An optional boolean."""
    if isinstance(value, frozenset):
        value = next(iter(value), None)
    return value if isinstance(value, bool) else default


def mac_number(word: str) -> int | None:
    parts = word.split(":")
    if len(parts) != 6:
        return None
    try:
        return int("".join(p.zfill(2) for p in parts), 16)
    except ValueError:
        return None


def link_local(mac: int) -> IPv6Interface:
    """The EUI-64 address that every router port has besides its `networks`."""
    high, low = (mac >> 24) ^ 0x020000, mac & 0xFFFFFF
    return IPv6Interface(((0xFE80 << 112) | (high << 40) | (0xFFFE << 24) | low, 64))


def interfaces(words: tuple[str, ...]) -> tuple[Interface, ...]:
    """Those of `words` that are addresses; northd ignores the others."""
    found = []
    for word in words:
        try:
            found.append(ip_interface(word))
        except ValueError:
            continue
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Owned:
    """A MAC and the addresses with it: one element of a switch port's `addresses`."""

    mac: int
    addresses: frozenset[tuple[int, int]]
    """(family, number)"""


def owned(words: str) -> Owned | None:
    """Read `MAC [IP…]`."""
    parts = words.split()
    mac = mac_number(parts[0]) if parts else None
    if mac is None:
        return None
    found = interfaces(tuple(parts[1:]))
    return Owned(mac, frozenset((i.version, int(i.ip)) for i in found))


@dataclass(frozen=True, slots=True)
class Secured:
    """An element of a switch port's `port_security`: a MAC, and the addresses that may be sent from with it.

    `ranges` are (family, first, last); none: any address.
    """

    mac: int
    ranges: tuple[tuple[int, int, int], ...]

    def lets(self, family: int, number: int) -> bool:
        return not self.ranges or any(f == family and low <= number <= high for f, low, high in self.ranges)


def secured(words: str) -> Secured | None:
    """Read `MAC [IP[/LENGTH]…]`. A prefix whose host bits are all zero stands for all its addresses (ovn-nb(5))."""
    parts = words.split()
    mac = mac_number(parts[0]) if parts else None
    return None if mac is None else Secured(mac, tuple(map(_range, interfaces(tuple(parts[1:])))))


def _range(one: Interface) -> tuple[int, int, int]:
    network = one.network
    if one.ip == network.network_address:
        return one.version, int(network.network_address), int(network.broadcast_address)
    return one.version, int(one.ip), int(one.ip)
