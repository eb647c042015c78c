"""Interconnects of many shapes on one lab of three sites: wide, many, hub and spokes, IPv6 only, two sides of one site.

Tenants `a` to `d` have the same addresses everywhere. Beside them: `six` has IPv6 alone; `one`, `two` and `three` are
VPCs of one owner, all on the cloud, and `far` is her fourth, in the east.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from isthmus.lab import spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.traffic import Pair

from .blame import around
from .icmp_errors import FRAGMENTATION_NEEDED, PORT_UNREACHABLE, IcmpError, answer
from .steps import attach, isthmus, steady, warm, write_interconnects

pytestmark = pytest.mark.lab

TENANTS = "abcd"
SITES = ("cloud", "east", "west")
Document = list[dict[str, Any]]


def switch(name: str, router: str, site: str, *cidrs: str) -> dict[str, Any]:
    endpoints = [{"host": f"{site}-{n}", "mtu": 1500} for n in (1, 3)]
    return {"name": name, "router": router, "cidrs": list(cidrs), "endpoints": endpoints}


def site(name: str, number: int, more: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """A site whose tenants have one subnet each, and further routers with one subnet."""
    mine = {"six": (f"fd06:{number}::/64",), **more}
    return {
        "name": name,
        "hosts": [{"name": f"{name}-{n}", "gateway": n < 3} for n in (1, 2, 3)],
        "perTenant": {
            "routers": [{"name": "{tenant}"}],
            "switches": [
                switch("{tenant}-net", "{tenant}", name, f"10.{number}.1.0/24", f"fd00:{number}:1::/64"),
                switch("{tenant}-more", "{tenant}", name, f"10.{number}.2.0/24"),
            ],
        },
        "routers": [{"name": router} for router in mine],
        "switches": [switch(f"{router}-net", router, name, *cidrs) for router, cidrs in mine.items()],
    }


def cidrs(number: int) -> tuple[str, str]:
    return f"10.{number}.1.0/24", f"fd00:{number}:1::/64"


FILE = {
    "name": "shapes",
    "underlay": {"mtu": 1600},
    "sites": [
        site("cloud", 1, {"one": cidrs(21), "two": cidrs(22), "three": cidrs(23)}),
        site("east", 2, {"far": cidrs(24)}),
        site("west", 3, {}),
    ],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(spec.parse(FILE, name=unique_name(), tenants=len(TENANTS))) as made:
        yield made


def everywhere(router: str, *sites: str) -> Document:
    return [attach(s, router, f"{router}-net") for s in sites or SITES]


def use(lab: Lab, **documents: Document) -> None:
    """Make these all there is (`_` in names for `-`), and wait until they are programmed."""
    write_interconnects(lab, {name.replace("_", "-"): attachments for name, attachments in documents.items()})
    isthmus(lab, "apply", "--prune", "--wait", "programmed")


def joined(lab: Lab, version: int, *groups: Collection[tuple[str, str]]) -> set[Pair]:
    """Ordered pairs of machines that must be open: of one router, or both on (site, router) of one group, by `-net`."""
    by_name = {m.name: m for m in lab.machines}

    def together(one: Machine, other: Machine) -> bool:
        here, there = (one.site, one.router), (other.site, other.router)
        listed = str(one.switch).endswith("-net") and str(other.switch).endswith("-net")
        return here == there or (listed and any(here in g and there in g for g in groups))

    return {(a, b) for a, b in traffic.pairs(lab.machines, version) if together(by_name[a], by_name[b])}


def exactly(lab: Lab, *groups: Collection[tuple[str, str]]) -> None:
    """Nothing else is open, in either family."""
    for version in (4, 6):
        expected = joined(lab, version, *groups)
        warm(lab, expected, version)
        found = traffic.matrix(lab, traffic.pairs(lab.machines, version), version=version)
        assert found.open == expected
        assert all(found[p].received == found[p].sent for p in expected)
        # Only named tenants can be told apart by the lab itself.
        assert not found.strays


def test_many_interconnects_join_the_same_three_sites(lab: Lab) -> None:
    """Dual stack for four tenants with the same addresses, IPv6 alone for a fifth."""
    use(lab, **{t: everywhere(t) for t in TENANTS}, six=everywhere("six"))
    exactly(lab, *([(s, router) for s in SITES] for router in (*TENANTS, "six")))


def test_spokes_of_one_hub_do_not_reach_each_other_whatever_routes_they_add(lab: Lab) -> None:
    use(
        lab,
        hub_east=everywhere("a", "cloud", "east"),
        hub_west=everywhere("a", "cloud", "west"),
        b=everywhere("b"),
    )
    groups = (
        [("cloud", "a"), ("east", "a")],
        [("cloud", "a"), ("west", "a")],
        [(s, "b") for s in SITES],
    )
    exactly(lab, *groups)
    added = [
        (spoke, prefix, edge)
        for spoke, other in (("east", 3), ("west", 2))
        for prefix, edge in zip(cidrs(other), link_addresses(lab, spoke, f"hub-{spoke}"), strict=True)
    ]
    for spoke, prefix, edge in added:
        lab.site(spoke).nbctl("--wait=hv", "lr-route-add", "a", prefix, edge)
    try:
        exactly(lab, *groups)
    finally:
        for spoke, prefix, _ in added:
            lab.site(spoke).nbctl("lr-route-del", "a", prefix)


def link_addresses(lab: Lab, where: str, interconnect: str) -> list[str]:
    """The edge's addresses on its link, IPv4 first."""
    port = f"isthmus-default.{interconnect}.{where}.link-edge"
    networks = lab.site(where).nbctl("--bare", "--columns=networks", "find", "Logical_Router_Port", f"name={port}")
    return sorted((n.split("/")[0] for n in networks.split()), key=lambda a: ":" in a)


def several(*routers: str) -> Document:
    """Attachments of the cloud, each by its router's name, and one in the east."""
    return [*(attach("cloud", r, f"{r}-net", name=r) for r in routers), attach("east", "far", "far-net")]


def test_three_vpcs_of_one_site_meet_each_other_and_another_site(lab: Lab) -> None:
    """The edge of `one` holds the site's port on the transit switch; those of `three` and `two` join it."""
    use(lab, wide=several("one", "two", "three"), b=everywhere("b"))
    group = [("cloud", r) for r in ("one", "two", "three")] + [("east", "far")]
    exactly(lab, group, [(s, "b") for s in SITES])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "pair",
    [
        ("cloud-two-net-2", "east-far-net-2"),
        ("east-far-net-2", "cloud-two-net-2"),
        ("cloud-one-net-2", "east-far-net-2"),
    ],
)
def test_path_mtu_is_told_to_a_vpc_behind_another_edge_of_its_site(lab: Lab, pair: Pair, version: int) -> None:
    use(lab, wide=several("one", "two", "three"))
    warm(lab, [pair, (pair[1], pair[0])], version)
    found = answer(lab, pair, version, 1500)
    assert found is not None
    assert (found.type_and_code, found.info) == (FRAGMENTATION_NEEDED[version], 1442)
    whole = IcmpError(PORT_UNREACHABLE[version], 0, str(lab.machine(pair[1]).address(version)))
    assert answer(lab, pair, version, 1442) == whole


def test_every_hop_between_vpcs_of_one_site_answers_when_the_ttl_is_used_up(lab: Lab) -> None:
    """VPC router, edge, first edge, edge, VPC router: five hops between `two` and `three`."""
    use(lab, wide=several("one", "two", "three"))
    pair = ("cloud-two-net-2", "cloud-three-net-2")
    warm(lab, [pair, (pair[1], pair[0])])
    found = [answer(lab, pair, 4, 100, hops) for hops in range(1, 7)]
    assert [f and f.type_and_code for f in found] == [(11, 0)] * 5 + [PORT_UNREACHABLE[4]]


def test_a_site_and_a_subnet_come_and_go_while_everything_else_flows(lab: Lab) -> None:
    """At 10 ms nothing is lost between what stays: another tenant, other sites, another subnet."""
    two = [attach("cloud", "a", "a-net"), attach("east", "a", "a-net")]
    more = [attach("cloud", "a", "a-net", "a-more"), attach("east", "a", "a-net")]
    west = [*two, attach("west", "a", "a-net")]
    use(lab, a=two, b=everywhere("b"))
    stays = [
        ("cloud-a-net-2", "east-a-net-2"),
        ("east-a-net-2", "cloud-a-net-2"),
        ("cloud-b-net-2", "west-b-net-1"),
        ("west-b-net-1", "east-b-net-1"),
        ("cloud-a-net-1", "cloud-a-more-2"),
    ]
    steady(lab, stays)
    new = [("west-a-net-1", "cloud-a-net-1"), ("cloud-a-more-2", "east-a-net-1")]
    seen = []
    with traffic.Streams(lab, stays, interval=0.01) as streams:
        streams.wait()
        for wanted in (west, two, more, two):
            use(lab, a=wanted, b=everywhere("b"))
            seen.append(traffic.matrix(lab, new, count=10, settle=0.1).open)
        time.sleep(0.1)
        reports = streams.stop()
    assert [{new[0]} & seen[0], seen[1], {new[1]} & seen[2], seen[3]] == [{new[0]}, set(), {new[1]}, set()]
    lost = {f"{a} > {b}": len(r.lost) for (a, b), r in reports.items()}
    print(f"\nlost of {min(r.sent for r in reports.values())}: {lost}")
    assert not any(lost.values()), around(lab, reports)
