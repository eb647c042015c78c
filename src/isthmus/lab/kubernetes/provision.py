"""What tenants of a cluster have before they are joined to others: Vpcs, Subnets, and Deployments of one Pod each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isthmus.api.kubeovn import GROUP, VERSION
from isthmus.lab import cgroups
from isthmus.lab.http import Json
from isthmus.lab.kubernetes.cluster import Cluster
from isthmus.lab.kubernetes.images import PAUSE
from isthmus.lab.layout import Machine, Router, Subnet

Ask = Callable[[str, str, Json | None], Json]
"""Method, path and body to the API server's answer."""
LOOK = 0.1
"""Seconds between two questions."""
API = f"{GROUP}/{VERSION}"
LABEL = "isthmus.dev/endpoint"


def provision(cluster: Cluster, ask: Ask) -> None:
    """Make everything; Pods start when their networks are there."""
    site = cluster.site
    for tenant in site.tenants:
        _create(ask, "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}})
    for router in site.routers:
        _create(ask, f"/apis/{API}/vpcs", vpc(router))
    for subnet in site.subnets:
        _create(ask, f"/apis/{API}/subnets", subnet_object(subnet))
    for machine in site.machines:
        _create(ask, f"/apis/apps/v1/namespaces/{machine.tenant}/deployments", deployment(machine))


def _create(ask: Ask, path: str, body: Json) -> None:
    ask("POST", path, body)


def vpc(router: Router) -> Json:
    routes = [{"cidr": str(prefix), "nextHopIP": str(nexthop)} for prefix, nexthop in router.routes]
    spec = {"namespaces": [router.tenant], "staticRoutes": routes}
    return {"apiVersion": API, "kind": "Vpc", "metadata": {"name": router.name}, "spec": spec}


def subnet_object(subnet: Subnet) -> Json:
    spec = {
        "vpc": subnet.router,
        "cidrBlock": ",".join(map(str, subnet.cidrs)),
        "gateway": ",".join(map(str, subnet.gateways)),
        "namespaces": [subnet.tenant],
    }
    return {"apiVersion": API, "kind": "Subnet", "metadata": {"name": subnet.name}, "spec": spec}


def deployment(machine: Machine) -> Json:
    """One Pod, on its host, with the addresses that the lab file gives it."""
    labels = {LABEL: machine.name}
    annotations = {
        "ovn.kubernetes.io/logical_switch": machine.switch,
        "ovn.kubernetes.io/ip_address": ",".join(str(a.ip) for a in machine.addresses),
        "ovn.kubernetes.io/mac_address": machine.mac,
    }
    container = {"name": "main", "image": PAUSE, "imagePullPolicy": "Never"}
    pod = {
        "containers": [container],
        "nodeSelector": {"kubernetes.io/hostname": machine.host},
        "terminationGracePeriodSeconds": 0,
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        # Its address is its own: the next one comes when this one has gone.
        "strategy": {"type": "Recreate"},
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": machine.name}, "spec": spec}


def running(cluster: Cluster, ask: Ask, deadline: float) -> dict[str, tuple[str, int]]:
    """Endpoint -> the port of its Pod, and a process in it by its number in the lab; when all of them run.

    Raises TimeoutError by time.monotonic().
    """
    wanted = {machine.name for machine in cluster.site.machines}
    while True:
        found = dict(_pods(cluster, ask))
        if wanted <= found.keys():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{cluster.name}: no Pods for {', '.join(sorted(wanted - found.keys()))}")
        time.sleep(LOOK)


def _pods(cluster: Cluster, ask: Ask) -> Iterator[tuple[str, tuple[str, int]]]:
    for pod in ask("GET", f"/api/v1/pods?labelSelector={LABEL}", None)["items"]:
        conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
        if conditions.get("Ready") != "True" or "deletionTimestamp" in pod["metadata"]:
            continue
        if pid := process(cluster, pod):
            meta = pod["metadata"]
            yield meta["labels"][LABEL], (f"{meta['name']}.{meta['namespace']}", pid)


def process(cluster: Cluster, pod: Any) -> int:
    """A process of a Pod (as the API server tells it): of its sandbox or containers, by its number in the lab; or 0."""
    group = f"{cgroups.path(cluster.state.name, pod['spec']['nodeName'])}/"
    mark = f"pod{pod['metadata']['uid']}"
    for entry in Path(f"/proc/{cluster.state.keeper}/root/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cgroup").read_text(encoding="utf-8")
            except OSError:
                continue
            if group in text and mark in text:
                return int(entry.name)
    return 0
