"""Frames of the probe: Ethernet, one 802.1Q tag, IPv4 or IPv6, ICMP echo. Pure: bytes in, bytes out.

The tag selects the probe port: ovn-controller maps it to the logical port of which it is the `tag`, and replies
come back with the same tag (ADR 0007).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

PAYLOAD = 56
"""Bytes after the ICMP echo header, as ping sends."""

_ETHERNET = struct.Struct("!6s6sHHH")  # destination, source, 0x8100, tag, type
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence

_VLAN, _TYPE4, _TYPE6 = 0x8100, 0x0800, 0x86DD
_ICMP4, _ICMP6 = 1, 58
_DONT_FRAGMENT, _FRAGMENT = 0x4000, 0x3FFF
_HOPS = 64


@dataclass(frozen=True, slots=True)
class Echo:
    """One echo request to send.

    tag         802.1Q VLAN identifier, 1 to 4094
    identifier  of the sending process, 16 bits
    sequence    16 bits
    cookie      at most PAYLOAD bytes that only the sender knows; the reply must return them
    """

    tag: int
    source_mac: bytes
    router_mac: bytes
    source: Address
    target: Address
    identifier: int
    sequence: int
    cookie: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One echo reply that arrived. `source` is who answered, `target` whom it answers."""

    tag: int
    source: Address
    target: Address
    identifier: int
    sequence: int
    payload: bytes


def mac(text: str) -> bytes:
    """Six bytes of `aa:bb:cc:dd:ee:ff`. Raises ValueError for anything else.

    >>> mac("02:00:00:00:99:03").hex()
    '020000009903'
    """
    parts = text.split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"not a MAC address: {text!r}")
    return bytes(int(part, 16) for part in parts)


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071) of `data`, padded with a zero byte to an even length.

    Over data that contains its own right checksum it is 0.

    >>> hex(checksum(bytes.fromhex("0001f203f4f5f6f7")))
    '0x220d'
    """
    if len(data) % 2:
        data += b"\0"
    # A sum of 16-bit words with end-around carry is the number modulo 65535, where 0 of a sum that is not
    # empty is written 0xffff.
    total = int.from_bytes(data) % 0xFFFF
    return 0xFFFF if total == 0 and not any(data) else (0xFFFF - total) % 0xFFFF


def echo_request(echo: Echo) -> bytes:
    """The whole frame, without the Ethernet frame check sequence."""
    body = echo.cookie.ljust(PAYLOAD, b"\0")
    if isinstance(echo.target, IPv4Address):
        kind, packet = _TYPE4, _packet4(echo, body)
    else:
        kind, packet = _TYPE6, _packet6(echo, body)
    return _ETHERNET.pack(echo.router_mac, echo.source_mac, _VLAN, echo.tag, kind) + packet


def _packet4(echo: Echo, body: bytes) -> bytes:
    message = _ECHO.pack(8, 0, 0, echo.identifier, echo.sequence) + body
    message = _with_checksum(message, 2, checksum(message))
    addresses = (echo.source.packed, echo.target.packed)
    length = _IPV4.size + len(message)
    header = _IPV4.pack(0x45, 0, length, 0, _DONT_FRAGMENT, _HOPS, _ICMP4, 0, *addresses)
    return _with_checksum(header, 10, checksum(header)) + message


def _packet6(echo: Echo, body: bytes) -> bytes:
    message = _ECHO.pack(128, 0, 0, echo.identifier, echo.sequence) + body
    addresses = (echo.source.packed, echo.target.packed)
    pseudo = _pseudo_header6(*addresses, len(message))
    message = _with_checksum(message, 2, checksum(pseudo + message))
    return _IPV6.pack(6 << 28, len(message), _ICMP6, _HOPS, *addresses) + message


def _pseudo_header6(source: bytes, target: bytes, length: int) -> bytes:
    return source + target + struct.pack("!II", length, _ICMP6)


def _with_checksum(data: bytes, offset: int, value: int) -> bytes:
    return data[:offset] + value.to_bytes(2) + data[offset + 2 :]


def parse_reply(frame: bytes) -> Reply | None:
    """The echo reply in a tagged frame; None for any other frame, damaged ones included."""
    if len(frame) < _ETHERNET.size:
        return None
    _, _, vlan, tag, kind = _ETHERNET.unpack_from(frame)
    if vlan != _VLAN:
        return None
    packet = frame[_ETHERNET.size :]
    if kind == _TYPE4:
        return _parse4(tag & 0xFFF, packet)
    if kind == _TYPE6:
        return _parse6(tag & 0xFFF, packet)
    return None


def _parse4(tag: int, packet: bytes) -> Reply | None:
    if len(packet) < _IPV4.size:
        return None
    version, _, length, _, fragment, _, protocol, _, source, target = _IPV4.unpack_from(packet)
    header = (version & 0xF) * 4
    if version >> 4 != 4 or header < _IPV4.size or not header <= length <= len(packet):
        return None
    if protocol != _ICMP4 or fragment & _FRAGMENT or checksum(packet[:header]) != 0:
        return None
    message = packet[header:length]
    if len(message) < _ECHO.size or message[0] != 0 or checksum(message) != 0:
        return None
    return _reply(tag, IPv4Address(source), IPv4Address(target), message)


def _parse6(tag: int, packet: bytes) -> Reply | None:
    if len(packet) < _IPV6.size:
        return None
    version, length, following, _, source, target = _IPV6.unpack_from(packet)
    message = packet[_IPV6.size : _IPV6.size + length]
    if version >> 28 != 6 or following != _ICMP6 or len(message) != length or length < _ECHO.size:
        return None
    if message[0] != 129 or checksum(_pseudo_header6(source, target, length) + message) != 0:
        return None
    return _reply(tag, IPv6Address(source), IPv6Address(target), message)


def _reply(tag: int, source: Address, target: Address, message: bytes) -> Reply:
    _, _, _, identifier, sequence = _ECHO.unpack_from(message)
    return Reply(tag, source, target, identifier, sequence, message[_ECHO.size :])
