"""Frames of the probe against vectors that other implementations made."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.agent.packets import PAYLOAD, Address, Echo, checksum, echo_request, mac, parse_reply

# An answer of OVN's own router 10.2.0.1 to a request of another program, read from a TAP device.
OVN_REPLY = bytes.fromhex(
    "020000009903020000009902" "81000005" "0800"
    "4500004c00000000fe0188ac0a020001a9fe8003"
    "0000d4c7004d00c341dac12435bf8800" + "78" * 40
)  # fmt: skip


def echo(source: str, target: str, **changes: object) -> Echo:
    values: dict[str, object] = {
        "tag": 5, "source_mac": mac("02:00:00:00:99:03"), "router_mac": mac("02:00:00:00:99:02"),
        "source": ip_address(source), "target": ip_address(target),
        "identifier": 0x1234, "sequence": 7, "cookie": b"cookie",
    }  # fmt: skip
    return Echo(**(values | changes))  # type: ignore[arg-type]


def answer(frame: bytes) -> bytes:
    """What a router makes of a request: addresses turned, type changed, checksums right, by longhand arithmetic."""
    ethernet, packet = bytearray(frame[:18]), bytearray(frame[18:])
    ethernet[0:6], ethernet[6:12] = ethernet[6:12], ethernet[0:6]
    if packet[0] >> 4 == 4:
        packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
        packet[20], packet[22:24] = 0, b"\0\0"
        packet[22:24] = longhand(packet[20:]).to_bytes(2)
    else:
        packet[8:24], packet[24:40] = packet[24:40], packet[8:24]
        packet[40], packet[42:44] = 129, b"\0\0"
        pseudo = bytes(packet[8:40]) + struct.pack("!II", len(packet) - 40, 58)
        packet[42:44] = longhand(pseudo + bytes(packet[40:])).to_bytes(2)
    return bytes(ethernet + packet)


def longhand(data: bytes | bytearray) -> int:
    """RFC 1071 §4.1, word by word."""
    total = 0
    padded = bytes(data) + b"\0" * (len(data) % 2)
    for (word,) in struct.iter_unpack("!H", padded):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=200))
def test_the_checksum_is_that_of_the_rfc(data: bytes) -> None:
    assert checksum(data) == longhand(data)


def test_a_checksum_over_a_right_header_is_zero() -> None:
    # The example header of Wikipedia's article "Internet checksum".
    assert checksum(bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")) == 0


def test_the_request_over_ipv4_is_laid_out_as_the_rfcs_say() -> None:
    frame = echo_request(echo("169.254.128.3", "10.2.0.1"))
    assert frame[:18].hex() == "020000009902020000009903810000050800"
    assert len(frame) == 18 + 20 + 8 + PAYLOAD
    assert frame[18:38].hex()[:20] == "45000054000040004001"
    assert longhand(frame[18:38]) == 0
    assert (frame[30:34], frame[34:38]) == (bytes([169, 254, 128, 3]), bytes([10, 2, 0, 1]))
    assert frame[38:40] == b"\x08\x00" and frame[42:46].hex() == "12340007"
    assert longhand(frame[38:]) == 0


def test_the_request_over_ipv6_is_laid_out_as_the_rfcs_say() -> None:
    frame = echo_request(echo("fd69:7374::3", "fd00:2::1"))
    assert frame[12:18].hex() == "8100000586dd"
    assert frame[18:26].hex() == "6000000000403a40"
    assert frame[58:60] == b"\x80\x00"
    pseudo = frame[26:58] + struct.pack("!II", 64, 58)
    assert longhand(pseudo + frame[58:]) == 0


def test_the_reply_of_a_real_ovn_router_is_understood() -> None:
    reply = parse_reply(OVN_REPLY)
    assert reply is not None
    assert (reply.tag, reply.identifier, reply.sequence) == (5, 77, 195)
    assert (reply.source, reply.target) == (IPv4Address("10.2.0.1"), IPv4Address("169.254.128.3"))
    assert reply.payload.endswith(b"x" * 40)


@pytest.mark.parametrize(("source", "target"), [("169.254.128.3", "10.2.0.1"), ("fd69:7374::3", "fd00:2::1")])
def test_an_answered_request_returns_what_was_sent(source: str, target: str) -> None:
    reply = parse_reply(answer(echo_request(echo(source, target, cookie=b"secret", tag=4094))))
    assert reply is not None
    assert (reply.tag, reply.identifier, reply.sequence) == (4094, 0x1234, 7)
    assert (str(reply.source), str(reply.target)) == (target, source)
    assert reply.payload.startswith(b"secret") and len(reply.payload) == PAYLOAD


def test_the_priority_bits_beside_the_tag_are_not_the_tag() -> None:
    frame = bytearray(answer(echo_request(echo("169.254.128.3", "10.2.0.1"))))
    frame[14] |= 0xE0
    reply = parse_reply(bytes(frame))
    assert reply is not None and reply.tag == 5


@pytest.mark.parametrize("pair", [("169.254.128.3", "10.2.0.1"), ("fd69:7374::3", "fd00:2::1")])
def test_a_request_is_not_taken_for_a_reply(pair: tuple[str, str]) -> None:
    assert parse_reply(echo_request(echo(*pair))) is None


@pytest.mark.parametrize("pair", [("169.254.128.3", "10.2.0.1"), ("fd69:7374::3", "fd00:2::1")])
def test_a_damaged_or_cut_reply_is_ignored(pair: tuple[str, str]) -> None:
    frame = answer(echo_request(echo(*pair)))
    assert parse_reply(frame) is not None
    for length in range(len(frame)):
        assert parse_reply(frame[:length]) is None
    start = 18 + (20 if ":" not in pair[0] else 40)
    for position in range(start, len(frame)):
        damaged = bytearray(frame)
        damaged[position] ^= 0x10
        assert parse_reply(bytes(damaged)) is None


def test_frames_without_tag_are_ignored() -> None:
    frame = answer(echo_request(echo("169.254.128.3", "10.2.0.1")))
    assert parse_reply(frame[:12] + frame[16:]) is None


@given(st.binary(max_size=120))
def test_no_frame_makes_the_parser_fail(data: bytes) -> None:
    parse_reply(data)
    parse_reply(bytes(12) + b"\x81\x00\x00\x05\x08\x00" + data)
    parse_reply(bytes(12) + b"\x81\x00\x00\x05\x86\xdd" + data)


@given(
    st.ip_addresses(v=4), st.ip_addresses(v=4), st.binary(max_size=PAYLOAD), st.integers(0, 0xFFFF)
)  # fmt: skip
def test_any_ipv4_request_survives_the_way(source: Address, target: Address, cookie: bytes, number: int) -> None:
    sent = echo(str(source), str(target), cookie=cookie, sequence=number)
    reply = parse_reply(answer(echo_request(sent)))
    assert reply is not None and reply.sequence == number and reply.source == target


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), st.integers(0, 0xFFFF))
def test_any_ipv6_request_survives_the_way(source: IPv6Address, target: IPv6Address, number: int) -> None:
    reply = parse_reply(answer(echo_request(echo(str(source), str(target), sequence=number))))
    assert reply is not None and reply.sequence == number and reply.source == target


@pytest.mark.parametrize("text", ["", "02:00", "02:00:00:00:99:zz", "020000009903", "2:0:0:0:9:3"])
def test_what_is_no_mac_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        mac(text)
