"""Minutes of change: tenants join, leave, grow, move their gateways; one tenant in the middle of it notices nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from isthmus.lab import spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.traffic import Pair

from .blame import around
from .steps import attach, config, isthmus, steady, write_interconnects
from .test_three_sites import FILE, SITES

pytestmark = [pytest.mark.lab, pytest.mark.full]

SECONDS = 600.0
CHURNED = "abc"
STILL = "d"
"""Joined everywhere, all the time."""

Document = list[dict[str, Any]]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(spec.parse(FILE, name=unique_name(), tenants=len(CHURNED + STILL))) as made:
        yield made


def wish(tenant: str, dice: random.Random) -> Document:
    """Attachments of two or three sites, or none; subnets and gateways as the dice fall."""
    if dice.random() < 0.25:
        return []
    sites = dice.sample(SITES, dice.choice((2, 2, 3)))
    return [one_side(site, tenant, dice) for site in sorted(sites)]


def one_side(site: str, tenant: str, dice: random.Random) -> dict[str, Any]:
    subnets = dice.choice(([f"{tenant}-net"], [f"{tenant}-net", f"{tenant}-more"], ["*"]))
    more: dict[str, Any] = {}
    if dice.random() < 0.5:
        gateways = [f"{site}-1", f"{site}-2"]
        dice.shuffle(gateways)
        more["gateways"] = gateways
    if subnets == ["*"] and dice.random() < 0.5:
        more["except"] = [f"{tenant}-more"]
    return attach(site, tenant, *subnets, **more)


def listed(side: dict[str, Any]) -> set[str]:
    tenant = side["vpc"]
    names = {f"{tenant}-net", f"{tenant}-more"} if side["subnets"] == ["*"] else set(side["subnets"])
    return names - set(side.get("except", ()))


def expected(lab: Lab, wishes: dict[str, Document], pairs: list[Pair]) -> set[Pair]:
    machines = {m.name: m for m in lab.machines}
    joined = {(s["site"], name) for sides in wishes.values() for s in sides for name in listed(s)}

    def is_open(a: str, b: str) -> bool:
        one, other = machines[a], machines[b]
        if one.router != other.router:
            return False
        return one.site == other.site or {(m.site, str(m.switch)) for m in (one, other)} <= joined

    return {pair for pair in pairs if is_open(*pair)}


@contextmanager
def serving(lab: Lab) -> Iterator[list[subprocess.Popen[str]]]:
    """`isthmus serve`; the list's only process may be replaced."""
    running = [start(lab)]
    try:
        yield running
    finally:
        running[0].send_signal(signal.SIGTERM)
        running[0].wait(20)


def start(lab: Lab) -> subprocess.Popen[str]:
    return lab.popen("operator", ["isthmus", "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write(lab: Lab, wishes: dict[str, Document]) -> None:
    """All at once: a file that is half written would be another wish."""
    name = "interconnects.yaml"
    write_interconnects(lab, {t: sides for t, sides in wishes.items() if sides}, f".{name}.new")
    config(lab, f".{name}.new").replace(config(lab, name))


def test_ten_minutes_of_churn_under_serve_cost_a_tenant_in_the_middle_nothing(lab: Lab) -> None:
    """After every change exactly the wished pairs are open; `serve` is killed now and then."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    still = [attach(site, STILL, f"{STILL}-net") for site in SITES]
    wishes: dict[str, Document] = {STILL: still}
    write(lab, wishes)
    machines = {m.name for m in lab.machines if m.tenant in {*CHURNED, STILL}}
    pairs = [p for p in traffic.pairs(lab.machines) if set(p) <= machines]
    ways = [(a, b) for a in SITES for b in SITES if a != b]
    flowing = [(f"{a}-{STILL}-net-{n}", f"{b}-{STILL}-net-{3 - n}") for n in (1, 2) for a, b in ways]
    changes = kills = 0
    slowest = 0.0
    with serving(lab) as running:
        steady(lab, flowing)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            # A stream at a time keeps its memory small; between them nothing changes.
            with traffic.Streams(lab, flowing, interval=0.01) as streams:
                streams.wait()
                for _ in range(10):
                    tenant = dice.choice(CHURNED)
                    wishes[tenant] = wish(tenant, dice)
                    write(lab, wishes)
                    changes += 1
                    if dice.random() < 0.1:
                        running[0].kill()
                        running[0].wait(20)
                        running[0] = start(lab)
                        kills += 1
                    slowest = max(slowest, settled(lab, wishes, pairs, f"seed {seed}, change {changes}"))
                reports = streams.stop()
            lost = any(r.lost for r in reports.values())
            assert not lost, f"seed {seed}, change {changes}: {around(lab, reports)}"
    assert isthmus(lab, "plan", "--prune")["databases"] == []
    isthmus(lab, "verify")
    print(f"\n{changes} changes, {kills} times serve was killed, slowest to settle {slowest:.1f} s, seed {seed}")


def settled(lab: Lab, wishes: dict[str, Document], pairs: list[Pair], where: str) -> float:
    """Seconds until exactly the wished pairs are open."""
    begin, wanted = time.monotonic(), expected(lab, wishes, pairs)
    while True:
        found = traffic.matrix(lab, pairs, count=2)
        if found.open == wanted and not found.strays:
            return time.monotonic() - begin
        if time.monotonic() - begin > 20:
            missing, more = sorted(wanted - found.open)[:5], sorted(found.open - wanted)[:5]
            raise AssertionError(f"{where}: closed {missing}, open {more}, strays {found.strays}: {wishes}")
