"""Kubernetes' objects as JSON, and the facts that we make of them."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec
import pytest

from isthmus.backends.kubernetes import read, write
from isthmus.backends.kubernetes import resources as res
from isthmus.compile.estate import Held
from isthmus.errors import Problem
from isthmus.model.networks import Pod, Requirement, Route, Subnet, Vpc


def pod(annotations: dict[str, str] | None = None, *, status: dict[str, Any] | None = None, **spec: Any) -> Pod | None:
    owner = {"kind": "StatefulSet", "name": "db", "controller": True}
    metadata = {
        "name": "a",
        "namespace": "red",
        "uid": "1",
        "annotations": annotations or {},
        "ownerReferences": [owner],
    }
    whole = {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"name": "x"}], **spec},
        "status": status or {},
    }
    return read.pod(msgspec.convert(whole, res.Pod))


def subnet(**spec: Any) -> Subnet | Problem:
    return read.subnet(msgspec.convert({"metadata": {"name": "web"}, "spec": spec}, res.Subnet))


def test_a_pod_with_what_its_annotations_and_its_status_say() -> None:
    asked = {
        "ovn.kubernetes.io/logical_switch": "web",
        "ovn.kubernetes.io/ip_address": "10.1.0.7, fd00::7",
        "ovn.kubernetes.io/mac_address": "00:00:5E:00:53:01",
    }
    found = pod(asked, status={"phase": "Running", "podIPs": [{"ip": "10.1.0.7"}]})
    assert found == Pod(
        "red", "a", "1", "n1", subnet="web", addresses=(ip_address("10.1.0.7"), ip_address("fd00::7")),
        mac="00:00:5e:00:53:01", told=(ip_address("10.1.0.7"),), slot="db",
    )  # fmt: skip


def test_what_we_said_of_a_pod_is_no_wish() -> None:
    held = Held(Pod("red", "a", "1", "n1"), "web", (ip_address("10.1.0.7"),), "0a:00:00:00:00:01")
    found = pod(write.told(held, Subnet("web", "red", (ip_interface("10.1.0.1/24"),))))
    assert found == Pod("red", "a", "1", "n1", subnet="web", slot="db")


@pytest.mark.parametrize("slot", ["", "db"])
def test_an_ip_says_all_that_its_pod_was_given(slot: str) -> None:
    whose = Pod("red", "db-1" if slot else "a.b", "uid", "n1", slot=slot)
    held = Held(whose, "web", (ip_address("10.1.0.7"), ip_address("fd00::7")), "0a:00:00:00:00:01")
    found = msgspec.json.decode(msgspec.json.encode(write.ip(held, "networks.site")), type=res.Ip)
    assert read.held(found, "networks.site") == held
    assert read.held(found, "networks.other") is None
    assert (found.metadata.name, found.spec.ip_address) == (f"{whose.name}.red", "10.1.0.7,fd00::7")


@pytest.mark.parametrize("change", [{"v4IpAddress": "x"}, {"macAddress": ""}])
def test_an_ip_that_cannot_be_read(change: dict[str, str]) -> None:
    spec = {"podName": "a", "namespace": "red", "subnet": "web", "v4IpAddress": "10.1.0.7", "macAddress": "x"}
    metadata = {"name": "a.red", "annotations": {"isthmus.dev/owner": "networks.site"}}
    assert read.held(msgspec.convert({"metadata": metadata, "spec": spec | change}, res.Ip), "networks.site") is None


def test_annotations_of_two_families() -> None:
    held = Held(Pod("red", "a", "1", "n1"), "web", (ip_address("10.1.0.7"), ip_address("fd00::7")), "0a:00:00:00:00:01")
    gateways = (ip_interface("10.1.0.1/24"), ip_interface("fd00::1/64"))
    said = {k.partition("/")[2]: v for k, v in write.told(held, Subnet("web", "red", gateways)).items()}
    assert said == {
        "allocated": "true", "routed": "true", "ip_address": "10.1.0.7,fd00::7", "mac_address": "0a:00:00:00:00:01",
        "cidr": "10.1.0.0/24,fd00::/64", "gateway": "10.1.0.1,fd00::1", "logical_switch": "web",
        "logical_router": "red", "pod_nic_type": "veth-pair",
    }  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [{"nodeName": ""}, {"hostNetwork": True}, {"status": {"phase": "Succeeded"}}, {"status": {"phase": "Failed"}}],
)
def test_pods_that_need_no_port(spec: dict[str, Any]) -> None:
    assert pod(**spec) is None


@pytest.mark.parametrize("word", ["ten", "10.1.0", "10.1.0.7/24", "10.1.0.7,x", "10.1.0.7,fd00::7,10.1.0.8"])
def test_an_address_that_is_none(word: str) -> None:
    found = pod({"ovn.kubernetes.io/ip_address": word})
    assert found is not None
    assert "ip_address" in found.misread
    assert not found.addresses


@pytest.mark.parametrize("word", ["x", "01:00:5e:00:53:01", "00:00:00:00:00:00", "0:0:5e:0:53:1", "00005e005301"])
def test_a_mac_that_no_machine_may_have(word: str) -> None:
    found = pod({"ovn.kubernetes.io/mac_address": word})
    assert found is not None
    assert "mac_address" in found.misread


@pytest.mark.parametrize("word", ["security_groups", "ip_pool", "vip"])
def test_an_annotation_that_promises_what_is_not_kept(word: str) -> None:
    """A Pod that has its port already keeps it, whatever is written there later."""
    asked = {f"ovn.kubernetes.io/{word}": "x"}
    found, later = pod(asked), pod(asked | {"ovn.kubernetes.io/allocated": "true"})
    assert found is not None and later is not None
    assert found.misread == f"ovn.kubernetes.io/{word}: not honoured yet"
    assert not later.misread


def test_a_subnet_and_its_defaults() -> None:
    found = subnet(cidrBlock="fd00:1::/64,10.1.0.0/24", excludeIps=["10.1.0.5..10.1.0.9", "10.1.0.2"])
    assert found == Subnet(
        "web", "ovn-cluster", (ip_interface("10.1.0.1/24"), ip_interface("fd00:1::1/64")),
        excluded=((ip_address("10.1.0.5"), ip_address("10.1.0.9")), (ip_address("10.1.0.2"), ip_address("10.1.0.2"))),
    )  # fmt: skip


def test_a_gateway_of_ones_choice_and_labels() -> None:
    chosen = {"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["x"]}]}
    found = subnet(cidrBlock="10.1.0.0/24", gateway="10.1.0.254", vpc="red", namespaceSelectors=[chosen])
    assert isinstance(found, Subnet)
    assert found.gateways == (ip_interface("10.1.0.254/24"),)
    assert found.selectors == (
        (Requirement("team", "In", frozenset({"a"})), Requirement("env", "NotIn", frozenset({"x"}))),
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"cidrBlock": "10.1.0.1/24"},
        {"cidrBlock": "ten"},
        {"cidrBlock": "10.1.0.0/24,10.2.0.0/24"},
        {"cidrBlock": "10.1.0.0/24", "gateway": "10.2.0.1"},
        {"cidrBlock": "10.1.0.0/24", "gateway": "fd00::1"},
        {"cidrBlock": "10.1.0.0/24", "excludeIps": ["10.1.0.9..10.1.0.5"]},
        {"cidrBlock": "10.1.0.0/24", "excludeIps": ["10.1.0.9..fd00::1"]},
        {"cidrBlock": "10.1.0.0/24", "excludeIps": ["x"]},
    ],
)
def test_subnets_that_cannot_be_read_also_where_no_definition_of_ours_refuses_them(spec: dict[str, Any]) -> None:
    found = subnet(**spec)
    assert isinstance(found, Problem)
    assert found.code == "BadSubnet"


def test_a_vpc_and_its_routes() -> None:
    spec = {
        "namespaces": ["red"],
        "staticRoutes": [
            {"cidr": "0.0.0.0/0", "nextHopIP": "10.1.0.254", "policy": "policyDst"},
            {"cidr": "10.2.0.0/24", "nextHopIP": "10.1.0.253", "policy": "policySrc"},
        ],
    }
    found = read.vpc(msgspec.convert({"metadata": {"name": "red"}, "spec": spec}, res.Vpc))
    assert found == Vpc(
        "red",
        frozenset({"red"}),
        routes=(
            Route(ip_network("0.0.0.0/0"), ip_address("10.1.0.254"), "dst"),
            Route(ip_network("10.2.0.0/24"), ip_address("10.1.0.253"), "src"),
        ),
    )
    bad = {"metadata": {"name": "red"}, "spec": {"staticRoutes": [{"cidr": "x", "nextHopIP": "y"}]}}
    assert isinstance(read.vpc(msgspec.convert(bad, res.Vpc)), Problem)


def test_the_wanted_members_of_a_statefulset() -> None:
    found = {"metadata": {"name": "db", "namespace": "red"}, "spec": {"replicas": 2, "ordinals": {"start": 3}}}
    assert list(read.slots(msgspec.convert(found, res.StatefulSet))) == [3, 4]
