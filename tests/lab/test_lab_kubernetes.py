"""Sites of type `kubernetes`: a real control plane, kubelets and containers, and nothing of the machine's touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.api import kubeovn
from isthmus.lab import cgroups, spec
from isthmus.lab.kubernetes import images, node, programs
from isthmus.lab.lab import Lab
from isthmus.lab.openstack.servers import until
from isthmus.lab.pytest_plugin import LabFactory, unique_name
from isthmus.model.networks import DEFAULT_VPC

from . import cluster_objects
from .kubernetes_steps import TOLERANT, kubectl

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("cluster.yaml")


def tunables() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text() for name in node.TUNABLES}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    before, name = tunables(), unique_name()
    with Lab.up(spec.load(str(FILE), name=name)) as lab:
        assert (cgroups.ROOT / "memory" / cgroups.path(name, "n1").lstrip("/")).exists() or (
            cgroups.ROOT / cgroups.path(name, "n1").lstrip("/")
        ).exists()
        yield lab
    assert tunables() == before
    assert not list(cgroups.ROOT.rglob(f"isthmus-lab-{name}"))


def test_a_group_is_removed_when_the_last_of_its_threads_has_left() -> None:
    name = unique_name()
    cgroups.make(name, "h")
    try:
        # A new group of processors is empty, and takes nobody.
        groups = [top for top in cgroups.ROOT.rglob(f"isthmus-lab-{name}/h") if "cpuset" not in str(top)]
        for top in groups:
            (top / "pod").mkdir()
        with subprocess.Popen(["sleep", "0.3"]) as process:
            for top in groups:
                (top / "pod" / "cgroup.procs").write_text(str(process.pid))
            cgroups.clear(name, "h")
            assert process.poll() == 0
        assert groups and not [top for top in groups if (top / "pod").exists()]
    finally:
        cgroups.remove(name)


def as_node(lab: Lab, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With the key of a host's kubelet, on that host."""
    program = str(programs.path() / "bin" / "kubectl")
    return lab.exec(host, [program, f"--kubeconfig={node.ETC}/kubelet.kubeconfig", *arguments])


def pod(name: str, host: str, **spec: Any) -> dict[str, Any]:
    """A Pod in its node's own network."""
    container = {
        "name": "main",
        "image": images.PAUSE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo hello from $(hostname); exec sleep 3600"],
    }
    chosen = {"nodeName": host, "hostNetwork": True, "tolerations": TOLERANT, "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **chosen, **spec},
    }


def eventually(lab: Lab, true: Callable[[], bool], what: str) -> None:
    until(true, what, lab.state.alive)


def test_every_host_is_a_node_of_the_version_that_was_built(cluster: Lab) -> None:
    nodes = {n["metadata"]["name"]: n for n in json.loads(kubectl(cluster, "get", "nodes", "-o", "json"))["items"]}
    assert set(nodes) == {"n1", "n2"}
    for name, found in nodes.items():
        assert found["status"]["nodeInfo"]["kubeletVersion"] == programs.version()
        assert {"type": "InternalIP", "address": cluster.host(name).address} in found["status"]["addresses"]
    version = json.loads(kubectl(cluster, "version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == programs.version()
    assert set(cluster.site("cluster").sbctl("--bare", "--columns=name", "list", "chassis").split()) == set(nodes)


def test_a_container_runs_and_says_so_and_can_be_entered(cluster: Lab) -> None:
    for host in ("n1", "n2"):
        kubectl(cluster, "apply", "-f", "-", input=json.dumps(pod(f"plain-{host}", host)))
    for host in ("n1", "n2"):
        kubectl(cluster, "wait", "--for=condition=Ready", f"pod/plain-{host}", "--timeout=60s")
        assert kubectl(cluster, "logs", f"plain-{host}") == f"hello from {host}\n"
        addresses = kubectl(cluster, "exec", f"plain-{host}", "--", "ip", "-4", "addr")
        assert cluster.host(host).address in addresses
    kubectl(cluster, "delete", "pod", "--all", "--wait")


def test_a_pod_waits_for_a_network_plugin(cluster: Lab) -> None:
    """Nothing gives Pods a network of their own yet, and kubelet says so."""
    reason = "{.status.conditions[?(@.type=='Ready')].message}"
    eventually(
        cluster,
        lambda: "cni plugin not initialized" in kubectl(cluster, "get", "node", "n1", "-o", f"jsonpath={reason}"),
        "n1 says what it lacks",
    )


def test_a_node_may_change_itself_and_no_other(cluster: Lab) -> None:
    assert as_node(cluster, "n1", "label", "node", "n1", "tried=1").returncode == 0
    # RBAC and the node authorizer …
    other = as_node(cluster, "n1", "label", "node", "n2", "tried=1")
    assert other.returncode != 0
    assert "only its own Node object" in other.stderr
    # … and NodeRestriction.
    kept = as_node(cluster, "n1", "label", "node", "n1", "node-restriction.kubernetes.io/tried=1")
    assert kept.returncode != 0
    assert "is not allowed to modify labels" in kept.stderr
    secrets = as_node(cluster, "n1", "get", "secrets", "--all-namespaces")
    assert "Forbidden" in secrets.stderr


def test_nobody_gets_in_without_a_key(cluster: Lab) -> None:
    api = cluster.site("cluster").address
    for url in (f"https://{api}:6443/api/v1/pods", f"https://{cluster.host('n1').address}:10250/pods"):
        script = (
            "import ssl, sys, urllib.request, urllib.error\n"
            "try: urllib.request.urlopen(sys.argv[1], context=ssl._create_unverified_context())\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
        )
        said = cluster.exec("operator", ["python3", "-c", script, url])
        assert said.stdout.strip() in ("401", "403"), said


def test_a_kubeconfig_that_needs_no_files(cluster: Lab, tmp_path: Path) -> None:
    text = cluster.exec("operator", ["isthmus", "lab", "kubeconfig", "--name", cluster.name, "cluster"]).stdout
    alone = tmp_path / "kubeconfig"
    alone.write_text(text)
    assert "n1" in kubectl(cluster, f"--kubeconfig={alone}", "get", "nodes", "-o", "name")


def test_nothing_is_left_when_the_lab_is_killed(lab_factory: LabFactory) -> None:
    """Containers end with the lab's PID namespace; their control groups would stay."""
    site = {"name": "small", "type": "kubernetes", "hosts": [{"name": "s1"}]}
    lab = lab_factory({"name": "x", "tenants": 0, "interconnects": False, "sites": [site]})
    kubectl(lab, "apply", "-f", "-", input=json.dumps(pod("plain", "s1")))
    kubectl(lab, "wait", "--for=condition=Ready", "pod/plain", "--timeout=60s")
    assert list(cgroups.ROOT.rglob(f"isthmus-lab-{lab.name}/s1/kubepods"))
    os.kill(lab.state.keeper, signal.SIGKILL)
    lab.down()
    assert not list(cgroups.ROOT.rglob(f"isthmus-lab-{lab.name}"))


# The API of its networks: what the API server itself refuses, before anything of ours sees it.


@pytest.fixture(scope="module")
def api(cluster: Lab) -> Lab:
    for kind in kubeovn.KINDS:
        kubectl(cluster, "wait", "--for=condition=Established", f"crd/{kind.plural}.{kubeovn.GROUP}", "--timeout=30s")
    return cluster


def test_no_definition_has_a_schema_that_is_not_structural(api: Lab) -> None:
    found = json.loads(kubectl(api, "get", "crds", "-o", "json"))["items"]
    assert len(found) == len(kubeovn.KINDS)
    for definition in found:
        assert [c for c in definition["status"]["conditions"] if c["type"] == "NonStructuralSchema"] == []


def test_manifests_that_are_taken(api: Lab) -> None:
    for number, (what, wanted) in enumerate(cluster_objects.TAKEN.items()):
        named = wanted | {"metadata": {"name": f"taken-{number}"}}
        done = api.exec("operator", ["kubectl", "create", "-f", "-"], input=json.dumps(named))
        assert done.returncode == 0, f"{what}: {done.stderr}"


def test_manifests_that_are_refused(api: Lab) -> None:
    for number, (what, (wanted, says)) in enumerate(cluster_objects.REFUSED.items()):
        named = wanted | {"metadata": {"name": f"refused-{number}"}}
        done = api.exec("operator", ["kubectl", "create", "-f", "-"], input=json.dumps(named))
        assert done.returncode != 0, f"{what} was taken"
        assert says in done.stderr, f"{what}: {done.stderr}"


def test_a_subnet_stays_in_its_vpc(api: Lab) -> None:
    named = cluster_objects.subnet(vpc="first") | {"metadata": {"name": "stays"}}
    kubectl(api, "create", "-f", "-", input=json.dumps(named))
    patch = ["kubectl", "patch", "subnet", "stays", "--type=merge", "-p"]
    moved = api.exec("operator", [*patch, json.dumps({"spec": {"vpc": "second"}})])
    assert "vpc cannot be changed" in moved.stderr
    kubectl(api, *patch[1:], json.dumps({"spec": {"natOutgoing": True}}))


def test_what_is_left_out_is_filled_in(api: Lab) -> None:
    named = cluster_objects.subnet() | {"metadata": {"name": "filled"}}
    kubectl(api, "create", "-f", "-", input=json.dumps(named))
    spec = json.loads(kubectl(api, "get", "subnet", "filled", "-o", "json"))["spec"]
    assert (spec["vpc"], spec["provider"], spec["natOutgoing"]) == (DEFAULT_VPC, "ovn", False)
    assert "10.1.0.0/24" in kubectl(api, "get", "subnet", "filled")
