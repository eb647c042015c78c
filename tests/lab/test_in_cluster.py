"""`serve` in a cluster joins its tenants to an OpenStack: every document and every key comes from the cluster."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.api import rbac, workloads
from isthmus.lab import spec, traffic
from isthmus.lab.documents import fabric
from isthmus.lab.kubernetes.workloads import FILES, site
from isthmus.lab.lab import Lab
from isthmus.lab.openstack import clouds
from isthmus.lab.pytest_plugin import unique_name

from .kubernetes_steps import eventually, kubectl
from .neutron_listing import listing
from .openstack_steps import cloud
from .steps import API, attach, warm

pytestmark = [pytest.mark.lab, pytest.mark.full]

FILE = Path(__file__).with_name("cloud-and-kubernetes.yaml")
BOTH = [("cloud-a-web-1", "cluster-a-pods-1"), ("cluster-a-pods-1", "cloud-a-web-1")]
KEYS = f"{workloads.ETC}/keys"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        yield lab


def documents(lab: Lab) -> list[dict[str, Any]]:
    """What the lab has for its operator, as it must read in the cluster."""
    cluster = lab.site("cluster")
    found = [d for d in fabric(lab.layout) if d["metadata"]["name"] != "cluster"]
    for document in found:
        name = "fabric" if document["kind"] == "Fabric" else document["metadata"]["name"]
        document["spec"]["tls"] = {
            "caFile": f"{KEYS}/{name}-ca.pem",
            "certFile": f"{KEYS}/isthmus.pem",
            "keyFile": f"{KEYS}/isthmus-key.pem",
        }
    ours = site(cluster)
    ours["spec"]["gateways"] = list(cluster.layout.site.gateways)
    return [*found, ours]


def interconnect() -> dict[str, Any]:
    attachments = [cloud("a", "a-web", securityGroups=["default"]), attach("cluster", "a", "a-pods")]
    return {"apiVersion": API, "kind": "Interconnect", "metadata": {"name": "a"}, "spec": {"attachments": attachments}}


def give(lab: Lab, *wanted: dict[str, Any]) -> None:
    """Put documents and keys into the cluster, and start `serve` anew, which would see them in a minute anyway."""
    files = {name: file.format("cluster") for name, file in FILES.items()}
    files |= {f"{name}-ca.pem": f"{name}-ca.pem" for name in ("fabric", "cloud")}
    keys = {name: (lab.paths.tls / file).read_bytes() for name, file in files.items()}
    keys["clouds.yaml"] = clouds.file(lab.paths).read_bytes()
    put(lab, "ConfigMap", workloads.DOCUMENTS, {"documents.yaml": yaml.safe_dump_all(wanted)})
    put(lab, "Secret", workloads.KEYS, {name: b64encode(data).decode() for name, data in keys.items()})
    serve = f"deployment/{workloads.SERVE}"
    kubectl(lab, "-n", rbac.NAME, "rollout", "restart", serve)
    kubectl(lab, "-n", rbac.NAME, "rollout", "status", serve, "--timeout=120s")


def put(lab: Lab, kind: str, name: str, data: dict[str, str]) -> None:
    made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": rbac.NAME}, "data": data}
    kubectl(lab, "replace", "-f", "-", input=json.dumps(made))


def test_a_tenant_is_joined_and_cut_by_what_stands_in_the_cluster(lab: Lab) -> None:
    before = listing(lab)
    assert traffic.matrix(lab, BOTH, count=2).open == set()
    give(lab, *documents(lab), interconnect())
    warm(lab, BOTH, seconds=60.0)
    give(lab, *documents(lab))
    eventually(lab, lambda: listing(lab) == before, "the cloud is as it was")
    assert traffic.matrix(lab, BOTH, count=2).open == set()
