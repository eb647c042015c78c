"""What `isthmus serve` may do in a cluster whose networks it keeps: read what has one, write what it found out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

GROUP = "rbac.authorization.k8s.io"
NAME = "isthmus"
READ = ["get", "list", "watch"]
RULES: tuple[dict[str, list[str]], ...] = (
    {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes", "services"], "verbs": READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": READ},
    {"apiGroups": ["kubeovn.io"], "resources": ["vpcs", "subnets"], "verbs": [*READ, "create"]},
    {"apiGroups": ["kubeovn.io"], "resources": ["vpcs/status", "subnets/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
)
ACCOUNT = {"kind": "ServiceAccount", "name": NAME, "namespace": NAME}


def role() -> dict[str, Any]:
    """The ClusterRole."""
    meta = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}}
    return meta | {"rules": [{key: list(words) for key, words in rule.items()} for rule in RULES]}


def binding(subject: Mapping[str, str]) -> dict[str, Any]:
    """The ClusterRoleBinding that gives the role to somebody."""
    meta = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NAME}}
    return meta | {"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": NAME}, "subjects": [dict(subject)]}


def objects() -> list[dict[str, Any]]:
    """All of it for a service account."""
    # Where Pods are held to less than our agent needs (Pod Security Admission), they are not in this namespace.
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": labels}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAME}}
    return [space, account, role(), binding(ACCOUNT)]


def text() -> str:
    """As one YAML stream."""
    stream: str = yaml.safe_dump_all(objects(), sort_keys=False, default_flow_style=None, width=110)
    return f"# {(__doc__ or '').strip()}\n{stream}"
