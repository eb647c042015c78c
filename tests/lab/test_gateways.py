"""Gateway chassis: one fails, the list changes while packets flow, what else a list may say.

Streams send every 10 ms. No time is asserted beyond a bound that says "it moved at all"; what was lost is printed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from isthmus.lab import hosts, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import LabFactory, unique_name
from isthmus.lab.spec import load
from isthmus.lab.traffic import Pair, Report

from .steps import apply, attach, isthmus, same_tenant, set_site, steady, warm, write_interconnects

pytestmark = pytest.mark.lab

MOVED = [("cloud-a-db-2", "cluster-a-jobs-2"), ("cluster-a-jobs-2", "cloud-a-db-2")]
"""Machines on hosts that are no gateways: what is lost is lost on the way."""
ELSE = [
    ("cloud-b-db-2", "cluster-b-jobs-2"),
    ("cluster-b-jobs-2", "cloud-b-db-2"),
    ("cloud-a-web-1", "cloud-a-db-2"),
    ("cluster-a-pods-1", "cluster-a-jobs-2"),
]
"""Another tenant's way across, and ways inside one site."""

CLUSTER = ["cluster-1", "cluster-2"]
BOUND = 6.0
"""Seconds within which traffic must have moved; OVN's default timers need about two."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(load("two-sites", name=unique_name(), tenants=2)) as made:
        yield made


def gateways(lab: Lab, *cloud: str, everybody: bool = False) -> dict[str, Any]:
    """Give the cloud's side of tenant a (or of both tenants) these gateways and apply."""

    def both(tenant: str, *chassis: str) -> list[dict[str, Any]]:
        return [
            attach("cloud", tenant, f"{tenant}-web", f"{tenant}-db", gateways=list(chassis)),
            attach("cluster", tenant, f"{tenant}-pods", f"{tenant}-jobs", gateways=CLUSTER),
        ]

    others = cloud if everybody else ("cloud-2", "cloud-1")
    write_interconnects(lab, {"tenant-a": both("a", *cloud), "tenant-b": both("b", *others)})
    return apply(lab)


def carrier(lab: Lab, tenant: str = "a", site: str = "cloud") -> str:
    """The chassis that carries the site's transit port."""
    port = f"cr-isthmus-default.tenant-{tenant}.{site}.transit"
    found = lab.site(site).sbctl("--bare", "--columns=chassis", "find", "Port_Binding", f"logical_port={port}").strip()
    return lab.site(site).sbctl("--bare", "--columns=name", "list", "Chassis", found).strip() if found else ""


def watched(lab: Lab, one: str, other: str) -> bool:
    """The hosts' tunnel to each other is watched by BFD, and up for both."""
    for here, there in ((one, other), (other, one)):
        remote = f"options:remote_ip={lab.host(there).address}"
        found = lab.host(here).exec(["ovs-vsctl", "--bare", "--columns=bfd_status", "find", "Interface", remote])
        if "remote_state=up" not in found.stdout or " state=up" not in f" {found.stdout}":
            return False
    return True


def until(condition: Callable[[], bool], seconds: float = BOUND) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@contextmanager
def flowing(lab: Lab, reports: dict[Pair, Report]) -> Iterator[traffic.Streams]:
    """Streams on every pair, the first packets of which have arrived; fills `reports` at the end."""
    steady(lab, MOVED + ELSE)
    streams = traffic.Streams(lab, MOVED + ELSE, interval=0.01)
    try:
        streams.wait()
        yield streams
        time.sleep(0.5)
    finally:
        reports |= streams.stop()


def losses(reports: dict[Pair, Report], pairs: list[Pair]) -> dict[str, int]:
    return {f"{a} > {b}": len(reports[a, b].lost) for a, b in pairs}


def arrives_again(streams: traffic.Streams) -> bool:
    """The last quarter second of every moved stream arrived."""
    return all(
        set(range(max(s) - 25, max(s) - 5)) <= set(streams.arrivals[p]) for p in MOVED if (s := streams.departures[p])
    )


@pytest.mark.parametrize("timers", [None, {"minRx": 100, "minTx": 100, "mult": 3}], ids=["defaults", "100ms-x3"])
def test_traffic_moves_when_the_gateways_uplink_is_cut_and_back_when_it_is_mended(
    lab: Lab, timers: dict[str, int] | None
) -> None:
    for site in ("cloud", "cluster"):
        set_site(lab, site, bfd=timers)
    gateways(lab, "cloud-1", "cloud-2", everybody=True)
    until(lambda: carrier(lab) == "cloud-1")
    until(lambda: watched(lab, "cloud-1", "cloud-2") and watched(lab, "cloud-1", "cloud-3"), 20)
    reports: dict[Pair, Report] = {}
    with flowing(lab, reports) as streams:
        cut_at = time.time_ns()
        lab.host("cloud-1").cut()
        try:
            until(lambda: carrier(lab) == "cloud-2")
            until(lambda: arrives_again(streams))
        finally:
            healed_at = time.time_ns()
            lab.host("cloud-1").heal()
        until(lambda: carrier(lab) == "cloud-1", 20)
        time.sleep(0.5)
        until(lambda: arrives_again(streams))
    for pair in MOVED:
        lost = [at for _, at in reports[pair].lost]
        away, back = sum(at < healed_at for at in lost), sum(at >= healed_at for at in lost)
        print(f"\n{timers or 'default timers'}: {pair[0]} > {pair[1]}: {away} lost when cut, {back} when mended")
        assert 0 < away <= BOUND * 100
        assert back <= BOUND * 100
        assert all(at > cut_at - 100_000_000 for at in lost)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(["cloud-1", "cloud-2"], ["cloud-2", "cloud-1"], id="reordered"),
        pytest.param(["cloud-1", "cloud-2"], ["cloud-3", "cloud-2"], id="replaced"),
        pytest.param(["cloud-1", "cloud-2"], ["cloud-1"], id="the backup removed"),
        pytest.param(["cloud-1"], ["cloud-1", "cloud-3"], id="a backup added"),
    ],
)
def test_a_live_change_of_the_list_costs_nobody_else_a_packet(lab: Lab, before: list[str], after: list[str]) -> None:
    lab.host("cloud-3").exec(["ovs-vsctl", "set", "open", ".", "external_ids:ovn-is-interconn=true"])
    until(lambda: "cloud-3" in lab.fabric.sbctl("--bare", "--columns=name", "list", "Gateway").split())
    gateways(lab, *before)
    until(lambda: carrier(lab) == before[0])
    reports: dict[Pair, Report] = {}
    with flowing(lab, reports):
        gateways(lab, *after)
        until(lambda: carrier(lab) == after[0])
    moved, still = losses(reports, MOVED), losses(reports, ELSE)
    print(f"\n{before} -> {after}: moved {moved}, else {still}")
    assert not any(still.values()), still
    bound = 0 if before[0] == after[0] else 100
    assert all(lost <= bound for lost in moved.values()), moved
    assert all(reports[p].last and reports[p].received for p in MOVED)


def test_the_agent_marks_a_gateway_and_marks_it_again(lab: Lab) -> None:
    def marked() -> bool:
        said = lab.host("cloud-3").exec(
            ["ovs-vsctl", "--if-exists", "get", "open", ".", "external_ids:ovn-is-interconn"]
        )
        shown = lab.fabric.sbctl("--bare", "--columns=name", "list", "Gateway").split()
        return said.stdout.strip() == '"true"' and "cloud-3" in shown

    unmark = ["ovs-vsctl", "remove", "open", ".", "external_ids", "ovn-is-interconn"]
    lab.host("cloud-3").exec(unmark)
    until(lambda: not marked())
    agent = lab.popen("cloud-3", [hosts.isthmus(), "agent", "--gateway"], stderr=subprocess.DEVNULL)
    try:
        until(marked)
        lab.host("cloud-3").exec(unmark)
        until(marked)
    finally:
        agent.terminate()
        agent.wait(timeout=10)
    assert marked(), "the mark outlives the agent"


def test_a_site_of_two_chassis_is_warned_about_and_hostnames_name_gateways(lab_factory: LabFactory) -> None:
    file = load("two-sites").model_dump(mode="json", by_alias=True)
    for site in file["sites"]:
        hosts = site["hosts"][:2] if site["name"] == "cloud" else site["hosts"]
        site["hosts"] = [{**host, "chassis": f"id-of-{host['name']}"} for host in hosts]
        for switch in site["perTenant"]["switches"]:
            switch["endpoints"] = [{"host": f"{site['name']}-{n}"} for n in (1, 2)]
    small = lab_factory(file, tenants=1)
    for site in ("cloud", "cluster"):
        set_site(small, site, gateways=[f"{site}-1", f"{site}-2"])
    notes = isthmus(small, "plan")["notes"]
    assert [n for n in notes if "'cloud' has two chassis" in n]
    assert not [n for n in notes if "'cluster' has two chassis" in n]
    apply(small)
    assert carrier(small) in ("id-of-cloud-1", "id-of-cloud-2")
    open_pairs = same_tenant(small, traffic.pairs(small.machines))
    warm(small, open_pairs)
    write_interconnects(
        small,
        {
            "tenant-a": [
                attach("cloud", "a", "a-web", gateways=["cloud-2"]),
                attach("cluster", "a", "a-pods", gateways=["id-of-cluster-2", "cluster-1"]),
            ]
        },
    )
    apply(small)
    until(lambda: (carrier(small), carrier(small, site="cluster")) == ("id-of-cloud-2", "id-of-cluster-2"))
    assert [n for n in isthmus(small, "plan")["notes"] if "'cloud' has one gateway chassis" in n]
