"""Nodes and Pods: probes in every VPC, the API server's Service in every VPC, and no way from one VPC to another."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.agent.hostpath import NODE_DEVICE, OUT_DEVICE, tenant_device
from isthmus.compile.nodes import NODE
from isthmus.lab import spec
from isthmus.lab.kubernetes.cluster import API_PORT
from isthmus.lab.kubernetes.node import NETWORKS, PLUGINS
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

from .kubernetes_steps import (
    addresses,
    apply,
    custom,
    delete,
    eventually,
    get,
    has_account,
    inside,
    kubectl,
    pod,
    ports,
    twins,
)

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("pods.yaml")
TENANTS = ("red", "blue")
HOSTS = ("n1", "n2")
PORT = 8080
SERVE = ["sh", "-c", f"mkdir /www; hostname >/www/index.html; exec httpd -f -p {PORT} -h /www"]
SERVICE = "10.96.0.1"


def server(name: str, host: str, space: str, probe: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """A Pod that serves its own name by HTTP, and is ready when a probe says so."""
    made = pod(name, host, space, {f"ovn.kubernetes.io/{key}": value for key, value in annotations.items()})
    quick = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
    made["spec"]["containers"][0] |= {"command": SERVE, "readinessProbe": probe | quick}
    return made


def http(port: int = PORT) -> dict[str, Any]:
    return {"httpGet": {"path": "/", "port": port}}


def tcp(port: int = PORT) -> dict[str, Any]:
    return {"tcpSocket": {"port": port}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    """Two tenants with one and the same network, and the default VPC, each with a Pod on both nodes."""
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        twins(lab, TENANTS)
        for space in (*TENANTS, "default"):
            eventually(lab, lambda s=space: has_account(lab, s), f"service account of {space}")  # type: ignore[misc]
            probe = {"red": http(), "blue": tcp(), "default": http()}[space]
            apply(lab, *(server(f"on-{host}", host, space, probe) for host in HOSTS))
        for space in (*TENANTS, "default"):
            kubectl(lab, "-n", space, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        yield lab


def ready(lab: Lab, space: str, name: str) -> bool:
    conditions = get(lab, "pod", name, "-n", space)["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def ask(address: str, port: int) -> list[str]:
    """A line of HTTP, and whatever comes back."""
    return ["sh", "-c", f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} {port}"]


def fetched(lab: Lab, host: str, address: str, port: int = PORT) -> str:
    """The last line that a node hears, or ""."""
    return (lab.exec(host, ask(address, port)).stdout.splitlines() or [""])[-1]


def answers(lab: Lab, space: str, name: str, address: str, port: int) -> str:
    """What a Pod hears."""
    return inside(lab, space, name, *ask(address, port))[1]


def test_kubelet_probes_pods_of_every_vpc(cluster: Lab) -> None:
    """The fixture has waited for these; what nothing answers is not ready, though another tenant's Pod would answer."""
    mute = pod("mute", "n1", "blue", {"ovn.kubernetes.io/ip_address": "10.1.0.77"})
    mute["spec"]["containers"][0]["readinessProbe"] = tcp() | {"periodSeconds": 1, "failureThreshold": 1}
    apply(cluster, mute, server("heard", "n2", "red", tcp(), ip_address="10.1.0.77,fd00:1::77"))
    eventually(cluster, lambda: ready(cluster, "red", "heard"), "it is ready")

    def unhealthy() -> bool:
        words = ("-n", "blue", "get", "events", "--field-selector", "involvedObject.name=mute,reason=Unhealthy")
        return "refused" in kubectl(cluster, *words)

    eventually(cluster, unhealthy, "kubelet says that nobody listens")
    assert not ready(cluster, "blue", "mute")
    delete(cluster, "pod", "-n", "blue", "mute", "--force")
    delete(cluster, "pod", "-n", "red", "heard", "--force")


def test_a_node_reaches_its_own_pods_of_every_vpc_and_all_of_the_default(cluster: Lab) -> None:
    for space in (*TENANTS, "default"):
        for there in HOSTS:
            for address in addresses(cluster, space, f"on-{there}"):
                for host in HOSTS:
                    found = fetched(cluster, host, address)
                    if space == "default" or host == there:
                        assert found == f"on-{there}", (space, there, host, address)
                    else:
                        # Nothing, or the Pod of another tenant that has the address on that node.
                        assert found == "" or address in addresses(cluster, *other(space), f"on-{host}"), address


def other(space: str) -> tuple[str]:
    return (next(t for t in TENANTS if t != space),)


def test_an_address_of_two_tenants_on_one_node_is_reached_by_nobody(cluster: Lab) -> None:
    for space in TENANTS:
        apply(cluster, server("same", "n1", space, http(), ip_address="10.1.0.99,fd00:1::99"))
    for space in TENANTS:
        eventually(cluster, lambda s=space: f"same.{s}" in ports(cluster), "it has a port")  # type: ignore[misc]
        running = ("wait", "--for=jsonpath={.status.phase}=Running", "pod/same", "--timeout=60s")
        kubectl(cluster, "-n", space, *running)
    assert fetched(cluster, "n1", "10.1.0.99") == ""
    assert fetched(cluster, "n1", "fd00:1::99") == ""
    assert not any(ready(cluster, space, "same") for space in TENANTS)
    # Each is there for its own VPC all the same.
    for space in TENANTS:
        assert "same" in answers(cluster, space, "on-n2", "10.1.0.99", PORT)
    delete(cluster, "pod", "-n", "blue", "same", "--force")
    eventually(cluster, lambda: ready(cluster, "red", "same"), "the one that is left is ready")
    delete(cluster, "pod", "-n", "red", "same", "--force")


@pytest.mark.parametrize("space", [*TENANTS, "default"])
def test_the_api_server_is_reached_by_its_service_in_every_vpc(cluster: Lab, space: str) -> None:
    for host in HOSTS:
        assert "HTTP request to an HTTPS server" in answers(cluster, space, f"on-{host}", SERVICE, 443)


def test_pods_of_the_default_vpc_reach_nodes_and_the_world_with_their_nodes_address(cluster: Lab) -> None:
    api = cluster.site("cluster").address
    for host in HOSTS:
        for there in (cluster.host(h).address for h in HOSTS):
            assert inside(cluster, "default", f"on-{host}", "ping", "-c", "1", "-W", "2", there)[0] == 0
        own = cluster.host(host).address
        code = f"import socket; s = socket.create_server(('{api}', 7777)); print(s.accept()[1][0])"
        listener = cluster.popen("cluster", ["/usr/bin/python3", "-uc", code], stdout=subprocess.PIPE)
        eventually(cluster, lambda: "7777" in cluster.exec("cluster", ["ss", "-Hltn"]).stdout, "it listens")
        inside(cluster, "default", f"on-{host}", "busybox", "nc", "-w", "1", api, "7777")
        assert listener.communicate(timeout=10)[0].strip() == own


def test_a_node_is_no_way_from_one_vpc_to_another_nor_into_itself(cluster: Lab) -> None:
    """Not even for a tenant whose router sends everything to the node."""
    everything = [{"cidr": "0.0.0.0/0", "nextHopIP": str(NODE[0].ip)}, {"cidr": "::/0", "nextHopIP": str(NODE[1].ip)}]
    apply(cluster, custom("Vpc", "red", namespaces=["red"], staticRoutes=everything))

    eventually(cluster, lambda: "0.0.0.0/0" in cluster.site("cluster").nbctl("lr-route-list", "red"), "they are there")
    apply(cluster, server("victim", "n1", "blue", http(), ip_address="10.1.0.66,fd00:1::66"))
    eventually(cluster, lambda: ready(cluster, "blue", "victim"), "it is ready")
    node = cluster.host("n1").address
    targets = {
        "another tenant's Pod on this node": ("10.1.0.66", PORT),
        "the default VPC's Pod on this node": (addresses(cluster, "default", "on-n1")[0], PORT),
        "the default VPC's Pod on the other node": (addresses(cluster, "default", "on-n2")[0], PORT),
        "the node's kubelet": (node, 10250),
        "the kubelet by the door": (str(NODE[0].ip), 10250),
        "the API server by its own address": (cluster.site("cluster").address, API_PORT),
        "another port of its Service": (SERVICE, 10250),
    }
    heard = {what: answers(cluster, "red", "on-n1", *where) for what, where in targets.items()}
    assert not any("HTTP" in found or "on-n" in found or "victim" in found for found in heard.values()), heard
    # The node itself reaches them: they were there to be reached.
    assert fetched(cluster, "n1", "10.1.0.66") == "victim"
    assert fetched(cluster, "n1", targets["the default VPC's Pod on the other node"][0]) == "on-n2"
    assert "HTTP request to an HTTPS server" in answers(cluster, "red", "on-n1", SERVICE, 443)
    apply(cluster, custom("Vpc", "red", namespaces=["red"]))
    delete(cluster, "pod", "-n", "blue", "victim", "--force")


def test_doors_come_and_go_with_pods_and_come_back_with_the_switch(cluster: Lab) -> None:
    def doors(host: str) -> set[str]:
        names = cluster.exec(host, ["ls", "/sys/class/net"]).stdout.split()
        return {n for n in names if n.startswith(("isv", OUT_DEVICE, NODE_DEVICE))}

    both = {NODE_DEVICE, OUT_DEVICE, *map(tenant_device, TENANTS)}
    assert doors("n1") == both
    switch = cluster.host("n1").daemon("vswitchd")
    switch.kill()
    switch.start()
    address = addresses(cluster, "red", "on-n1")[0]
    eventually(cluster, lambda: fetched(cluster, "n1", address) == "on-n1", "the node reaches its Pod again")
    delete(cluster, "pod", "-n", "blue", "on-n1", "--force")
    eventually(cluster, lambda: doors("n1") == both - {tenant_device("blue")}, "nobody is left in that VPC")


def test_retire_takes_all_of_it_away(cluster: Lab) -> None:
    cluster.host("n2").daemon("agent").stop()
    retire = [*cluster.state.daemons["n2/agent"].argv, "--retire"]
    done = cluster.exec("n2", retire)
    assert done.returncode == 0, done.stderr
    left = cluster.exec("n2", ["sh", "-c", "ls /sys/class/net; ip rule; ip -6 rule; nft list tables"]).stdout
    assert not any(word in left for word in (NODE_DEVICE, OUT_DEVICE, tenant_device("red"), "26995", "inet isthmus"))
    left = cluster.exec("n2", ["ls", NETWORKS, PLUGINS]).stdout
    assert "isthmus" not in left
    again = cluster.exec("n2", retire)
    assert again.returncode == 0, again.stderr
