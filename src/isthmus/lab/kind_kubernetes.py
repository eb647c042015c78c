"""Sites of type `kubernetes`: an OVN deployment with a cluster on top, which makes what tenants have."""

from __future__ import annotations

import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.api import crds, kubeovn
from isthmus.lab import hosts, tools
from isthmus.lab.http import Json, request
from isthmus.lab.kind_ovn import OvnKind
from isthmus.lab.kubernetes import control, images, node, programs
from isthmus.lab.kubernetes.cluster import ADMIN, Cluster, operators_keys
from isthmus.lab.layout import SiteLayout
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon

if TYPE_CHECKING:
    from isthmus.lab.kinds import Site

LOOK = 0.1
"""Seconds between two questions."""


class KubernetesKind(OvnKind):
    """See `kinds.Kind`."""

    def daemons(self, lab: Site, site: SiteLayout) -> dict[str, Daemon]:
        cluster = _cluster(lab, site)
        found = super().daemons(lab, site)
        found |= {f"{site.name}/{short}": daemon for short, daemon in control.daemons(cluster).items()}
        for host in site.site.hosts:
            if site.site.agents:
                agent = hosts.agent(lab.paths, lab.layout, site, host)
                found[f"{host.name}/agent"] = replace(agent, argv=[*agent.argv, "--cni"])
            found |= {f"{host.name}/{short}": daemon for short, daemon in node.daemons(cluster, host.name).items()}
        return found

    def start(self, lab: Site, site: SiteLayout, pool: ThreadPoolExecutor, fabric: Future[None]) -> list[Future[None]]:
        cluster = _cluster(lab, site)
        built = pool.submit(self._programs, lab, cluster)
        picture = pool.submit(_picture, _archive(lab))
        ovn = super().start(lab, site, pool, fabric)
        etcd = pool.submit(self._service, lab, f"{site.name}/etcd", [])
        api = pool.submit(self._service, lab, f"{site.name}/apiserver", [built, etcd])
        defined = pool.submit(self._definitions, lab, cluster, api)
        rest = [pool.submit(self._service, lab, f"{site.name}/{s}", [api]) for s in ("controller-manager", "scheduler")]
        nodes = [pool.submit(self._node, lab, cluster, host, picture, api) for host in site.site.hosts]
        return [built, picture, etcd, *ovn, api, defined, *rest, *nodes]

    def fill(self, lab: Site, site: SiteLayout) -> None:
        """Nothing: all that is here is made through the cluster's API."""

    def wait(self, lab: Site, site: SiteLayout, deadline: float) -> None:
        """Every host is a node of the cluster as well, ready where it has an agent, and Pods may be made."""
        super().wait(lab, site, deadline)
        cluster = _cluster(lab, site)

        def missing(what: str, wanted: set[str]) -> set[str]:
            found = _ask(lab, cluster, "GET", f"/api/v1/{what}")
            return wanted - {i["metadata"]["name"] for i in found["items"] if not site.site.agents or _ready(i)}

        nodes = {host.name for host in site.site.hosts}
        for what, wanted in (("nodes", nodes), ("namespaces/default/serviceaccounts", {"default"})):
            while left := missing(what, wanted):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{site.name}: no {what} {', '.join(sorted(left))}")
                time.sleep(LOOK)

    def _definitions(self, lab: Site, cluster: Cluster, api: Future[None]) -> None:
        """What a cluster with our networks has before anything else."""
        api.result()
        for kind in kubeovn.KINDS:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            _ask(lab, cluster, "POST", path, crds.definition(kind))

    def _programs(self, lab: Site, cluster: Cluster) -> None:
        programs.install(lab.state, lab.progress)
        tools.offer(cluster, "kubectl", cluster.program("kubectl"))

    def _service(self, lab: Site, key: str, needs: list[Future[None]]) -> None:
        for need in needs:
            need.result()
        lab.start(key)

    def _node(self, lab: Site, cluster: Cluster, host: Host, picture: Future[None], api: Future[None]) -> None:
        node.prepare(cluster, host)
        lab.start(f"{host.name}/containerd")
        picture.result()
        node.load(cluster, host.name, _archive(lab))
        api.result()
        lab.start(f"{host.name}/kubelet")


def _ready(item: Json) -> bool:
    """Nothing of it says that it is not ready."""
    conditions = {c["type"]: c["status"] for c in item.get("status", {}).get("conditions", ())}
    return bool(conditions.get("Ready", "True") == "True")


def _ask(lab: Site, cluster: Cluster, method: str, path: str, body: Json | None = None) -> Json:
    """As the cluster's administrator."""
    keys = operators_keys(lab.paths, cluster.name)
    tls = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    tls.load_cert_chain(keys / f"{ADMIN}.pem", keys / f"{ADMIN}-key.pem")
    return request(lab.state.path("operator"), method, cluster.api + path, body, {}, tls)[0]


def _archive(lab: Site) -> Path:
    return lab.templates / "busybox.tar"


def _picture(path: Path) -> None:
    """The image that Pods are made of: their namespaces' holder, and busybox for whoever wants it."""
    path.write_bytes(images.archive(images.PAUSE, images.busybox(), {"Cmd": ["/bin/sleep", "2147483647"]}))


def _cluster(lab: Site, site: SiteLayout) -> Cluster:
    return Cluster(lab.state, lab.paths, lab.layout, site)
