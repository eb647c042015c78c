"""Pods and machines of another OVN deployment, tenant by tenant, by their own addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab import spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.traffic import Pair

from .kubernetes_steps import apply as run
from .kubernetes_steps import delete, eventually, get, inside, kubectl, pod, ports
from .steps import apply, edit, isthmus, same_tenant

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
    port = lab.port("cluster-a-pods-1")
    isthmus(lab, "trace", f"cluster/{port}", "cloud/cloud-a-web-2")
    # Both tenants have a Pod with this address: the namespace says whose is meant.
    name, _, namespace = port.rpartition(".")
    (found, _) = isthmus(lab, "trace", f"cluster/{namespace}/{name}", "cloud/cloud-a-web-2")["traces"]
    assert found["ends"][0].startswith(f"from  Pod {namespace}/{name}; Subnet a-pods; node n1; port security")
    (error,) = isthmus(lab, "trace", f"cluster/b/{name}", "cloud/cloud-b-web-2", code=2)["errors"]
    assert error["code"] == "UnknownPod"


def listed(lab: Lab, *subnets: str | dict[str, str]) -> None:
    """Make these the Subnets of tenant b in the cluster."""

    def change(document: dict[str, Any]) -> None:
        if document["metadata"]["name"] == "tenant-b":
            (side,) = (a for a in document["spec"]["attachments"] if a["site"] == "cluster")
            side["subnets"] = list(subnets)

    edit(lab, "interconnects.yaml", change)


def in_the_cluster(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for d in plan["databases"] if d["database"] == "kubernetes/cluster" for row in d["rows"]]


def subnets_of(lab: Lab) -> set[str]:
    return {word.partition("/")[2] for word in kubectl(lab, "get", "subnets.kubeovn.io", "-o", "name").split()}


def test_a_subnet_is_defined_in_the_cluster_and_removed_when_no_pod_is_in_it(lab: Lab) -> None:
    before, new = subnets_of(lab), {"name": "b-new", "cidr": "10.5.0.0/24"}
    for wrong, code in (
        ({"name": "b-pods", "cidr": "10.9.0.0/24"}, "CidrDiffers"),
        ({"name": "a-pods", "cidr": "10.9.0.0/24"}, "NameInUse"),
        ({"name": "ovn-Default", "cidr": "10.9.0.0/24"}, "InvalidName"),
    ):
        listed(lab, wrong)
        assert [e["code"] for e in isthmus(lab, "plan", code=2)["errors"]] == [code]
    listed(lab, "b-pods", new)
    (row,) = in_the_cluster(isthmus(lab, "plan"))
    assert (row["op"], row["table"], row["key"]) == ("add", "Subnet", "tenant-b/cluster/subnet/b-new")
    assert row["columns"]["cidrBlock"] == "10.5.0.0/24"
    assert subnets_of(lab) == before
    isthmus(lab, "apply")
    found = get(lab, "subnets.kubeovn.io", "b-new")
    assert (found["spec"]["vpc"], found["spec"]["gateway"]) == ("b", "10.5.0.1")
    assert found["metadata"]["annotations"]["isthmus.dev/key"] == "tenant-b/cluster/subnet/b-new"
    assert isthmus(lab, "apply")["transactions"] == 0
    assert not isthmus(lab, "plan")["databases"]
    isthmus(lab, "verify")
    # A Pod in it reaches a machine of its tenant, and keeps the Subnet when it is no longer connected.
    machine = lab.machine("cloud-b-web-1").addresses[0].ip
    place = {"ovn.kubernetes.io/logical_switch": "b-new"}
    run(lab, pod("inside", "n1", "b", place))
    kubectl(lab, "-n", "b", "wait", "--for=condition=Ready", "pod/inside", "--timeout=60s")
    assert inside(lab, "b", "inside", "ping", "-c", "3", "-W", "2", str(machine))[0] == 0
    listed(lab, "b-pods")
    isthmus(lab, "apply")
    assert "b-new" in subnets_of(lab)
    assert inside(lab, "b", "inside", "ping", "-c", "2", "-W", "1", str(machine))[0] != 0
    delete(lab, "pod", "-n", "b", "inside", "--force")
    eventually(lab, lambda: "inside.b" not in ports(lab), "its port has gone")
    isthmus(lab, "apply")
    assert subnets_of(lab) == before


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
