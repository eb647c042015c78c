"""Isthmus in a cluster as users run it: `api.workloads` with the rights of `api.rbac`, a document, and keys."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import yaml

from isthmus.api import rbac, workloads
from isthmus.lab.documents import API
from isthmus.lab.http import Json
from isthmus.lab.kubernetes.cluster import API_PORT, Cluster
from isthmus.lab.kubernetes.provision import Ask
from isthmus.lab.layout import FRONT_PORT, NB_PORT

FOLDER = f"/apis/apps/v1/namespaces/{rbac.NAME}"
PLACES = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": f"/api/v1/namespaces/{rbac.NAME}/serviceaccounts",
    "ConfigMap": f"/api/v1/namespaces/{rbac.NAME}/configmaps",
    "Secret": f"/api/v1/namespaces/{rbac.NAME}/secrets",
    "ClusterRole": f"/apis/{rbac.GROUP}/v1/clusterroles",
    "ClusterRoleBinding": f"/apis/{rbac.GROUP}/v1/clusterrolebindings",
    "Deployment": f"{FOLDER}/deployments",
    "DaemonSet": f"{FOLDER}/daemonsets",
}
"""Kind -> where objects of it are made."""
FILES = {"ca.pem": "{}-ca.pem", "isthmus.pem": "operator.pem", "isthmus-key.pem": "operator-key.pem"}
"""Name in the Secret -> file of the operator's; {} is the site."""


def install(cluster: Cluster, ask: Ask) -> None:
    """Make everything; it runs when its nodes do."""
    for made in [*rbac.objects(), *_of_the_user(cluster), *workloads.objects()]:
        ask("POST", PLACES[made["kind"]], made)


def ready(ask: Ask) -> bool:
    """Every copy of both works."""
    serve, agent = (
        ask("GET", f"{PLACES[kind]}/{name}", None)["status"]
        for kind, name in (("Deployment", workloads.SERVE), ("DaemonSet", workloads.AGENT))
    )
    wanted = agent.get("desiredNumberScheduled", 0)
    serves = serve.get("readyReplicas", 0) > 0 and not serve.get("unavailableReplicas")
    return bool(wanted and agent.get("numberReady") == wanted and serves)


def _of_the_user(cluster: Cluster) -> list[Json]:
    keys = {name: (cluster.paths.tls / file.format(cluster.name)).read_bytes() for name, file in FILES.items()}
    address = {"KUBERNETES_SERVICE_HOST": cluster.address, "KUBERNETES_SERVICE_PORT": str(API_PORT)}
    return [
        _named("ConfigMap", workloads.DOCUMENTS, data={"site.yaml": yaml.safe_dump(site(cluster), sort_keys=False)}),
        _named("Secret", workloads.KEYS, data={name: b64encode(data).decode() for name, data in keys.items()}),
        # Nobody carries Services to nodes here.
        _named("ConfigMap", workloads.ENVIRONMENT, data=address),
    ]


def site(cluster: Cluster) -> Json:
    """Its one document."""
    keys = f"{workloads.ETC}/keys"
    spec = {
        "type": "kubernetes",
        "northbound": [f"ssl:{cluster.address}:{NB_PORT}"],
        "southbound": [f"ssl:{cluster.address}:{FRONT_PORT}"],
        "tls": {
            "caFile": f"{keys}/ca.pem",
            "certFile": f"{keys}/isthmus.pem",
            "keyFile": f"{keys}/isthmus-key.pem",
        },
        "kubernetes": {},
    }
    return {"apiVersion": API, "kind": "Site", "metadata": {"name": cluster.name}, "spec": spec}


def _named(kind: str, name: str, **more: Any) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": rbac.NAME}, **more}
