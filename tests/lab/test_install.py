"""Isthmus in a cluster, installed as docs/cluster.md says: a Deployment, a DaemonSet, and Pods with networks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from documents import ROOT, commands, yaml_blocks
from isthmus.agent.hostpath import NODE_DEVICE, OUT_DEVICE
from isthmus.api import rbac, workloads
from isthmus.lab import rpc, spec
from isthmus.lab.kubernetes.cluster import API_PORT
from isthmus.lab.kubernetes.node import NETWORKS, PLUGINS
from isthmus.lab.kubernetes.workloads import FILES
from isthmus.lab.lab import Lab
from isthmus.lab.layout import FRONT_PORT, NB_PORT
from isthmus.lab.pytest_plugin import unique_name

from .kubernetes_steps import apply, delete, eventually, get, inside, kubectl, pod

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("cluster.yaml")
PAGE = ROOT / "docs" / "cluster.md"
HOSTS = ("n1", "n2")
NAMESPACE = ("-n", rbac.NAME)
AGENTS = f"app.kubernetes.io/name={workloads.AGENT}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the reader of the page."""
    return tmp_path_factory.mktemp("install")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Lab]:
    """Nodes without a network plugin; then every command of the page, where its reader would run it."""
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        bring(lab, folder)
        lines = commands(PAGE, "Install")
        assert len(lines) >= 10
        for line in lines:
            run(lab, folder, line)
        yield lab


def run(lab: Lab, folder: Path, line: str) -> str:
    """A command of the page."""
    told, said = line.replace("192.0.2.10", lab.site("cluster").address).replace("6443", str(API_PORT)), ""
    for place in HOSTS if told.startswith("ctr ") else ("operator",):
        done = lab.exec(place, ["sh", "-c", f"cd {folder} && exec {told}"], timeout=150.0)
        assert done.returncode == 0, f"{told}: {done.stdout}{done.stderr}"
        said += done.stdout
    return said


def bring(lab: Lab, folder: Path) -> None:
    """What the reader has: a clone, her Site, and its keys. Its databases are where this lab has them."""
    for part in ("charts", "examples"):
        (folder / part).symlink_to(ROOT / part)
    for name, file in FILES.items():
        shutil.copyfile(lab.paths.tls / file.format("cluster"), folder / name)
    site = yaml.safe_load(yaml_blocks(PAGE)[1])
    address = lab.site("cluster").address
    site["spec"] |= {"northbound": [f"ssl:{address}:{NB_PORT}"], "southbound": [f"ssl:{address}:{FRONT_PORT}"]}
    (folder / "site.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")


@pytest.fixture(scope="module")
def pods(cluster: Lab) -> dict[str, str]:
    """A Pod on each node, and its address."""
    apply(cluster, *(pod(f"on-{host}", host) for host in HOSTS))
    kubectl(cluster, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
    return {host: get(cluster, "pod", f"on-{host}")["status"]["podIP"] for host in HOSTS}


def interfaces(lab: Lab, host: str) -> set[str]:
    """Interfaces of Pods on a host, by all that the agent wrote at them."""
    rows = rpc.snapshot(lab.host(host).ovs_unix, "Open_vSwitch")["Interface"].values()
    return {str(sorted(ids.items())) for ids in (rpc.mapping(r["external_ids"]) for r in rows) if "iface-id-ver" in ids}


def agents(lab: Lab) -> set[str]:
    """The Pods of the agents, by uid."""
    return set(kubectl(lab, *NAMESPACE, "get", "pods", "-l", AGENTS, "-o", "jsonpath={.items[*].metadata.uid}").split())


def test_pods_have_networks_that_serve_and_the_agents_made(cluster: Lab, pods: dict[str, str]) -> None:
    assert inside(cluster, "default", "on-n1", "ping", "-c", "2", "-W", "2", pods["n2"])[0] == 0
    assert {host: len(interfaces(cluster, host)) for host in HOSTS} == {"n1": 1, "n2": 1}


def test_a_node_reaches_pods_by_the_way_that_its_agent_made(cluster: Lab, pods: dict[str, str]) -> None:
    for address in pods.values():
        eventually(cluster, lambda a=address: ping(cluster, a) == 0, f"n1 reaches {address}")  # type: ignore[misc]


def ping(lab: Lab, address: str) -> int:
    return lab.exec("n1", ["ping", "-c", "1", "-W", "1", address]).returncode


def test_pods_do_not_notice_that_every_agent_and_every_serve_is_made_anew(cluster: Lab, pods: dict[str, str]) -> None:
    before, made = {host: interfaces(cluster, host) for host in HOSTS}, agents(cluster)
    assert len(made) == len(HOSTS)
    script = f"ping -i 0.05 {pods['n2']} >/said 2>&1 & echo $! >/pid"
    assert inside(cluster, "default", "on-n1", "sh", "-c", script)[0] == 0
    delete(cluster, "pods", *NAMESPACE, "--all")
    for workload in (f"daemonset/{workloads.AGENT}", f"deployment/{workloads.SERVE}"):
        kubectl(cluster, *NAMESPACE, "rollout", "status", workload, "--timeout=60s")
    assert not agents(cluster) & made
    inside(cluster, "default", "on-n1", "sh", "-c", "kill -INT $(cat /pid)")
    sent, received = counted(cluster)
    assert sent > 20
    # The last request may be on its way.
    assert sent - received <= 1
    assert {host: interfaces(cluster, host) for host in HOSTS} == before
    delete(cluster, "pod", "on-n2")
    apply(cluster, pod("on-n2", "n2"))
    kubectl(cluster, "wait", "--for=condition=Ready", "pod/on-n2", "--timeout=60s")


def counted(lab: Lab) -> tuple[int, int]:
    """What the ping says when it has ended."""
    said = ""

    def ended() -> bool:
        nonlocal said
        said = inside(lab, "default", "on-n1", "cat", "/said")[1]
        return "packets received" in said

    eventually(lab, ended, "the ping has ended")
    sent, received = re.findall(r"(\d+) packets", said)
    return int(sent), int(received)


def test_the_agent_of_a_node_is_no_more_than_it_must_be(cluster: Lab) -> None:
    """The kernel's own word: its capabilities are those that are asked for, and a filter of system calls is on."""
    show = "print(open('/proc/self/status').read())"
    words = ("exec", f"daemonset/{workloads.AGENT}", "--", "/usr/bin/python3", "-c", show)
    status = dict(line.split(":\t", 1) for line in kubectl(cluster, *NAMESPACE, *words).splitlines() if ":\t" in line)
    bits = {"NET_ADMIN": 12, "SYS_ADMIN": 21}
    assert int(status["CapEff"], 16) == sum(1 << bits[name] for name in workloads.CAPABILITIES)
    assert status["Seccomp"] == "2"


def test_it_is_removed_as_the_page_says(cluster: Lab, folder: Path) -> None:
    """Nothing is left on the nodes, and no Vpc in the cluster."""
    status, retire, logs, *rest = commands(PAGE, "Remove it")
    said = run(cluster, folder, status)
    assert "Vpc cluster/ovn-cluster" in said and "Interconnect" not in said
    delete(cluster, "pods", "--all")
    run(cluster, folder, retire)
    # While a container is made its log cannot be read.
    eventually(cluster, lambda: cluster.exec("operator", logs.split()).stdout.count(" retired") >= len(HOSTS), "both")
    for line in rest:
        run(cluster, folder, line)
    look = f"ls /sys/class/net {NETWORKS} {PLUGINS} /run/isthmus; ip rule; nft list tables"
    for host in HOSTS:
        left = cluster.exec(host, ["sh", "-c", look]).stdout
        assert "loopback" in left
        assert not [
            word for word in (NODE_DEVICE, OUT_DEVICE, "26995", "isthmus\n", "conflist", "cni.sock") if word in left
        ], left
    assert "kubeovn" not in kubectl(cluster, "get", "crds", "-o", "name")
