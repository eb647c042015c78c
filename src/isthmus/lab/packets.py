"""Packets of the lab's own making: the mark they carry, frames byte by byte, and what a frame is. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

Address = IPv4Address | IPv6Address
Protocol = Literal["icmp", "udp"]
Kind = Literal["sent", "reply", "error"]

MAGIC = b"isthmus-lab\0"
_MARK = struct.Struct("!12sIHHIQ")

ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
_ICMP, _UDP, _ICMPV6 = 1, 17, 58
PORT = 9
"""Where UDP packets go unless told otherwise: discard."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a packet of ours says about itself.

    run            of one matrix or stream: a random number
    source, target numbers of endpoints
    sequence       from 0
    sent           nanoseconds since the epoch
    """

    run: int
    source: int
    target: int
    sequence: int
    sent: int = 0

    def encode(self) -> bytes:
        return _MARK.pack(MAGIC, self.run, self.source, self.target, self.sequence, self.sent)


def decode(frame: bytes) -> Mark | None:
    """The mark anywhere in a frame, or None.

    >>> decode(b"head" + Mark(1, 2, 3, 4, 5).encode() + b"tail")
    Mark(run=1, source=2, target=3, sequence=4, sent=5)
    """
    at = frame.find(MAGIC)
    if at < 0 or len(frame) < at + _MARK.size:
        return None
    return Mark(*_MARK.unpack_from(frame, at)[1:])


def kind(frame: bytes) -> Kind:
    """Whether an Ethernet frame is one that was sent so, an echo reply to it, or an ICMP error that quotes it."""
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    if ethertype == ETH_IPV4:
        protocol, at, reply, errors = frame[23], 14 + 4 * (frame[14] & 15), 0, {3, 4, 5, 11, 12}
    elif ethertype == ETH_IPV6:
        protocol, at, reply, errors = frame[20], 54, 129, set(range(128)) | {137}
    else:
        return "sent"
    if protocol not in (_ICMP, _ICMPV6) or len(frame) <= at:
        return "sent"
    if frame[at] == reply:
        return "reply"
    return "error" if frame[at] in errors else "sent"


def checksum(*parts: bytes) -> int:
    """The Internet checksum (RFC 1071).

    >>> hex(checksum(bytes.fromhex("00010f203d4e")))
    '0xb390'
    """
    data = b"".join(parts)
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _pseudo(source: Address, target: Address, protocol: int, length: int) -> bytes:
    if source.version == 4:
        return source.packed + target.packed + struct.pack("!BBH", 0, protocol, length)
    return source.packed + target.packed + struct.pack("!IxxxB", length, protocol)


def ethernet(target_mac: str, source_mac: str, ethertype: int, payload: bytes) -> bytes:
    return _mac(target_mac) + _mac(source_mac) + struct.pack("!H", ethertype) + payload


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ip(source: Address, target: Address, protocol: int, payload: bytes, ttl: int = 64, df: bool = False) -> bytes:
    """An IPv4 or IPv6 packet, by the family of the addresses."""
    if source.version == 4:
        header = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            0,
            20 + len(payload),
            0,
            0x4000 if df else 0,
            ttl,
            protocol,
            0,
            source.packed,
            target.packed,
        )
        return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + source.packed + target.packed + payload


def udp(source: Address, target: Address, payload: bytes, sport: int = PORT, dport: int = PORT) -> bytes:
    """A UDP datagram, without its IP header."""
    length = 8 + len(payload)
    header = struct.pack("!HHHH", sport, dport, length, 0)
    value = checksum(_pseudo(source, target, _UDP, length), header, payload) or 0xFFFF
    return header[:6] + struct.pack("!H", value) + payload


def icmp(source: Address, target: Address, type_: int, code: int, rest: bytes, payload: bytes) -> bytes:
    """An ICMP or ICMPv6 message without its IP header; `rest`: the header's last four bytes."""
    head = struct.pack("!BBH", type_, code, 0) + rest
    pseudo = _pseudo(source, target, _ICMPV6, len(head) + len(payload)) if source.version == 6 else b""
    return head[:2] + struct.pack("!H", checksum(pseudo, head, payload)) + rest + payload


def echo(source: Address, target: Address, payload: bytes, identifier: int = 1, sequence: int = 1) -> bytes:
    """An echo request, without its IP header."""
    rest = struct.pack("!HH", identifier, sequence)
    return icmp(source, target, 8 if source.version == 4 else 128, 0, rest, payload)


def frame(
    source_mac: str,
    target_mac: str,
    source: str | Address,
    target: str | Address,
    payload: bytes,
    protocol: Protocol = "udp",
    *,
    ttl: int = 64,
    dport: int = PORT,
) -> bytes:
    """A whole Ethernet frame with any addresses one likes: forged ones too."""
    source, target = ip_address(source), ip_address(target)
    if protocol == "udp":
        number, inner = _UDP, udp(source, target, payload, dport=dport)
    else:
        number = _ICMP if source.version == 4 else _ICMPV6
        inner = echo(source, target, payload)
    ethertype = ETH_IPV4 if source.version == 4 else ETH_IPV6
    return ethernet(target_mac, source_mac, ethertype, ip(source, target, number, inner, ttl))


def arp(
    operation: Literal["request", "reply"],
    source_mac: str,
    source: str,
    target_mac: str,
    target: str,
) -> bytes:
    """An ARP frame; a request goes to everybody."""
    packet = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, 1 if operation == "request" else 2)
    packet += _mac(source_mac) + IPv4Address(source).packed
    packet += _mac("00:00:00:00:00:00" if operation == "request" else target_mac) + IPv4Address(target).packed
    destination = "ff:ff:ff:ff:ff:ff" if operation == "request" else target_mac
    return ethernet(destination, source_mac, ETH_ARP, packet)


def geneve(
    inner: bytes,
    *,
    source_mac: str,
    target_mac: str,
    source: str,
    target: str,
    key: int,
    ingress: int,
    egress: int,
) -> bytes:
    """A frame in OVN's Geneve encapsulation: datapath key, and port keys in the option that OVN reads."""
    option = struct.pack("!HBBI", 0x0102, 0x80, 1, ingress << 16 | egress)
    head = struct.pack("!BBHI", len(option) // 4, 0, 0x6558, key << 8) + option
    here, there = ip_address(source), ip_address(target)
    outer = ip(here, there, _UDP, udp(here, there, head + inner, sport=40000, dport=6081))
    return ethernet(target_mac, source_mac, ETH_IPV4, outer)
