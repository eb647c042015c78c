"""Addresses of Pods: nobody gets what somebody has."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from hypothesis import given
from hypothesis import strategies as st

from isthmus.compile.networks import Lease
from isthmus.compile.pool import Pool
from isthmus.errors import Problem
from isthmus.model.intent import Address
from isthmus.model.networks import Subnet


def subnet(*gateways: str, excluded: str = "") -> Subnet:
    ranges = tuple((ip_address(a), ip_address(b)) for a, b in (r.split("-") for r in excluded.split()))
    return Subnet("web", "vpc", tuple(ip_interface(g) for g in gateways), excluded=ranges)


def free(_: Address) -> bool:
    return False


def given_to(pool: Pool, holder: str, *wanted: str, mac: str = "") -> Lease:
    found = pool.give(holder, tuple(map(ip_address, wanted)), mac, free)
    assert isinstance(found, Lease), found
    return found


def refused(pool: Pool, holder: str, *wanted: str, mac: str = "") -> str:
    found = pool.give(holder, tuple(map(ip_address, wanted)), mac, free)
    assert isinstance(found, Problem)
    return found.code


def shown(lease: Lease) -> list[str]:
    return [str(a) for a in lease.addresses]


def test_the_first_addresses_after_the_routers() -> None:
    pool = Pool(subnet("10.1.0.1/24", "fd00::1/64"))
    assert shown(given_to(pool, "a")) == ["10.1.0.2/24", "fd00::2/64"]
    assert shown(given_to(pool, "b")) == ["10.1.0.3/24", "fd00::3/64"]


def test_who_asks_again_gets_the_same() -> None:
    pool = Pool(subnet("10.1.0.1/24"))
    assert given_to(pool, "a") == given_to(pool, "a")
    assert len(pool) == 1


def test_what_is_given_back_is_not_the_next_to_be_given() -> None:
    pool = Pool(subnet("10.1.0.1/29"))
    given_to(pool, "a")
    pool.release("a")
    assert shown(given_to(pool, "b")) == ["10.1.0.3/29"]
    assert [shown(given_to(pool, h)) for h in "cde"] == [["10.1.0.4/29"], ["10.1.0.5/29"], ["10.1.0.6/29"]]
    assert shown(given_to(pool, "f")) == ["10.1.0.2/29"]
    assert refused(pool, "g") == "Exhausted"
    assert pool.free(4) == 0


def test_excluded_addresses_are_for_who_names_them() -> None:
    pool = Pool(subnet("10.1.0.1/29", excluded="10.1.0.2-10.1.0.4 10.1.0.6-10.1.0.9"))
    assert pool.free(4) == 1
    assert shown(given_to(pool, "fixed", "10.1.0.3")) == ["10.1.0.3/29"]
    assert pool.free(4) == 1
    assert shown(given_to(pool, "a")) == ["10.1.0.5/29"]
    assert refused(pool, "b") == "Exhausted"


def test_what_cannot_be_had() -> None:
    pool = Pool(subnet("10.1.0.1/24", "fd00::1/64"))
    given_to(pool, "a", "10.1.0.9", mac="0a:00:00:00:00:01")
    assert refused(pool, "b", "10.1.0.9") == "AddressInUse"
    assert refused(pool, "b", mac="0a:00:00:00:00:01") == "AddressInUse"
    assert refused(pool, "b", "10.2.0.9") == "AddressOutside"
    for nobodys in ("10.1.0.1", "10.1.0.0", "10.1.0.255", "fd00::", "fd00::1"):
        assert refused(pool, "b", nobodys) == "AddressReserved", nobodys
    assert len(pool) == 1


def test_a_fixed_address_of_one_family_leaves_the_other_free() -> None:
    pool = Pool(subnet("10.1.0.1/24", "fd00::1/64"))
    assert shown(given_to(pool, "a", "fd00::77")) == ["10.1.0.2/24", "fd00::77/64"]


def test_who_wants_another_address_keeps_its_mac_and_gives_the_old_one_back() -> None:
    pool = Pool(subnet("10.1.0.1/24"))
    before = given_to(pool, "a")
    after = given_to(pool, "a", "10.1.0.50")
    assert after.mac == before.mac
    assert shown(given_to(pool, "b", "10.1.0.2")) == ["10.1.0.2/24"]


def test_what_a_neighbour_on_the_node_has_is_given_last() -> None:
    pool = Pool(subnet("10.1.0.1/29"))
    there = {ip_address("10.1.0.2"), ip_address("10.1.0.3")}
    first = pool.give("a", (), "", lambda a: a in there)
    assert isinstance(first, Lease)
    assert shown(first) == ["10.1.0.4/29"]
    for holder in "bc":
        given_to(pool, holder)
    last = pool.give("d", (), "", lambda a: a in there)
    assert isinstance(last, Lease)
    assert last.addresses[0].ip in there


def test_what_stands_is_held_and_what_is_another_s_is_not() -> None:
    pool = Pool(subnet("10.1.0.1/24"))
    mac = "0a:00:00:00:00:01"
    assert pool.hold("a", (ip_address("10.1.0.2"),), mac)
    assert not pool.hold("b", (ip_address("10.1.0.2"),), "0a:00:00:00:00:02")
    assert not pool.hold("b", (ip_address("10.1.0.3"),), mac)
    assert not pool.hold("b", (ip_address("10.9.0.3"),), "0a:00:00:00:00:02")
    assert shown(given_to(pool, "b")) == ["10.1.0.3/24"]


def test_a_network_of_ipv6_is_counted_not_listed() -> None:
    pool = Pool(subnet("fd00::1/64"))
    assert pool.free(6) == 2**64 - 2
    assert shown(given_to(pool, "a")) == ["fd00::2/64"]


STEP = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["give", "release", "fixed"]), st.integers(0, 15))


@given(st.lists(STEP, max_size=60))
def test_no_address_has_two_holders_and_none_is_lost(steps: list[tuple[str, str, int]]) -> None:
    pool = Pool(subnet("10.1.0.1/28", excluded="10.1.0.12-10.1.0.13"))
    leases: dict[str, Lease] = {}
    for holder, what, number in steps:
        if what == "release":
            pool.release(holder)
            leases.pop(holder, None)
            continue
        wanted = (ip_address("10.1.0.0") + number,) if what == "fixed" else ()
        found = pool.give(holder, wanted, "", free)
        if isinstance(found, Lease):
            leases[holder] = found
    taken = [lease.addresses[0].ip for lease in leases.values()]
    assert len(set(taken)) == len(taken)
    assert len({lease.mac for lease in leases.values()}) == len(leases)
    assert all(pool.lease(h) == lease for h, lease in leases.items())
    inside = sum(str(a) in ("10.1.0.12", "10.1.0.13") for a in taken)
    assert pool.free(4) == 16 - 3 - 2 - (len(taken) - inside)
