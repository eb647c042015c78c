"""Sites of type `kubernetes`: an OVN deployment with a cluster on top, which makes what tenants have."""

from __future__ import annotations

import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.api import crds, kubeovn
from isthmus.errors import IntentError, Problem, WorldError
from isthmus.lab import hosts, tools
from isthmus.lab.http import Json, request
from isthmus.lab.kind_ovn import OvnKind
from isthmus.lab.kubernetes import (
    control,
    images,
    isthmus_image,
    networks,
    node,
    programs,
    provision,
    workloads,
)
from isthmus.lab.kubernetes.cluster import ADMIN, Cluster, operators_keys
from isthmus.lab.layout import Layout, Machine, SiteLayout
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon, State

if TYPE_CHECKING:
    from isthmus.lab.kinds import Site

LOOK = 0.1
"""Seconds between two questions."""
UNBROKEN = {"ovn-ofctrl-wait-before-clear": "1000"}
"""external_ids of a host: an ovn-controller that starts first computes what it puts in place of what is there. It takes
what there was away at once without it, and Pods lose packets until it has computed. Milliseconds."""
PATIENCE = 120.0
"""Seconds until Isthmus' own Pods are ready."""


class KubernetesKind(OvnKind):
    """See `kinds.Kind`."""

    def daemons(self, lab: Site, site: SiteLayout) -> dict[str, Daemon]:
        cluster = _cluster(lab, site)
        found = super().daemons(lab, site)
        found |= {f"{site.name}/{short}": daemon for short, daemon in control.daemons(cluster).items()}
        processes = site.site.agents and not site.site.in_cluster
        if processes:
            found[f"{site.name}/networks"] = networks.daemon(cluster)
        for host in site.site.hosts:
            if processes:
                agent = hosts.agent(lab.paths, lab.layout, site, host)
                found[f"{host.name}/agent"] = replace(agent, argv=[*agent.argv, "--cni"])
            found |= {f"{host.name}/{short}": daemon for short, daemon in node.daemons(cluster, host.name).items()}
        return found

    def configure(self, lab: Site, site: SiteLayout, host: Host) -> None:
        hosts.configure(lab.paths, lab.layout, site, host, lab.datapath, {}, UNBROKEN)

    def start(self, lab: Site, site: SiteLayout, pool: ThreadPoolExecutor, fabric: Future[None]) -> list[Future[None]]:
        cluster = _cluster(lab, site)
        built = pool.submit(self._programs, lab, cluster)
        pictures = [
            pool.submit(make, lab, site.name) for make in (_busybox, *((_isthmus,) if site.site.in_cluster else ()))
        ]
        ovn = super().start(lab, site, pool, fabric)
        etcd = pool.submit(self._service, lab, f"{site.name}/etcd", [])
        api = pool.submit(self._service, lab, f"{site.name}/apiserver", [built, etcd])
        defined = pool.submit(self._definitions, lab, cluster, api)
        rest = [pool.submit(self._service, lab, f"{site.name}/{s}", [api]) for s in ("controller-manager", "scheduler")]
        nodes = [pool.submit(self._node, lab, cluster, host, pictures, api) for host in site.site.hosts]
        work = [built, *pictures, etcd, *ovn, api, defined, *rest, *nodes]
        if not site.site.agents:
            return work
        kept = pool.submit(self._networks, lab, cluster, [ovn[0], defined])
        if site.site.in_cluster:
            work.append(pool.submit(self._in_cluster, lab, cluster, [kept, *nodes]))
        return [*work, kept, pool.submit(self._provision, lab, cluster, kept)]

    def fill(self, lab: Site, site: SiteLayout) -> None:
        """Nothing: all that is here is made through the cluster's API."""

    def wait(self, lab: Site, site: SiteLayout, deadline: float) -> None:
        """Every host is a node as well, ready where it has an agent; Pods may be made, and endpoints run."""
        cluster = _cluster(lab, site)
        ask = partial(_ask, lab, cluster)

        def missing(what: str, wanted: set[str]) -> set[str]:
            found = ask("GET", f"/api/v1/{what}", None)
            return wanted - {i["metadata"]["name"] for i in found["items"] if not site.site.agents or _ready(i)}

        nodes = {host.name for host in site.site.hosts}
        for what, wanted in (("nodes", nodes), ("namespaces/default/serviceaccounts", {"default"})):
            while left := missing(what, wanted):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{site.name}: no {what} {', '.join(sorted(left))}")
                time.sleep(LOOK)
        if site.machines:
            pods = provision.running(cluster, ask, deadline)
            lab.hold({name: process for name, (_, process) in pods.items()})
            lab.state.ports |= {name: port for name, (port, _) in pods.items()}
            lab.progress(f"{site.name}: {len(pods)} Pods run")
        super().wait(lab, site, deadline)

    def _definitions(self, lab: Site, cluster: Cluster, api: Future[None]) -> None:
        """What a cluster with our networks has before anything else."""
        api.result()
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for kind in kubeovn.KINDS:
            _ask(lab, cluster, "POST", path, crds.definition(kind))
        while not all(_established(item) for item in _ask(lab, cluster, "GET", path, None)["items"]):
            time.sleep(LOOK)

    def _networks(self, lab: Site, cluster: Cluster, needs: list[Future[None]]) -> None:
        """Somebody keeps the cluster's networks."""
        for need in needs:
            need.result()
        ask = partial(_ask, lab, cluster)
        if cluster.site.site.in_cluster:
            workloads.install(cluster, ask)
            return
        networks.configure(cluster, ask)
        lab.start(f"{cluster.name}/networks")

    def _in_cluster(self, lab: Site, cluster: Cluster, needs: list[Future[None]]) -> None:
        """Isthmus' own Pods are ready: they are what daemons are elsewhere."""
        for need in needs:
            need.result()
        deadline = time.monotonic() + PATIENCE
        while not workloads.ready(partial(_ask, lab, cluster)):
            if time.monotonic() > deadline or not lab.state.alive():
                remedy = f"`isthmus lab logs {cluster.name}` and its kubelets'"
                raise WorldError(Problem("NotReady", f"{cluster.name}: Isthmus' own Pods are not ready", remedy=remedy))
            time.sleep(LOOK)

    def _provision(self, lab: Site, cluster: Cluster, kept: Future[None]) -> None:
        kept.result()
        provision.provision(cluster, partial(_ask, lab, cluster))

    def port(self, state: State, layout: Layout, machine: Machine, make: bool) -> tuple[str, str]:
        """Pods are made by whoever wants them."""
        remedy = "make a Pod with kubectl"
        raise IntentError(Problem("NoPlug", f"{machine.site} is a cluster: nothing is plugged in", remedy=remedy))

    def remove_port(self, state: State, layout: Layout, machine: Machine) -> None:
        """Nothing was plugged in."""

    def _programs(self, lab: Site, cluster: Cluster) -> None:
        programs.install(lab.state, lab.progress)
        tools.offer(cluster, "kubectl", cluster.program("kubectl"))

    def _service(self, lab: Site, key: str, needs: list[Future[None]]) -> None:
        for need in needs:
            need.result()
        lab.start(key)

    def _node(self, lab: Site, cluster: Cluster, host: Host, pictures: list[Future[Path]], api: Future[None]) -> None:
        node.prepare(cluster, host)
        lab.start(f"{host.name}/containerd")
        for picture in pictures:
            node.load(cluster, host.name, picture.result())
        api.result()
        lab.start(f"{host.name}/kubelet")


def _ready(item: Json) -> bool:
    """Nothing of it says that it is not ready."""
    conditions = {c["type"]: c["status"] for c in item.get("status", {}).get("conditions") or ()}
    return bool(conditions.get("Ready", "True") == "True")


def _established(item: Json) -> bool:
    """A definition that is served."""
    return any(c["type"] == "Established" and c["status"] == "True" for c in item["status"].get("conditions") or ())


def _ask(lab: Site, cluster: Cluster, method: str, path: str, body: Json | None) -> Json:
    """As the cluster's administrator."""
    keys = operators_keys(lab.paths, cluster.name)
    tls = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    tls.load_cert_chain(keys / f"{ADMIN}.pem", keys / f"{ADMIN}-key.pem")
    return request(lab.state.path("operator"), method, cluster.api + path, body, {}, tls)[0]


def _busybox(lab: Site, site: str) -> Path:
    """The image that Pods are made of: their namespaces' holder, and busybox for whoever wants it."""
    path = lab.templates / f"busybox-{site}.tar"
    config = {"Cmd": ["/bin/sleep", "2147483647"]}
    path.write_bytes(images.archive(images.PAUSE, [images.layer(images.busybox())], config))
    return path


def _isthmus(lab: Site, site: str) -> Path:
    path = lab.templates / f"isthmus-{site}.tar"
    isthmus_image.write(path, lab.state.alive)
    return path


def _cluster(lab: Site, site: SiteLayout) -> Cluster:
    return Cluster(lab.state, lab.paths, lab.layout, site)
