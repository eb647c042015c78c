"""Numbers given once: known ones stay, new ones are the lowest free, and forbidden ranges are never given."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import allocate
from isthmus.compile.view import link_capacity, link_interfaces, transit_interfaces
from isthmus.errors import WorldError
from isthmus.model.intent import Pools

POOLS = Pools(
    link=(ip_network("169.254.128.0/18"), ip_network("fd69:7374::/32")),
    transit=(ip_network("169.254.64.0/18"), ip_network("fd69:7375::/32")),
)
NAMES = st.text("abc", min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.integers(1, 20)), st.sets(NAMES, max_size=10))
def test_known_numbers_stay_and_all_are_different(known: dict[str, int], names: set[str]) -> None:
    found = allocate.keep(known, names, 1, 40, "x")
    assert found.keys() == names
    assert len(set(found.values())) == len(found)
    for name in names & known.keys():
        first = min(n for n in names & known.keys() if known[n] == known[name])
        assert found[name] == known[name] or first != name


@given(st.sets(NAMES, max_size=8), NAMES)
def test_one_more_name_moves_no_other(names: set[str], new: str) -> None:
    before = allocate.keep({}, names, 1, 40, "x")
    after = allocate.keep(before, names | {new}, 1, 40, "x")
    assert after.items() >= before.items()


@given(st.dictionaries(NAMES, st.integers(1, 20)), st.sets(NAMES, max_size=10))
def test_the_number_of_one_that_left_is_not_given_again(known: dict[str, int], names: set[str]) -> None:
    found = allocate.keep(known, names, 1, 40, "x")
    assert not {found[n] for n in names - known.keys()} & set(known.values())


def test_the_end_of_the_numbers_is_said() -> None:
    with pytest.raises(WorldError, match="no thing is free from 1 to 2; enlarge"):
        allocate.keep({}, ["a", "b", "c"], 1, 2, "thing")


@given(st.sets(st.integers(0, 30)))
def test_a_link_is_the_lowest_free_one(taken: set[int]) -> None:
    assert allocate.link(POOLS, taken, []) == min(set(range(32)) - taken)


def test_a_link_meets_no_network_of_the_routers() -> None:
    busy = [
        ip_network("169.254.128.0/28"),
        ip_network("fd69:7374:0:2::/64"),
        ip_network("0.0.0.0/0"),
        ip_network("::/0"),
    ]
    assert allocate.link(POOLS, {3}, busy) == 4


def test_the_metadata_address_and_neutron_s_own_range_are_never_given() -> None:
    pools = Pools((ip_network("169.254.169.240/28"), ip_network("169.254.192.0/18")), POOLS.transit)
    assert allocate.link(pools, (), []) == 0
    with pytest.raises(WorldError, match=r"addressPools\.link"):
        allocate.link(pools, {0}, [])


@given(st.integers(0, link_capacity(POOLS) - 2), st.integers(1, 6))
def test_links_are_disjoint_and_hold_their_hosts(number: int, host: int) -> None:
    here, there = link_interfaces(POOLS, number, host), link_interfaces(POOLS, number + 1, host)
    for mine, other, pool in zip(here, there, POOLS.link, strict=True):
        assert mine.network.subnet_of(pool)  # type: ignore[arg-type]
        assert not mine.network.overlaps(other.network)
        assert mine.network.network_address < mine.ip


def test_several_pools_are_one_range_after_the_other() -> None:
    pools = Pools(
        (ip_network("169.254.128.0/29"), ip_network("169.254.64.8/29"), ip_network("fd00::/63")), POOLS.transit
    )
    assert link_capacity(pools) == 2
    assert [str(i) for i in link_interfaces(pools, 1, 2)] == ["169.254.64.10/29", "fd00:0:0:1::2/64"]


def test_transit_addresses_are_of_one_range_each() -> None:
    assert [i.ip for i in transit_interfaces(POOLS, 5)] == [ip_address("169.254.64.5"), ip_address("fd69:7375::5")]
