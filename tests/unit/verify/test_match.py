"""OVN's match expressions: what they say, and what OVN refuses (cases of OVN's tests/ovn.at among them)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.verify.match import Facts, compile_match, constants, refusal

WEB = Facts(
    {
        "inport": "web",
        "outport": "up",
        "ip4.src": int(ip_address("10.1.0.5")),
        "ip4.dst": int(ip_address("10.2.0.9")),
        "tcp.src": 40000,
        "tcp.dst": 80,
        "tcp.flags": 2,
        "ip.proto": 6,
        "ip.ttl": 63,
        "ip.later_frag": 0,
    },
    family=4,
    proto=6,
    sets={"@group": ["web", "db"], "as": ["10.1.0.0/24"]},
)
PING6 = Facts(
    {"ip6.src": int(ip_address("fd00::1")), "ip6.dst": int(ip_address("fd00:2::1")), "icmp6.type": 128},
    family=6,
    proto=58,
)


@pytest.mark.parametrize(
    ("match", "truth"),
    [
        ("1", True),
        ("0", False),
        ("ip4", True),
        ("ip6 || ip4", True),
        ("ip4.src == 10.1.0.0/24 && ip4.dst == {10.2.0.0/24, 10.3.0.0/24}", True),
        ("ip4.src == 10.1.0.0/255.255.255.0", True),
        ("ip4.dst != {10.2.0.0/24, 10.3.0.0/24}", False),
        ("!(ip4.dst == 10.9.0.0/24)", True),
        ("!(ip4.dst == 10.9.0.0/24 || tcp.dst == 80)", False),
        ('inport == "web"', True),
        ('inport == {"web", "db"}', True),
        ('inport == {"a", "b"}', False),
        ("inport == @group", True),
        ("ip4.src == $as", True),
        ("ip4.src == $nobody_knows", None),
        ("tcp.dst == 80", True),
        ("tcp.dst >= 80 && tcp.dst <= 90", True),
        ("udp.dst == 80", False),
        ("udp.dst != 81", False),
        ("tcp && !ip.later_frag", True),
        ("ip.ttl == {0, 1}", False),
        ("ip4 && (icmp4 || (tcp && tcp.dst == 443))", False),
        ('is_chassis_resident("cr-up")', None),
        ('is_chassis_resident("cr-up") && ip6', False),
        ('is_chassis_resident("cr-up") || ip4', True),
        ("ct.new && ip4", None),
        ("reg0 == 1", None),
        ("flags.loopback == 1", None),
        ("ip4.mcast", False),
        ("arp || nd", False),
        ("tcp[[", None),
        ("ip4 && tcp || udp", None),
        ("some.new.field == 3", None),
        ("ip4.src == 10.1.0.1/24", None),
    ],
)
def test_a_match_says_of_a_tcp_packet(match: str, truth: bool | None) -> None:
    assert compile_match(match)(WEB) is truth


@pytest.mark.parametrize(
    ("match", "truth"),
    [
        ("icmp6.type == {128, 129} && ip6.dst == fd00:2::/64", True),
        ("icmp && ip6.src == fd00::1", True),
        ("nd_ns", False),
        ("ip4.src != 10.0.0.0/8", False),
        ("icmp4.type == 8", False),
        ("ip6.src == {fd00:1::/64, fd00::/64}", True),
    ],
)
def test_a_match_says_of_a_ping_over_ipv6(match: str, truth: bool | None) -> None:
    assert compile_match(match)(PING6) is truth


@pytest.mark.parametrize(
    "match",
    [
        'inport != "eth0"',
        '!(inport == "eth0")',
        "!tcp && ip4",
        "ip.proto != 6",
        "ip.ttl > 62",
        "icmp4.type != 8",
        "!ip",
        "ip == 0",
        "!(ip4 && tcp.dst == 80)",
    ],
)
def test_a_negated_nominal_field_is_refused_by_ovn_and_never_matches(match: str) -> None:
    assert refusal(match)
    assert compile_match(match)(WEB) is False


@pytest.mark.parametrize("match", ['!(inport != "eth0")', "!ip.later_frag", "!(tcp.dst == 80)", "ip4.src != 10.0.0.1"])
def test_ordinal_fields_and_double_negation_are_not_refused(match: str) -> None:
    assert refusal(match) == ""


def test_constants_are_every_address_range_in_the_match() -> None:
    low = int(ip_address("10.0.0.0"))
    assert constants("ip4.src == 10.0.0.0/30 || ip6.dst == ::5") == ((4, (low, low + 3)), (6, (5, 5)))


def test_constants_of_an_unreadable_match_are_found_all_the_same() -> None:
    low = int(ip_address("10.0.0.0"))
    assert constants("strange(10.0.0.0/30)") == ((4, (low, low + 3)),)
