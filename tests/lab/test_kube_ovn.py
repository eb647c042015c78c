"""Beside the real Kube-OVN: an API server, an OVN, and whatever its controller makes in both (`kube_ovn.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import WorldError
from isthmus.lab import rpc, spec
from isthmus.lab.lab import Lab
from isthmus.lab.openstack.servers import until
from isthmus.lab.pytest_plugin import unique_name
from snapshots import foreign, owned
from unixes import look

from .kube_ovn import DEFAULT, KubeOvn, Object, alongside
from .kubernetes_steps import apply as create
from .kubernetes_steps import as_service, custom, delete, eventually, get, kubectl, serving
from .steps import attach, isthmus, set_site, write_interconnects

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("kube-ovn.yaml")
CLOUD = attach("cloud", "a", "a-web")
RED = attach("cluster", "red", "red-web")
DEFAULT_ROUTE = {"policy": "policyDst", "cidr": "0.0.0.0/0", "nextHopIP": "10.1.9.254", "ecmpMode": "", "bfdId": ""}
BUSY = "10.1.9.252"
"""Next hop of routes that somebody changes all the time."""
THEIRS: Object = {
    "namespaces": ["red"],
    "staticRoutes": [
        DEFAULT_ROUTE | {"routeTable": "rt1"},
        {"policy": "policyDst", "cidr": "172.31.0.0/16", "nextHopIP": "10.1.9.253"},
    ],
    "policyRoutes": [{"priority": 100, "match": "ip4.src == 10.1.9.66", "action": "drop"}],
}
"""What the tenant wrote."""


def definition() -> Object:
    """Kube-OVN's, as far as it matters here: it takes every field of a `Vpc` and of its elements."""
    names = {"plural": "vpcs", "singular": "vpc", "kind": "Vpc", "listKind": "VpcList"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    body = {"group": "kubeovn.io", "scope": "Cluster", "names": names, "versions": [version]}
    meta = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**meta, "metadata": {"name": "vpcs.kubeovn.io"}, "spec": body}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(spec.load(str(FILE), name=unique_name())) as made:
        kubectl(made, "replace", "-f", "-", input=json.dumps(definition()))
        as_service(made, rights="rbac-kube-ovn.yaml", networkPlugin="kube-ovn")
        yield made


@pytest.fixture(scope="module")
def kube_ovn(lab: Lab) -> Iterator[KubeOvn]:
    """Its controller runs; there is the default Vpc, and a tenant's with two Subnets."""
    found = KubeOvn(lab)
    for name, vpc, cidrs, gateways in (
        ("ovn-default", DEFAULT, "10.16.0.0/16", "10.16.0.1"),
        ("red-web", "red", "10.1.0.0/24,fd00:1::/64", "10.1.0.1,fd00:1::1"),
        ("red-db", "red", "10.1.9.0/24", "10.1.9.1"),
    ):
        create(lab, custom("Subnet", name, vpc=vpc, cidrBlock=cidrs, gateway=gateways))
    create(lab, custom("Vpc", DEFAULT), custom("Vpc", "red", **THEIRS))
    with found.running():
        eventually(lab, lambda: bool(found.vpc("red").get("status", {}).get("standby")), "Kube-OVN has made red")
        nb = lab.site("cluster").nbctl
        nb("lsp-add", "red-web", "a.red", "--", "lsp-set-addresses", "a.red", "0a:00:00:00:00:11 10.1.0.11 fd00:1::11")
        nb("set", "Logical_Switch_Port", "a.red", "external_ids:vendor=kube-ovn", "external_ids:pod=red/a")
        yield found


def theirs(lab: Lab, kube_ovn: KubeOvn) -> dict[tuple[str, ...], Any]:
    """Every foreign row, and every object of Kube-OVN's but for what counts writes; by where it is."""
    databases = foreign(look(lab, "nb/cloud", "nb/cluster")).items()
    found: dict[tuple[str, ...], Any] = {
        (database, table, uuid): row
        for database, tables in databases
        for table, rows in tables.items()
        for uuid, row in rows.items()
    }
    for each in (*kube_ovn.all("vpcs"), *kube_ovn.all("subnets")):
        counters = ("resourceVersion", "generation", "managedFields")
        metadata = {k: v for k, v in each["metadata"].items() if k not in counters}
        found["kubernetes", each["kind"], metadata["name"]] = each | {"metadata": metadata}
    return found


def assert_as(before: Mapping[tuple[str, ...], Any], lab: Lab, kube_ovn: KubeOvn) -> None:
    """Everything foreign is as it was, when Kube-OVN and ovn-ic have worked off what we took away."""
    with suppress(WorldError):
        until(lambda: theirs(lab, kube_ovn) == before, "foreign", lab.state.alive, timeout=20.0)
    now = theirs(lab, kube_ovn)
    assert [(k, before.get(k), now.get(k)) for k in before.keys() | now.keys() if before.get(k) != now.get(k)] == []


def routes(vpc: Object) -> list[tuple[str, str]]:
    return [(r["cidr"], r["nextHopIP"]) for r in vpc["spec"].get("staticRoutes", ())]


@pytest.fixture
def joined(lab: Lab, kube_ovn: KubeOvn) -> Iterator[dict[str, list[Any]]]:
    """An Interconnect that is there for a test; everything foreign is afterwards as it was before."""
    wanted = {"tenant-a": [CLOUD, RED]}
    before = theirs(lab, kube_ovn)
    write_interconnects(lab, wanted)
    isthmus(lab, "apply", "--wait", "programmed")
    yield wanted
    isthmus(lab, "disconnect", "tenant-a")
    assert_as(before, lab, kube_ovn)


def test_routes_and_guard_go_through_the_vpc_and_nothing_else_of_it_changes(
    lab: Lab, kube_ovn: KubeOvn, joined: object
) -> None:
    found = kube_ovn.vpc("red")["spec"]
    hops = {r["cidr"]: r["nextHopIP"] for r in found["staticRoutes"][2:]}
    assert set(hops) == {"10.2.0.0/24", "fd00:2::/64"}
    assert found["staticRoutes"][:2] == THEIRS["staticRoutes"]
    assert found["policyRoutes"][:1] == THEIRS["policyRoutes"]
    assert sorted(p["priority"] for p in found["policyRoutes"][1:]) == [1, 1, 2, 2]
    rows = rpc.snapshot(lab.site("cluster").nb_unix, "OVN_Northbound")
    ours = [r for t in ("Logical_Router_Static_Route", "Logical_Router_Policy") for r in rows[t].values()]
    assert not [r for r in ours if "red" in rpc.mapping(r["external_ids"]).get("isthmus:key", "")]
    assert isthmus(lab, "plan", "--exit-code")["databases"] == []


def test_what_it_removes_none_of_ours_is_among(lab: Lab, kube_ovn: KubeOvn, joined: object) -> None:
    before = look(lab, "nb/cluster")
    kube_ovn.collect()
    kube_ovn.work()
    after = look(lab, "nb/cluster")
    assert owned(after) == owned(before)
    assert foreign(after) == foreign(before)


def test_it_is_verified_and_traced(lab: Lab, joined: object) -> None:
    isthmus(lab, "verify")
    isthmus(lab, "trace", "cluster/a.red", "cloud/cloud-a-web-1")


def test_edits_by_others_at_the_same_time_lose_nothing(lab: Lab, kube_ovn: KubeOvn) -> None:
    """Somebody adds and removes routes, as fast as the server takes them, while we come and go."""
    before = theirs(lab, kube_ovn)
    written = list[str]()

    def edit() -> None:
        vpc = kube_ovn.vpc("red")
        others = [r for r in vpc["spec"]["staticRoutes"] if r["nextHopIP"] != BUSY]
        assert [c for c, hop in routes(vpc) if hop == BUSY] == written
        wanted = [f"10.77.{len(others)}.{4 * next(numbers)}/30", *written[:3]]
        # At the front: the places of all other elements move.
        new = [{"policy": "policyDst", "cidr": c, "nextHopIP": BUSY, "bfdId": c} for c in wanted]
        vpc["spec"]["staticRoutes"] = [*new, *others]
        if kube_ovn.replace(vpc):
            written[:] = wanted

    numbers = cycle(range(64))
    with alongside(edit, pause=0.0):
        for _ in range(3):
            write_interconnects(lab, {"tenant-a": [CLOUD, RED]})
            isthmus(lab, "apply", "--wait", "programmed")
            isthmus(lab, "disconnect", "tenant-a")
    vpc = kube_ovn.vpc("red")
    assert [c for c, hop in routes(vpc) if hop == BUSY] == written
    assert len(written) == 4
    vpc["spec"]["staticRoutes"] = [r for r in vpc["spec"]["staticRoutes"] if r["nextHopIP"] != BUSY]
    assert kube_ovn.replace(vpc)
    assert_as(before, lab, kube_ovn)


def test_an_element_that_somebody_takes_out_comes_back(lab: Lab, kube_ovn: KubeOvn, joined: object) -> None:
    with serving(lab):
        vpc = kube_ovn.vpc("red")
        whole = routes(vpc)
        vpc["spec"]["staticRoutes"] = vpc["spec"]["staticRoutes"][:2]
        assert kube_ovn.replace(vpc)
        eventually(lab, lambda: routes(kube_ovn.vpc("red")) == whole, "the routes are back")


def test_serve_keeps_none_of_the_clusters_networks(lab: Lab, kube_ovn: KubeOvn) -> None:
    before = theirs(lab, kube_ovn)
    create(lab, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "red"}})
    with serving(lab):
        set_site(lab, "cluster", mtu=1400)
        write_interconnects(lab, {"tenant-a": [CLOUD, RED]})
        eventually(lab, lambda: len(routes(kube_ovn.vpc("red"))) == 4, "serve has joined the Vpc")
        assert "isthmus:owner" not in get(lab, "vpc", "red")["metadata"].get("labels", {})
        owners = {
            ids["isthmus:owner"]
            for rows in rpc.snapshot(lab.site("cluster").nb_unix, "OVN_Northbound").values()
            for row in rows.values()
            if "external_ids" in row and "isthmus:owner" in (ids := rpc.mapping(row["external_ids"]))
        }
        assert owners == {"default"}
    isthmus(lab, "disconnect", "tenant-a")
    assert_as(before, lab, kube_ovn)


def test_the_default_vpc_is_refused_with_the_reason(lab: Lab, kube_ovn: KubeOvn) -> None:
    before = theirs(lab, kube_ovn)
    write_interconnects(lab, {"tenant-a": [CLOUD, attach("cluster", DEFAULT, "ovn-default")]})
    (error,) = isthmus(lab, "apply", code=2)["errors"]
    assert error["code"] == "DefaultVpc"
    assert "policies" in error["message"] and "make a Vpc" in error["remedy"]
    (found,) = (o for o in isthmus(lab, "status", code=1)["objects"] if o["kind"] == "Interconnect")
    accepted = next(c for c in found["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "DefaultVpc")
    assert theirs(lab, kube_ovn) == before


def test_a_controller_that_would_remove_our_rows_is_seen_in_time(lab: Lab, kube_ovn: KubeOvn) -> None:
    labels = {"app": "kube-ovn-controller"}
    container = {"name": "kube-ovn-controller", "image": "none", "args": ["--enable-external-vpc=false"]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    body = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": "kube-ovn-controller", "namespace": "kube-system"}
    create(lab, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": body})
    write_interconnects(lab, {"tenant-a": [CLOUD, RED]})
    (error,) = isthmus(lab, "plan", code=2)["errors"]
    assert error["code"] == "ForeignRowsRemoved"
    container["args"] = ["--enable-external-vpc=true"]
    create(lab, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": body})
    assert isthmus(lab, "plan")["databases"]
    delete(lab, "deployment", "kube-ovn-controller", "-n", "kube-system")


def test_a_site_that_does_not_say_who_keeps_its_networks_is_refused(lab: Lab, kube_ovn: KubeOvn) -> None:
    before = theirs(lab, kube_ovn)
    as_service(lab, rights="rbac-kube-ovn.yaml")
    write_interconnects(lab, {"tenant-a": [CLOUD, RED]})
    (error,) = isthmus(lab, "apply", code=2)["errors"]
    assert error["code"] == "KeptByKubeOvn"
    assert "networkPlugin: kube-ovn" in error["remedy"]
    as_service(lab, rights="rbac-kube-ovn.yaml", networkPlugin="kube-ovn")
    assert theirs(lab, kube_ovn) == before
