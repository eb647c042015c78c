"""What tests of clusters do over and over: ask the API server, run `serve`, read the ports of Pods."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apiserver import Front
from documents import ROOT
from isthmus.lab import rpc, spec
from isthmus.lab.kubernetes import images
from isthmus.lab.kubernetes.cluster import kubeconfig, operators_keys, server
from isthmus.lab.lab import Lab
from isthmus.lab.openstack.servers import until
from isthmus.lab.pytest_plugin import unique_name

from .steps import set_site

Object = dict[str, Any]
PATIENCE = 120.0
"""Seconds that anything may take that a cluster does by itself."""
TOLERANT = [{"operator": "Exists"}]
"""A node without a network plugin is not ready, and takes Pods that do not mind."""
TWINS = ("red", "blue")
TWIN_HOSTS = ("n1", "n2")


def kubectl(lab: Lab, *arguments: str, input: str | None = None) -> str:
    done = lab.exec("operator", ["kubectl", *arguments], input=input)
    assert done.returncode == 0, done.stderr
    return done.stdout


def apply(lab: Lab, *objects: Object) -> None:
    kubectl(lab, "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def get(lab: Lab, kind: str, name: str, *words: str) -> Object:
    return dict(json.loads(kubectl(lab, "get", kind, name, "-o", "json", *words)))


def addresses(lab: Lab, space: str, name: str) -> list[str]:
    """Of a Pod, as the kubelet told them."""
    return [each["ip"] for each in get(lab, "pod", name, "-n", space)["status"]["podIPs"]]


def delete(lab: Lab, kind: str, *words: str) -> None:
    kubectl(lab, "delete", kind, "--wait", "--ignore-not-found", *words)


def eventually(lab: Lab, true: Callable[[], bool], what: str) -> None:
    until(true, what, lab.state.alive, PATIENCE)


def custom(kind: str, name: str, **spec: Any) -> Object:
    return {"apiVersion": "kubeovn.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def namespace(name: str, **annotations: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}}


def twins(lab: Lab, tenants: Iterable[str]) -> None:
    """Makes tenants that all have one and the same network: a namespace, a Vpc and its Subnet each."""
    for tenant in tenants:
        web = custom("Subnet", f"{tenant}-web", vpc=tenant, cidrBlock="10.1.0.0/24,fd00:1::/64", namespaces=[tenant])
        apply(lab, namespace(tenant), custom("Vpc", tenant, namespaces=[tenant]), web)


@contextmanager
def twin_tenants() -> Iterator[Lab]:
    """A cluster with two tenants that have one and the same network, each with a Pod on both nodes."""
    with Lab.up(spec.load(str(Path(__file__).with_name("pods.yaml")), name=unique_name())) as lab:
        twins(lab, TWINS)
        for tenant in TWINS:
            eventually(lab, lambda t=tenant: has_account(lab, t), f"service account of {tenant}")  # type: ignore[misc]
            apply(lab, *(pod(f"on-{host}", host, tenant) for host in TWIN_HOSTS))
        for tenant in TWINS:
            kubectl(lab, "-n", tenant, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        yield lab


def interfaces(lab: Lab, host: str) -> dict[str, dict[str, str]]:
    """Marks of the Interfaces of Pods on a host, by iface-id."""
    rows = rpc.snapshot(lab.host(host).ovs_unix, "Open_vSwitch")["Interface"].values()
    marks = [rpc.mapping(row["external_ids"]) for row in rows]
    return {ids["iface-id"]: ids for ids in marks if "isthmus:container" in ids}


def pod_spec(host: str = "", **more: Any) -> Object:
    """A container that sleeps, on a host, in the Pod's own network."""
    container = {"name": "main", "image": images.PAUSE, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}
    chosen = {"nodeName": host} if host else {}
    return {
        "containers": [container],
        "tolerations": TOLERANT,
        "terminationGracePeriodSeconds": 0,
        **chosen,
        **more,
    }


def pod(name: str, host: str, space: str = "default", annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": space, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(host, **spec)}


def forger(name: str, host: str, space: str, annotations: dict[str, str] | None = None) -> Object:
    """A Pod that may do to its interface what it likes."""
    made = pod(name, host, space, annotations)
    made["spec"]["containers"][0]["securityContext"] = {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}
    return made


@contextmanager
def as_tenant(lab: Lab, space: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """kubectl as somebody who has the role `edit` in a namespace; `made`: an object on its input."""
    binding = "tenant-edits"
    kubectl(lab, "-n", space, "create", "rolebinding", binding, "--clusterrole=edit", "--user=tenant")

    def run(*words: str, made: Object | None = None) -> subprocess.CompletedProcess[str]:
        argv = ["kubectl", "--as=tenant", *words]
        return lab.exec("operator", argv, input=json.dumps(made) if made else None)

    try:
        yield run
    finally:
        delete(lab, "rolebinding", "-n", space, binding)


def has_account(lab: Lab, space: str) -> bool:
    """Pods may be made in a namespace once its service account is there."""
    return "default" in kubectl(lab, "-n", space, "get", "serviceaccounts", "-o", "name")


def inside(lab: Lab, space: str, name: str, *argv: str) -> tuple[int, str]:
    """Run a command in a Pod: its exit code, and all that it says."""
    done = lab.exec("operator", ["kubectl", "-n", space, "exec", name, "--", *argv])
    return done.returncode, done.stdout + done.stderr


def ports(lab: Lab, site: str = "cluster") -> dict[str, Object]:
    """Ports of Pods, not of nodes, by name: `addresses` as words, `subnet`, `chassis` that alone may have it."""
    found = {}
    for row in rpc.snapshot(lab.site(site).nb_unix, "OVN_Northbound")["Logical_Switch_Port"].values():
        ids = rpc.mapping(row["external_ids"])
        if "isthmus:pod-uid" in ids and "isthmus:routes" not in ids:
            found[str(row["name"])] = {
                "addresses": str(row["addresses"]).split(),
                "subnet": ids["isthmus:subnet"],
                "chassis": rpc.mapping(row["options"])["requested-chassis"],
                "uid": ids["isthmus:pod-uid"],
            }
    return found


def through_a_front(lab: Lab, site: str = "cluster") -> Front:
    """From here on the Site asks its API server through it."""
    front = Front(lab, site)
    (lab.paths.operator / "front.kubeconfig").write_text(kubeconfig([(site, front.url, {}, {})]))
    set_site(lab, site, kubernetes={"kubeconfig": "../front.kubeconfig"})
    return front


def as_service(lab: Lab, site: str = "cluster", rights: str = "rbac.yaml", **kubernetes: str) -> None:
    """Let `serve` be the service account of an example, with its rights alone; `kubernetes`: more of the Site."""
    kubectl(lab, "apply", "-f", str(ROOT / "examples" / "kubernetes" / rights))
    token = kubectl(lab, "create", "token", "isthmus", "--namespace=isthmus", "--duration=2h").strip()
    keys = operators_keys(lab.paths, site)
    context = (site, server(lab.site(site).address), {"certificate-authority": str(keys / "ca.pem")}, {"token": token})
    (lab.paths.operator / "service.kubeconfig").write_text(kubeconfig([context]))
    set_site(lab, site, kubernetes={"kubeconfig": "../service.kubeconfig", **kubernetes})


@contextmanager
def serving(lab: Lab, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A running `serve`; what it says is in the lab's directory."""
    with (lab.state.directory / "serve.log").open("a") as log:
        process = lab.popen(
            "operator", ["isthmus", "serve", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
