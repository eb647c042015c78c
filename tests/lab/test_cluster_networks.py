"""Networks of a cluster: its Vpcs, Subnets and Pods as routers, switches and ports, by a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab import rpc, spec
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

from .kubernetes_steps import (
    apply,
    as_service,
    custom,
    delete,
    eventually,
    get,
    kubectl,
    pod,
    pod_spec,
    ports,
    serving,
    twins,
)
from .steps import isthmus

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("cluster.yaml")
TENANTS = ("red", "blue")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    """A cluster whose networks are kept, with the rights of the example; two tenants with one and the same network."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab.up(spec.load(str(FILE), name=unique_name())))
        as_service(lab)
        stack.enter_context(serving(lab))
        twins(lab, TENANTS)
        for tenant in TENANTS:
            kubectl(lab, "wait", "--for=condition=Ready", f"subnet/{tenant}-web", "--timeout=30s")
        yield lab


@pytest.fixture(autouse=True)
def _no_pods(cluster: Lab) -> Iterator[None]:
    yield
    for kind in ("statefulset", "pod"):
        delete(cluster, kind, "--all", "--all-namespaces", "--force")
    eventually(cluster, lambda: not ports(cluster), "no port of a Pod is left")


def port(lab: Lab, name: str) -> dict[str, Any]:
    eventually(lab, lambda: name in ports(lab), f"port {name}")
    return ports(lab)[name]


def reason(lab: Lab, subnet: str, kind: str = "Ready") -> str:
    conditions = get(lab, "subnet", subnet)["status"]["conditions"]
    return next(str(c["reason"]) for c in conditions if c["type"] == kind)


def ready(lab: Lab, what: str) -> str:
    """The reason of `Ready` as `status` has it."""
    (found,) = (o for o in isthmus(lab, "status")["objects"] if f"{o['kind']} {o['name']}" == what)
    return next(str(c["reason"]) for c in found["conditions"] if c["type"] == "Ready")


def told(lab: Lab, kind: str, name: str, space: str = "default") -> set[str]:
    """Reasons of the Events about an object."""
    chosen = f"--field-selector=involvedObject.kind={kind},involvedObject.name={name}"
    found = json.loads(kubectl(lab, "get", "events", "-n", space, chosen, "-o", "json"))["items"]
    return {event["reason"] for event in found if event["source"]["component"] == "isthmus"}


def test_a_vpc_is_a_router_and_a_subnet_a_switch_on_it(cluster: Lab) -> None:
    rows = rpc.snapshot(cluster.site("cluster").nb_unix, "OVN_Northbound")
    assert {r["name"] for r in rows["Logical_Router"].values()} == {"ovn-cluster", *TENANTS}
    links = {f"isthmus-nodes.{vpc}" for vpc in ("ovn-cluster", *TENANTS)}
    subnets = {"ovn-default", "join", "red-web", "blue-web"}
    assert {r["name"] for r in rows["Logical_Switch"].values()} == subnets | links
    (red,) = (r for r in rows["Logical_Router_Port"].values() if r["name"] == "red/red-web")
    assert set(red["networks"][1]) == {"10.1.0.1/24", "fd00:1::1/64"}


def test_what_clients_wait_for_is_told(cluster: Lab) -> None:
    found = get(cluster, "vpc", "red")["status"]
    assert found["standby"]
    assert found["subnets"] == ["red-web"]
    status = get(cluster, "subnet", "red-web")["status"]
    assert status["v4availableIPs"] == 253
    apply(cluster, pod("a", "n1", "red"))
    eventually(cluster, lambda: get(cluster, "subnet", "red-web")["status"]["v4usingIPs"] == 1, "the Pod is counted")
    assert get(cluster, "subnet", "red-web")["status"]["v4availableIPs"] == 252


def test_a_cluster_has_a_default_subnet_from_the_start(cluster: Lab) -> None:
    assert get(cluster, "subnet", "ovn-default")["spec"]["vpc"] == "ovn-cluster"
    assert get(cluster, "vpc", "ovn-cluster")["status"]["default"]
    apply(cluster, pod("plain", "n1"))
    assert port(cluster, "plain.default")["subnet"] == "ovn-default"


def test_pods_of_two_tenants_on_one_node_have_different_addresses(cluster: Lab) -> None:
    apply(cluster, pod("a", "n1", "red"), pod("a", "n1", "blue"))
    red, blue = port(cluster, "a.red"), port(cluster, "a.blue")
    assert (red["subnet"], blue["subnet"]) == ("red-web", "blue-web")
    assert red["chassis"] == blue["chassis"] == "n1"
    assert len({*red["addresses"], *blue["addresses"]}) == 6


def test_a_pod_in_its_nodes_network_needs_no_port_nor_does_one_without_a_node(cluster: Lab) -> None:
    waits = pod("waits", "", "red") | {}
    waits["spec"]["nodeSelector"] = {"no": "such"}
    apply(cluster, pod("own", "n1", "red", hostNetwork=True), waits, pod("other", "n1", "red"))
    port(cluster, "other.red")
    assert set(ports(cluster)) == {"other.red"}


def test_a_tenant_cannot_claim_anothers_subnet_or_address(cluster: Lab) -> None:
    named = {"ovn.kubernetes.io/logical_switch": "blue-web"}
    fixed = {"ovn.kubernetes.io/ip_address": "10.9.9.9"}
    fair = {"ovn.kubernetes.io/ip_address": "10.1.0.77", "ovn.kubernetes.io/mac_address": "00:00:5e:00:53:01"}
    apply(
        cluster,
        pod("thief", "n1", "red", named),
        pod("lost", "n1", "red", fixed),
        pod("fair", "n1", "red", fair),
        pod("mad", "n1", "red", {"ovn.kubernetes.io/ip_address": "ten"}),
    )
    assert port(cluster, "fair.red")["addresses"][:2] == ["00:00:5e:00:53:01", "10.1.0.77"]
    for name, why in (("thief", "NotBound"), ("lost", "AddressOutside"), ("mad", "BadAnnotation")):
        eventually(cluster, lambda n=name: told(cluster, "Pod", n, "red"), f"what is wrong with {name}")  # type: ignore[misc]
        assert told(cluster, "Pod", name, "red") == {why}
    assert set(ports(cluster)) == {"fair.red"}


def ips(lab: Lab) -> dict[str, dict[str, Any]]:
    """Specs of the `IP` objects of Pods."""
    found = json.loads(kubectl(lab, "get", "ips.kubeovn.io", "-o", "json"))["items"]
    return {each["metadata"]["name"]: each["spec"] for each in found if each["spec"].get("namespace")}


def said(lab: Lab, name: str, space: str = "default") -> dict[str, str]:
    """Annotations of a Pod that are Kube-OVN's."""
    whole = get(lab, "pod", name, "-n", space)["metadata"].get("annotations", {})
    return {k.partition("/")[2]: v for k, v in whole.items() if k.startswith("ovn.kubernetes.io/")}


def test_what_a_pod_was_given_is_written_down_and_taken_away_again(cluster: Lab) -> None:
    apply(cluster, pod("a", "n1", "red"))
    mac, four, six = port(cluster, "a.red")["addresses"]
    eventually(cluster, lambda: "a.red" in ips(cluster), "its IP")
    assert ips(cluster)["a.red"].items() >= {
        "podName": "a", "namespace": "red", "subnet": "red-web", "nodeName": "n1", "macAddress": mac,
        "ipAddress": f"{four},{six}", "v4IpAddress": four, "v6IpAddress": six,
    }.items()  # fmt: skip
    wanted = {
        "allocated": "true", "routed": "true", "ip_address": f"{four},{six}", "mac_address": mac,
        "cidr": "10.1.0.0/24,fd00:1::/64", "gateway": "10.1.0.1,fd00:1::1", "logical_switch": "red-web",
        "logical_router": "red", "pod_nic_type": "veth-pair",
    }  # fmt: skip
    eventually(cluster, lambda: said(cluster, "a", "red") == wanted, "its annotations")
    # What somebody spoils is mended, and what is not ours stays.
    kubectl(cluster, "delete", "ips.kubeovn.io", "a.red")
    kubectl(cluster, "annotate", "pod", "-n", "red", "a", "--overwrite", "ovn.kubernetes.io/gateway=x", "mine=y")
    eventually(cluster, lambda: "a.red" in ips(cluster) and said(cluster, "a", "red") == wanted, "both as they were")
    kubectl(
        cluster, "patch", "ips.kubeovn.io", "a.red", "--type=merge", "-p", '{"spec": {"podType": "X", "subnet": "y"}}'
    )
    eventually(cluster, lambda: ips(cluster)["a.red"]["subnet"] == "red-web", "its Subnet is there again")
    assert ips(cluster)["a.red"]["podType"] == ""
    assert get(cluster, "pod", "a", "-n", "red")["metadata"]["annotations"]["mine"] == "y"
    kubectl(cluster, "patch", "pod", "-n", "red", "a", "--subresource=status", "-p", '{"status": {"phase": "Failed"}}')
    eventually(cluster, lambda: not said(cluster, "a", "red") and not ips(cluster), "it is over, and has nothing")


def test_nodes_have_an_ip_as_well(cluster: Lab) -> None:
    spec = get(cluster, "ips.kubeovn.io", "node-n1")["spec"]
    assert (spec["podName"], spec["nodeName"], spec["subnet"]) == ("n1", "n1", "join")
    rows = rpc.snapshot(cluster.site("cluster").nb_unix, "OVN_Northbound")["Logical_Switch_Port"].values()
    (row,) = (r for r in rows if r["name"] == "node-n1")
    assert str(row["addresses"]).split() == [spec["macAddress"], spec["v4IpAddress"]]


def set_rules(lab: Lab, rules: list[dict[str, Any]], annotates: str) -> None:
    """Change the rights of `serve`; returns when the API server goes by them."""
    kubectl(lab, "patch", "clusterrole", "isthmus", "--type=merge", "-p", json.dumps({"rules": rules}))
    ask = ["auth", "can-i", "patch", "pods", "--subresource=status", "--as=system:serviceaccount:isthmus:isthmus"]
    eventually(lab, lambda: lab.exec("operator", ["kubectl", *ask]).stdout.strip() == annotates, "its rights")


def test_without_the_right_there_are_no_annotations_and_all_else_goes_on(cluster: Lab) -> None:
    role = get(cluster, "clusterrole", "isthmus")
    fewer = [rule for rule in role["rules"] if rule["resources"] != ["pods/status"]]
    set_rules(cluster, fewer, annotates="no")
    apply(cluster, *(pod(f"bare-{n}", "n1", "red") for n in range(3)))
    names = {f"bare-{n}.red" for n in range(3)}
    eventually(cluster, lambda: ips(cluster).keys() == names, "their IPs")
    log = cluster.state.directory / "serve.log"
    eventually(cluster, lambda: "pods/status" in log.read_text(), "what is said of it")
    set_rules(cluster, role["rules"], annotates="yes")
    apply(cluster, pod("later", "n1", "red"))
    eventually(cluster, lambda: "allocated" in said(cluster, "later", "red"), "annotations again")
    assert not any("allocated" in said(cluster, f"bare-{n}", "red") for n in range(3))
    assert log.read_text().count("pods/status") == 1


def test_what_was_written_to_a_pod_is_no_wish_of_whoever_copies_it(cluster: Lab) -> None:
    apply(cluster, pod("first", "n1", "red"))
    eventually(cluster, lambda: "allocated" in said(cluster, "first", "red"), "its annotations")
    annotations = get(cluster, "pod", "first", "-n", "red")["metadata"]["annotations"]
    apply(cluster, pod("second", "n2", "red", annotations))
    assert port(cluster, "second.red")["addresses"] != port(cluster, "first.red")["addresses"]
    own = ",".join(port(cluster, "second.red")["addresses"][1:])
    eventually(cluster, lambda: said(cluster, "second", "red")["ip_address"] == own, "its own address")


def test_an_ip_that_somebody_else_made_stays_as_it_is(cluster: Lab) -> None:
    apply(cluster, custom("IP", "a.red", podName="a", namespace="red", subnet="red-web", v4IpAddress="10.1.0.250"))
    apply(cluster, pod("a", "n1", "red"))
    eventually(cluster, lambda: "allocated" in said(cluster, "a", "red"), "its annotations")
    delete(cluster, "pod", "-n", "red", "a", "--force")
    eventually(cluster, lambda: not ports(cluster), "its port has gone")
    assert ips(cluster)["a.red"]["v4IpAddress"] == "10.1.0.250"
    delete(cluster, "ips.kubeovn.io", "a.red")


def test_who_waits_for_an_address_gets_the_first_that_is_free(cluster: Lab) -> None:
    apply(cluster, custom("Subnet", "small", cidrBlock="10.6.0.0/30"))
    small = {"ovn.kubernetes.io/logical_switch": "small"}
    apply(cluster, pod("first", "n1", annotations=small))
    assert port(cluster, "first.default")["addresses"][1] == "10.6.0.2"
    apply(cluster, pod("second", "n1", annotations=small))
    eventually(cluster, lambda: told(cluster, "Pod", "second") == {"Exhausted"}, "nothing is free")
    kubectl(cluster, "wait", "--for=condition=AddressesAvailable=False", "subnet/small", "--timeout=10s")
    delete(cluster, "pod", "first", "--force")
    assert port(cluster, "second.default")["addresses"][1] == "10.6.0.2"
    delete(cluster, "pod", "second", "--force")
    delete(cluster, "subnet", "small")


def test_a_statefulsets_members_keep_their_addresses(cluster: Lab) -> None:
    labels = {"app": "db"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(nodeSelector={"kubernetes.io/hostname": "n2"})}
    spec = {"replicas": 2, "serviceName": "db", "podManagementPolicy": "Parallel", "selector": {"matchLabels": labels}}
    metadata = {"name": "db", "namespace": "red"}
    apply(
        cluster,
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec | {"template": template}},
    )
    before = [port(cluster, f"db-{n}.red") for n in (0, 1)]
    delete(cluster, "pod", "-n", "red", "db-1", "--force")
    eventually(cluster, lambda: port(cluster, "db-1.red")["uid"] != before[1]["uid"], "another db-1")
    assert port(cluster, "db-1.red")["addresses"] == before[1]["addresses"]
    uid = get(cluster, "pod", "db-1", "-n", "red")["metadata"]["uid"]
    eventually(cluster, lambda: written_of(cluster, "db-1.red") == uid, "its IP is the new one's")
    assert ips(cluster)["db-1.red"]["v4IpAddress"] == before[1]["addresses"][1]
    kubectl(cluster, "-n", "red", "scale", "statefulset", "db", "--replicas=1")
    eventually(cluster, lambda: set(ports(cluster)) == {"db-0.red"}, "db-1 has given its port back")
    eventually(cluster, lambda: set(ips(cluster)) == {"db-0.red"}, "and its IP")


def written_of(lab: Lab, ip: str) -> str:
    return str(get(lab, "ips.kubeovn.io", ip)["metadata"]["annotations"]["isthmus.dev/pod-uid"])


def test_a_subnet_with_pods_inside_stays_as_it_is(cluster: Lab) -> None:
    apply(cluster, custom("Subnet", "moving", cidrBlock="10.3.0.0/24"))
    apply(cluster, pod("a", "n1", annotations={"ovn.kubernetes.io/logical_switch": "moving"}))
    assert port(cluster, "a.default")["addresses"][1] == "10.3.0.2"
    patch = json.dumps({"spec": {"cidrBlock": "10.4.0.0/24", "gateway": ""}})
    kubectl(cluster, "patch", "subnet", "moving", "--type=merge", "-p", patch)
    kubectl(cluster, "wait", "--for=condition=Ready=False", "subnet/moving", "--timeout=10s")
    assert reason(cluster, "moving") == "InUse"
    delete(cluster, "pod", "a", "--force")
    kubectl(cluster, "wait", "--for=condition=Ready", "subnet/moving", "--timeout=10s")
    delete(cluster, "subnet", "moving")

    def gone() -> bool:
        rows = rpc.snapshot(cluster.site("cluster").nb_unix, "OVN_Northbound")
        return "moving" not in {r["name"] for r in rows["Logical_Switch"].values()}

    eventually(cluster, gone, "the switch is gone")


def test_bad_objects_have_a_condition_and_harm_nobody(cluster: Lab) -> None:
    apply(
        cluster,
        custom("Subnet", "lost", vpc="nowhere", cidrBlock="10.5.0.0/24"),
        custom("Subnet", "over", vpc="red", cidrBlock="10.1.0.128/25"),
    )
    for name, why in (("lost", "UnknownVpc"), ("over", "Overlap")):
        kubectl(cluster, "wait", "--for=condition=Ready=False", f"subnet/{name}", "--timeout=10s")
        assert reason(cluster, name) == why
        assert told(cluster, "Subnet", name) == {why}
        assert ready(cluster, f"Subnet cluster/{name}") == why
    assert ready(cluster, "Vpc cluster/red") == ready(cluster, "Subnet cluster/red-web") == "Programmed"
    apply(cluster, pod("a", "n1", "red"))
    assert port(cluster, "a.red")["subnet"] == "red-web"
    delete(cluster, "subnet", "lost", "over")


def test_a_vpcs_static_routes(cluster: Lab) -> None:
    route = {"cidr": "192.0.2.0/24", "nextHopIP": "10.1.0.254"}

    def routes() -> set[str]:
        rows = rpc.snapshot(cluster.site("cluster").nb_unix, "OVN_Northbound")["Logical_Router_Static_Route"]
        return {f"{r['ip_prefix']} {r['nexthop']}" for r in rows.values()}

    before = routes()
    apply(cluster, custom("Vpc", "red", namespaces=["red"], staticRoutes=[route]))
    eventually(cluster, lambda: routes() - before == {"192.0.2.0/24 10.1.0.254"}, "the route")
    apply(cluster, custom("Vpc", "red", namespaces=["red"]))
    eventually(cluster, lambda: routes() == before, "no route")


def switch_ports(unix: Path) -> dict[str, Any]:
    found: dict[str, Any] = rpc.snapshot(unix, "OVN_Northbound")["Logical_Switch_Port"]
    return found


def test_who_comes_after_us_writes_nothing_and_gives_no_address_twice(lab_factory: Any) -> None:
    """Also where the database was restored from before the Pods were there."""
    lab = lab_factory(str(FILE))
    unix = lab.site("cluster").nb_unix
    with serving(lab):
        apply(lab, *(pod(f"p{n}", f"n{1 + n % 2}") for n in range(5)))
        eventually(lab, lambda: len(ports(lab)) == 5, "five ports")
        # northd writes into a new port's row as well, a little later: that it is not up.
        eventually(lab, lambda: all(p["up"] != ["set", []] for p in switch_ports(unix).values()), "northd's word")
        before, rows = ports(lab), switch_ports(unix)
    with serving(lab):
        apply(lab, pod("late", "n1"))
        eventually(lab, lambda: "late.default" in ports(lab), "a port under the second one")
        after = switch_ports(unix)
        for uuid, row in rows.items():
            assert after[uuid]["_version"] == row["_version"]
        assert len({p["addresses"][1] for p in ports(lab).values()}) == 6
        # Somebody takes a port away: it comes back as it was.
        whole = before | {"late.default": ports(lab)["late.default"]}
        lab.site("cluster").nbctl("lsp-del", "p0.default")
        eventually(lab, lambda: ports(lab) == whole, "it is back")
    # Somebody makes nonsense of one while nobody serves: it is as it was as well, whoever else comes first.
    lab.site("cluster").nbctl("lsp-set-addresses", "p1.default", "unknown")
    lab.site("cluster").nbctl("lsp-set-port-security", "p1.default")
    with serving(lab):
        apply(lab, pod("later", "n1"))
        eventually(lab, lambda: "later.default" in ports(lab), "a port under the third one")
        eventually(lab, lambda: len(ports(lab)["p1.default"]["addresses"]) == 2, "it has an address again")
        assert len({p["addresses"][1] for p in ports(lab).values()}) == 7
        before = ports(lab)
        eventually(lab, lambda: ips(lab).keys() == before.keys(), "all is written down")
    # Somebody restores a database from before the Pods, which do not run and show nothing: only `IP` objects know.
    for name in before:
        lab.site("cluster").nbctl("lsp-del", name)
    apply(lab, pod("early", "n1"))
    with serving(lab):
        eventually(lab, lambda: len(ports(lab)) == 8, "all have ports again")
        now = ports(lab)
        assert {name: now[name] for name in before} == before
        assert len({p["addresses"][1] for p in now.values()}) == 8
