"""Pods and machines of another OVN deployment, tenant by tenant, by their own addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from isthmus.lab import spec
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

from .kubernetes_steps import apply, custom, eventually, get, has_account, inside, kubectl, namespace, pod, serving
from .steps import attach, isthmus, write_interconnects

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("cluster-and-ovn.yaml")
TENANTS = ("red", "blue")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Each tenant with a Pod on the node that is no gateway, and a machine; all have the same addresses."""
    with ExitStack() as stack:
        made = stack.enter_context(Lab.up(spec.load(str(FILE), name=unique_name())))
        stack.enter_context(serving(made))
        for tenant in TENANTS:
            network = {"vpc": tenant, "cidrBlock": "10.1.0.0/24,fd00:1::/64", "namespaces": [tenant]}
            # One address in both VPCs: on two nodes, or the second one would get another.
            fixed = {"ovn.kubernetes.io/ip_address": "10.1.0.10,fd00:1::10"}
            apply(made, namespace(tenant), custom("Vpc", tenant), custom("Subnet", f"{tenant}-pods", **network))
            eventually(made, lambda t=tenant: has_account(made, t), f"service account of {tenant}")  # type: ignore[misc]
            apply(made, pod("app", {"red": "n2", "blue": "n1"}[tenant], tenant, fixed))
        for tenant in TENANTS:
            kubectl(made, "-n", tenant, "wait", "--for=condition=Ready", "pod/app", "--timeout=60s")
        joined(made, *TENANTS)
        yield made


def joined(lab: Lab, *tenants: str) -> None:
    """Only these tenants are."""
    wanted = {
        tenant: [attach("cloud", tenant, f"{tenant}-web"), attach("cluster", tenant, f"{tenant}-pods")]
        for tenant in tenants
    }
    write_interconnects(lab, wanted)


def heard(lab: Lab, endpoint: str) -> int:
    """Echo requests of both families that a machine has got."""
    text = lab.exec(endpoint, ["cat", "/proc/net/snmp", "/proc/net/snmp6"]).stdout
    names, values = re.findall(r"^Icmp: (.*)$", text, re.M)
    four = dict(zip(names.split(), values.split(), strict=True))["InEchos"]
    six = re.search(r"^Icmp6InEchos\s+(\d+)", text, re.M)
    return int(four) + int(six[1] if six else 0)


def from_pod(lab: Lab, tenant: str, address: str, count: int = 1) -> bool:
    return inside(lab, tenant, "app", "ping", "-c", str(count), "-W", "2", address)[0] == 0


def from_machine(lab: Lab, tenant: str, address: str) -> bool:
    return lab.exec(f"cloud-{tenant}-web-1", ["ping", "-c", "1", "-W", "2", address]).returncode == 0


MACHINE, POD = ("10.2.0.11", "fd00:2::b"), ("10.1.0.10", "fd00:1::10")


def test_pods_and_machines_of_a_tenant_reach_each_other_by_their_own_addresses(lab: Lab) -> None:
    for tenant in TENANTS:
        (machine,) = (m for m in lab.machines if m.tenant == tenant)
        for version, there, here in zip((4, 6), MACHINE, POD, strict=True):
            assert str(machine.address(version)) == there
            eventually(lab, lambda t=tenant, a=there: from_pod(lab, t, a), f"{tenant}: a Pod reaches {there}")  # type: ignore[misc]
            eventually(lab, lambda t=tenant, a=here: from_machine(lab, t, a), f"{tenant}: a machine reaches {here}")  # type: ignore[misc]
        given = {each["ip"] for each in get(lab, "pod", "app", "-n", tenant)["status"]["podIPs"]}
        assert given == set(POD)


def test_nobody_else_gets_a_packet(lab: Lab) -> None:
    before = {tenant: heard(lab, f"cloud-{tenant}-web-1") for tenant in TENANTS}
    assert from_pod(lab, "red", MACHINE[0], count=5)
    assert from_pod(lab, "red", MACHINE[1], count=5)
    assert heard(lab, "cloud-red-web-1") - before["red"] == 10
    assert heard(lab, "cloud-blue-web-1") == before["blue"]


def test_status_says_that_it_is_programmed(lab: Lab) -> None:
    def programmed() -> bool:
        objects = {o["name"]: o["conditions"] for o in isthmus(lab, "status")["objects"] if o["kind"] == "Interconnect"}
        states = {t: {c["type"]: c["status"] for c in objects[t]} for t in TENANTS}
        return all(state["Programmed"] == "True" for state in states.values())

    eventually(lab, programmed, "both are programmed")


def test_a_tenant_that_is_cut_stays_apart_and_the_other_does_not_notice(lab: Lab) -> None:
    joined(lab, "blue")
    eventually(lab, lambda: not from_pod(lab, "red", MACHINE[0]), "red is cut")
    assert from_pod(lab, "blue", MACHINE[0], count=3)
    # Its own network is as it was.
    assert json.loads(kubectl(lab, "get", "vpc", "red", "-o", "json"))["status"]["standby"]
    joined(lab, *TENANTS)
    eventually(lab, lambda: from_pod(lab, "red", MACHINE[0]), "red is back")
