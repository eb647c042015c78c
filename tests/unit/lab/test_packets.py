"""Packets of the lab's own making are what they claim to be."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab import packets
from isthmus.lab.packets import Mark

MACS = ("0a:00:00:00:00:01", "0a:00:00:00:00:02")
PAIRS = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]

numbers = st.integers(0, 2**16 - 1)


@given(
    st.builds(Mark, numbers, numbers, numbers, numbers, numbers), st.binary(max_size=40).filter(lambda b: b"i" not in b)
)
def test_a_mark_is_found_wherever_it_is(mark: Mark, head: bytes) -> None:
    assert packets.decode(head + mark.encode() + head) == mark


def test_a_frame_without_or_with_half_a_mark_has_none() -> None:
    assert packets.decode(b"x" * 100) is None
    assert packets.decode(Mark(1, 2, 3, 4).encode()[:-1]) is None


@pytest.mark.parametrize("pair", PAIRS)
def test_checksums_verify(pair: tuple[str, str]) -> None:
    source, target = map(ip_address, pair)
    number = 17
    datagram = packets.udp(source, target, b"odd")
    assert packets.checksum(packets._pseudo(source, target, number, len(datagram)), datagram) == 0
    message = packets.echo(source, target, b"odd")
    pseudo = packets._pseudo(source, target, 58, len(message)) if source.version == 6 else b""
    assert packets.checksum(pseudo, message) == 0
    if source.version == 4:
        assert packets.checksum(packets.ip(source, target, 17, datagram)[:20]) == 0


@pytest.mark.parametrize("pair", PAIRS)
def test_kinds_of_packets_are_told_apart(pair: tuple[str, str]) -> None:
    source, target = map(ip_address, pair)
    four = source.version == 4
    ethertype = packets.ETH_IPV4 if four else packets.ETH_IPV6
    number = 1 if four else 58

    def wrapped(type_: int) -> bytes:
        message = packets.icmp(source, target, type_, 0, bytes(4), b"")
        return packets.ethernet(*MACS, ethertype, packets.ip(source, target, number, message))

    assert packets.kind(packets.frame(*MACS, source, target, b"", "icmp")) == "sent"
    assert packets.kind(packets.frame(*MACS, source, target, b"", "udp")) == "sent"
    assert packets.kind(wrapped(0 if four else 129)) == "reply"
    assert packets.kind(wrapped(3 if four else 1)) == "error"
    assert packets.kind(packets.arp("request", MACS[0], "10.0.0.1", MACS[1], "10.0.0.2")) == "sent"
