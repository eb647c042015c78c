"""Pods and machines of another OVN deployment, tenant by tenant, by their own addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.lab import spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.traffic import Pair

from .kubernetes_steps import get, ports
from .steps import apply, isthmus, same_tenant

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("cluster-and-ovn.yaml")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two tenants with the same addresses, each with two Pods and two machines; joined."""
    with Lab.up(spec.load(str(FILE), name=unique_name())) as made:
        apply(made)
        yield made


def everybody(lab: Lab, version: int) -> list[Pair]:
    """All ordered pairs, but for those with one and the same address."""
    return traffic.pairs(lab.machines, version)


@pytest.mark.parametrize("version", [4, 6])
def test_pods_and_machines_of_a_tenant_reach_each_other_and_nobody_else_gets_a_packet(lab: Lab, version: int) -> None:
    result = traffic.matrix(lab, everybody(lab, version), version=version)
    assert result.open == same_tenant(lab, everybody(lab, version))
    assert not result.strays


def test_the_pods_are_those_of_deployments_with_the_addresses_that_they_show(lab: Lab) -> None:
    for machine in lab.site("cluster").machines:
        found = get(lab, "deployment", machine.name, "-n", str(machine.tenant))
        assert found["status"]["readyReplicas"] == 1
        given = ports(lab)[lab.port(machine.name)]["addresses"]
        assert given == [machine.mac, *(str(a.ip) for a in machine.addresses)]


def test_it_is_verified_and_traced(lab: Lab) -> None:
    isthmus(lab, "verify")
    isthmus(lab, "trace", f"cluster/{lab.port('cluster-a-pods-1')}", "cloud/cloud-a-web-2")


def test_a_tenant_that_is_cut_stays_apart_and_the_other_does_not_notice(lab: Lab) -> None:
    others = [p for p in same_tenant(lab, everybody(lab, 4)) if lab.machine(p[0]).tenant == "b"]
    between = [p for p in others if lab.machine(p[0]).site != lab.machine(p[1]).site]
    with traffic.Streams(lab, between, interval=0.01) as streams:
        streams.wait()
        isthmus(lab, "disconnect", "tenant-a")
        reports = streams.stop().values()
    assert sum(r.sent for r in reports)
    assert not [r.lost for r in reports if r.lost]
    result = traffic.matrix(lab, everybody(lab, 4))
    within = {p for p in same_tenant(lab, everybody(lab, 4)) if lab.machine(p[0]).site == lab.machine(p[1]).site}
    assert result.open == within | set(between)
