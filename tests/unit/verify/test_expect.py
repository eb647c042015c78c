"""What is wanted of a pair of subnets."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from isthmus.verify.expect import Expectation
from isthmus.verify.place import Place


@pytest.mark.parametrize(
    "here, there, wanted",
    [
        (["10.1.0.0/24"], ["10.2.0.0/24"], True),
        (["10.1.0.0/24", "fd00:1::/64"], ["fd00:2::/64"], True),
        (["10.1.0.0/24"], ["fd00:2::/64"], False),
    ],
)
def test_no_packet_is_wanted_where_two_subnets_have_no_ip_version_in_common(
    here: list[str], there: list[str], wanted: bool
) -> None:
    one, other = (
        Place(site, site, "net", (f"{site}-net",), tuple(map(ip_network, prefixes)))
        for site, prefixes in (("east", here), ("west", there))
    )
    expected = Expectation((one, other), {one: frozenset({("t", "east")}), other: frozenset({("t", "west")})})
    assert [pair.wanted for pair in expected.pairs()] == [wanted, wanted]
