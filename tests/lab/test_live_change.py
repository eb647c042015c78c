"""What changes for one subnet, attachment, gateway or tenant costs nobody else a packet (sent every 10 ms)."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Pair, Stream, Streams, matrix

from .blame import around
from .steps import apply, attach, isthmus, set_site, steady, warm, write_interconnects

pytestmark = pytest.mark.lab

CLOUD, EAST, WEST = attach("cloud", "a", "a-web"), attach("east", "a", "a-pods"), attach("west", "a", "a-pods")
B = [attach("cloud", "b", "b-web"), attach("east", "b", "b-pods"), attach("west", "b", "b-pods")]


def ways(*names: str) -> list[Pair]:
    """Both directions between each two of the machines."""
    return [(a, b) for a in names for b in names if a != b]


NEIGHBOUR = ways("cloud-b-web-1", "east-b-pods-2")
OWN = ways("cloud-a-web-1", "east-a-pods-2")


@contextmanager
def nothing_lost(lab: Lab, *pairs: Pair) -> Iterator[None]:
    """Packets flow before, during and after, and all of them arrive."""
    steady(lab, pairs)
    with Streams(lab, pairs) as streams:
        time.sleep(0.3)
        begin = time.time_ns()
        yield
        time.sleep(0.5)
        reports = streams.stop()
        for pair, report in reports.items():
            assert report.sent > 50
            # What was lost before anything changed is the first packets' (neighbours are being resolved).
            lost = [(number, (at - begin) / 1e9) for number, at in report.lost if at >= begin]
            assert not lost, f"{pair}: of {report.sent}, {len(lost)} lost: {lost[:20]}\n{around(lab, reports)}"


def reaches(lab: Lab, *pairs: Pair) -> set[Pair]:
    return set(matrix(lab, pairs, count=3).open)


def want(lab: Lab, *a: dict[str, object], b: bool = True) -> None:
    write_interconnects(lab, ({"tenant-a": list(a)} if a else {}) | ({"tenant-b": B} if b else {}))


@pytest.fixture
def joined(three_sites: Lab) -> Lab:
    """Tenants a (cloud and east) and b (all) are joined."""
    for site in ("cloud", "east", "west"):
        set_site(three_sites, site, gateways=[f"{site}-1", f"{site}-2"])
    want(three_sites, CLOUD, EAST)
    isthmus(three_sites, "apply", "--prune", "--wait", "programmed")
    return three_sites


def test_a_subnet_that_comes_and_goes(joined: Lab) -> None:
    extra = ("cloud-a-db-1", "east-a-pods-1")
    with nothing_lost(joined, *OWN, *NEIGHBOUR):
        want(joined, attach("cloud", "a", "a-web", "a-db"), EAST)
        apply(joined)
        warm(joined, ways(*extra))
        isthmus(joined, "disconnect", "tenant-a", "--subnet", "a-db", "--wait", "programmed")
        assert not reaches(joined, *ways(*extra))


def test_a_subnet_that_is_defined_and_removed(joined: Lab) -> None:
    with nothing_lost(joined, *OWN, *NEIGHBOUR):
        new = {"name": "a-new", "cidr": "10.1.7.0/24"}
        want(joined, {**CLOUD, "subnets": ["a-web", new]}, EAST)
        apply(joined)
        want(joined, CLOUD, EAST)
        apply(joined)


def test_a_site_that_comes_and_goes(joined: Lab) -> None:
    with nothing_lost(joined, *OWN, *NEIGHBOUR):
        want(joined, CLOUD, EAST, WEST)
        apply(joined)
        warm(joined, ways("cloud-a-web-2", "east-a-pods-1", "west-a-pods-1"))
        isthmus(joined, "disconnect", "tenant-a", "--site", "west", "--wait", "programmed")
        assert not reaches(joined, *ways("cloud-a-web-2", "west-a-pods-1"))


def test_gateways_of_one_site_change_under_the_others(joined: Lab) -> None:
    """Reordered, one taken out, back: flows between the other sites and of the other tenant lose nothing."""
    want(joined, CLOUD, EAST, WEST)
    apply(joined)
    others = ways("east-a-pods-1", "west-a-pods-2")
    with nothing_lost(joined, *others, *NEIGHBOUR):
        for gateways in (["cloud-2", "cloud-1"], ["cloud-2"], ["cloud-1", "cloud-2"], ["cloud-1"]):
            want(joined, {**CLOUD, "gateways": gateways}, EAST, WEST)
            apply(joined)
    warm(joined, OWN)


def test_a_backup_gateway_changes_under_the_flow_itself(joined: Lab) -> None:
    """Who is not carrying the port may be added and taken out without a packet lost even in the same flow."""
    want(joined, {**CLOUD, "gateways": ["cloud-1"]}, EAST)
    apply(joined)
    with nothing_lost(joined, *OWN):
        for gateways in (["cloud-1", "cloud-2"], ["cloud-1"]):
            want(joined, {**CLOUD, "gateways": gateways}, EAST)
            apply(joined)


def test_the_preferred_gateway_is_replaced_and_the_flow_goes_on(joined: Lab) -> None:
    """The flow itself may lose packets while the port moves: how many is printed."""
    want(joined, {**CLOUD, "gateways": ["cloud-1", "cloud-2"]}, EAST)
    apply(joined)
    warm(joined, OWN)
    with Streams(joined, OWN) as streams:
        time.sleep(0.3)
        want(joined, {**CLOUD, "gateways": ["cloud-2", "cloud-1"]}, EAST)
        apply(joined)
        time.sleep(1)
        for pair, report in streams.stop().items():
            print(f"{pair}: {len(report.lost)} of {report.sent} lost, longest gap {report.longest_gap:.3f} s")
            assert report.last is not None and report.longest_gap < 5
            assert max(report.departures) in report.arrivals, "nothing comes through any more"


def test_a_tenant_that_comes_and_goes(joined: Lab) -> None:
    with nothing_lost(joined, *NEIGHBOUR):
        isthmus(joined, "disconnect", "tenant-a")
        assert not reaches(joined, *OWN)
        want(joined, CLOUD, EAST)
        apply(joined)
        warm(joined, OWN)


def test_ready_again_after_every_second_change(joined: Lab) -> None:
    """Ten changes in a row, each applied without waiting for the one before to be anywhere but in the rows."""
    with nothing_lost(joined, *OWN, *NEIGHBOUR):
        for _ in range(5):
            want(joined, attach("cloud", "a", "a-web", "a-db"), EAST)
            isthmus(joined, "apply", "--wait", "none")
            want(joined, CLOUD, EAST)
            isthmus(joined, "apply", "--wait", "none")


@contextmanager
def serving(lab: Lab) -> Iterator[None]:
    process = lab.popen("operator", ["isthmus", "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert "Traceback" not in said, said


def test_under_serve_a_subnet_is_reached_soon_after_it_is_written_down(joined: Lab) -> None:
    """Text saved → first packet, and text saved → last packet, both printed."""
    pair = ("east-a-pods-1", "cloud-a-db-1")
    with serving(joined), nothing_lost(joined, *OWN, *NEIGHBOUR):
        time.sleep(1)
        for _ in range(3):
            with Stream(joined, *pair) as stream:
                took = timed(lambda: want(joined, attach("cloud", "a", "a-web", "a-db"), EAST), stream.wait)
                time.sleep(0.3)
                assert stream.report().received
            with Stream(joined, *pair) as stream:
                stream.wait()
                start = time.time_ns()
                want(joined, CLOUD, EAST)
                time.sleep(1)
                last = stream.report().last
            assert last is not None
            gone = (last - start) / 1e9
            print(f"subnet written down -> first packet {took:.3f} s; taken out -> last packet {gone:.3f} s")
            assert not reaches(joined, pair)


def timed(act: Callable[[], object], first: Callable[[], int]) -> float:
    start = time.time_ns()
    act()
    return (first() - start) / 1e9


def test_status_tells_of_every_change_at_once(joined: Lab) -> None:
    found = isthmus(joined, "status")
    ready = {o["name"]: {c["type"]: c["status"] for c in o["conditions"]} for o in found["objects"]}
    assert ready["tenant-a"]["Programmed"] == ready["tenant-b"]["Programmed"] == "True", json.dumps(found)
