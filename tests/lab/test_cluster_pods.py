"""Pods that kubelet and containerd start, on our network: they reach their own VPC, and nobody else's."""

from __future__ import annotations

import pytest

from isthmus.lab.lab import Lab

from .kubernetes_steps import (
    TWIN_HOSTS,
    TWINS,
    addresses,
    apply,
    delete,
    eventually,
    forger,
    get,
    inside,
    interfaces,
    kubectl,
    pod,
    ports,
)

pytestmark = pytest.mark.lab

TENANTS, HOSTS = TWINS, TWIN_HOSTS


@pytest.fixture(scope="module")
def cluster(shared_cluster: Lab) -> Lab:
    return shared_cluster


def reaches(lab: Lab, space: str, name: str, address: str) -> bool:
    return inside(lab, space, name, "ping", "-c", "2", "-W", "2", address)[0] == 0


def test_kubelet_tells_the_addresses_that_were_given(cluster: Lab) -> None:
    for tenant in TENANTS:
        for host in HOSTS:
            given = ports(cluster)[f"on-{host}.{tenant}"]["addresses"][1:]
            assert addresses(cluster, tenant, f"on-{host}") == given


def test_pods_of_a_tenant_reach_each_other_on_both_nodes_by_both_families(cluster: Lab) -> None:
    for tenant in TENANTS:
        for address in addresses(cluster, tenant, "on-n2"):
            assert reaches(cluster, tenant, "on-n1", address), (tenant, address)


def test_nobody_reaches_another_tenant_with_the_same_network(cluster: Lab) -> None:
    own = set(addresses(cluster, "red", "on-n1") + addresses(cluster, "red", "on-n2"))
    for host in HOSTS:
        for address in set(addresses(cluster, "blue", f"on-{host}")) - own:
            assert not reaches(cluster, "red", "on-n1", address), address


def test_a_pod_sends_from_its_own_address_only(cluster: Lab) -> None:
    target = addresses(cluster, "red", "on-n2")[0]
    script = f"ip addr add 10.1.0.200/24 dev eth0 2>&1; ping -c 2 -W 2 -I 10.1.0.200 {target}"
    apply(cluster, forger("forger", "n1", "red"))
    kubectl(cluster, "-n", "red", "wait", "--for=condition=Ready", "pod/forger", "--timeout=60s")
    assert reaches(cluster, "red", "forger", target)
    code, said = inside(cluster, "red", "forger", "sh", "-c", script)
    assert code != 0
    assert "100% packet loss" in said
    delete(cluster, "pod", "-n", "red", "forger", "--force")


def test_what_a_pod_had_goes_with_it(cluster: Lab) -> None:
    apply(cluster, pod("short", "n1", "red"))
    kubectl(cluster, "-n", "red", "wait", "--for=condition=Ready", "pod/short", "--timeout=60s")
    link = interfaces(cluster, "n1")["short.red"]
    assert link["ovn-installed"] == "true"
    delete(cluster, "pod", "-n", "red", "short")
    eventually(cluster, lambda: "short.red" not in ports(cluster), "its port has gone")
    eventually(cluster, lambda: "short.red" not in interfaces(cluster, "n1"), "its interface has gone")
    links = cluster.exec("n1", ["ip", "-o", "link"]).stdout
    assert links.count("@") == 1 + 2, links


def test_pods_live_through_a_restart_of_the_agent(cluster: Lab) -> None:
    address = addresses(cluster, "red", "on-n2")[0]
    agent = cluster.host("n1").daemon("agent")
    before = interfaces(cluster, "n1")
    agent.kill()
    assert reaches(cluster, "red", "on-n1", address)
    agent.start()
    assert reaches(cluster, "red", "on-n1", address)
    assert interfaces(cluster, "n1") == before
    apply(cluster, pod("after", "n1", "red"))
    kubectl(cluster, "-n", "red", "wait", "--for=condition=Ready", "pod/after", "--timeout=60s")
    delete(cluster, "pod", "-n", "red", "after", "--force")


def test_a_pod_whose_container_ends_comes_back(cluster: Lab) -> None:
    """In its own network namespace, which is its sandbox's."""
    before = addresses(cluster, "blue", "on-n1")
    inside(cluster, "blue", "on-n1", "sh", "-c", "kill 1; kill -9 -1")

    def again() -> bool:
        status = get(cluster, "pod", "on-n1", "-n", "blue")["status"]
        return bool(status["containerStatuses"][0]["ready"])

    eventually(cluster, again, "it runs")
    assert addresses(cluster, "blue", "on-n1") == before
