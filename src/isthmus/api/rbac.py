"""What `isthmus serve` may do in a cluster whose networks it keeps: read what they are made of, and say what it made.

It also makes Vpcs and Subnets that are missing, and makes and removes the Subnets that Attachments define.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

GROUP = "rbac.authorization.k8s.io"
NAME = "isthmus"
READ = ["get", "list", "watch"]
RULES: tuple[dict[str, list[str]], ...] = (
    {"apiGroups": [""], "resources": ["pods", "namespaces", "nodes", "services"], "verbs": READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    {"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": READ},
    {"apiGroups": ["kubeovn.io"], "resources": ["vpcs"], "verbs": [*READ, "create"]},
    # Attachments define Subnets, and take them away again.
    {"apiGroups": ["kubeovn.io"], "resources": ["subnets"], "verbs": [*READ, "create", "patch", "delete"]},
    {"apiGroups": ["kubeovn.io"], "resources": ["ips"], "verbs": [*READ, "create", "patch", "delete"]},
    {"apiGroups": ["kubeovn.io"], "resources": ["vpcs/status", "subnets/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
)
BESIDE: tuple[dict[str, list[str]], ...] = (
    {"apiGroups": ["kubeovn.io"], "resources": ["vpcs"], "verbs": [*READ, "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["kube-ovn-controller"], "verbs": READ},
)
"""Where Kube-OVN keeps the networks."""
PURPOSE = "What Isthmus may do where Kube-OVN keeps the networks: read Vpcs, and change routes and policies in them."
ACCOUNT = {"kind": "ServiceAccount", "name": NAME, "namespace": NAME}


def role(rules: Sequence[Mapping[str, list[str]]] = RULES) -> dict[str, Any]:
    """The ClusterRole."""
    meta = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}}
    return meta | {"rules": [{key: list(words) for key, words in rule.items()} for rule in rules]}


def binding(subject: Mapping[str, str]) -> dict[str, Any]:
    """The ClusterRoleBinding that gives the role to somebody."""
    meta = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NAME}}
    return meta | {"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": NAME}, "subjects": [dict(subject)]}


def objects(rules: Sequence[Mapping[str, list[str]]] = RULES) -> list[dict[str, Any]]:
    """All of it for a service account."""
    # Where Pods are held to less than our agent needs (Pod Security Admission), they are not in this namespace.
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": labels}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAME}}
    return [space, account, role(rules), binding(ACCOUNT)]


def text(purpose: str = __doc__ or "", rules: Sequence[Mapping[str, list[str]]] = RULES) -> str:
    """As one YAML stream."""
    stream: str = yaml.safe_dump_all(objects(rules), sort_keys=False, default_flow_style=None, width=110)
    return f"# {purpose.strip().splitlines()[0]}\n{stream}"
