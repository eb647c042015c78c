"""How Isthmus runs in a cluster: `serve` as a Deployment, `agent --cni` as a DaemonSet.

Both are in the network of their node: they are there before any Pod has one. Users bring the ConfigMap `documents` and
the Secret `keys`, and every node its chassis' key pair in /etc/isthmus/pki (docs/cluster.md, "Install").
"""

from __future__ import annotations

from typing import Any

import yaml

from isthmus import __version__
from isthmus.api.rbac import NAME as SPACE

Json = dict[str, Any]
IMAGE = f"localhost/isthmus:{__version__}"
"""Nobody can offer another one under this name: no registry is called localhost."""
SERVE, AGENT = "isthmus", "isthmus-agent"
"""The Deployment and the DaemonSet, in the namespace of the service account."""
DOCUMENTS, KEYS, ENVIRONMENT = "documents", "keys", "environment"
"""The ConfigMap with documents, the Secret with their keys, and the ConfigMap with the API server's address, if any."""
ETC = "/etc/isthmus"
FOLDER = f"{ETC}/documents"
CLOUDS = f"{ETC}/keys/clouds.yaml"
"""In the Secret as well, where a Site is an OpenStack; it holds a credential."""
CHASSIS = f"{ETC}/pki"
"""Folder of a node: ca.pem, chassis.pem, chassis-key.pem."""
USER = 65532
"""Of `serve`, which needs no right on its node."""
HEALTH, METRICS = 9470, 9476
"""Ports of a node: `serve` on its loopback, the agent on its address."""
CAPABILITIES = ["NET_ADMIN", "SYS_ADMIN"]
"""Of the agent: links, routes and TAP devices; entering Pods' network namespaces."""
SETTINGS = "/host/proc/sys/net"
"""Where the agent finds the node's /proc/sys/net: a container's own cannot be written."""


def objects() -> list[Json]:
    return [deployment(), daemonset()]


def text() -> str:
    """Both, as one YAML stream."""
    stream: str = yaml.safe_dump_all(objects(), sort_keys=False, default_flow_style=None, width=110)
    return f"# {(__doc__ or '').strip().splitlines()[0]}\n{stream}"


def deployment() -> Json:
    """Two, of which one stands by; a node has its health port once, so they are on two nodes."""
    probe = {"host": "127.0.0.1", "port": HEALTH}
    container = {
        "name": "serve",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve", "--listen", f"127.0.0.1:{HEALTH}"],
        # Of whoever asks `isthmus status` in the Pod as well.
        "env": [{"name": n, "value": v} for n, v in (("ISTHMUS_CONFIG", FOLDER), ("OS_CLIENT_CONFIG_FILE", CLOUDS))],
        "envFrom": [{"configMapRef": {"name": ENVIRONMENT, "optional": True}}],
        "ports": [{"name": "health", "containerPort": HEALTH, "hostPort": HEALTH, "hostIP": "127.0.0.1"}],
        "readinessProbe": {"httpGet": {"path": "/readyz", **probe}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/healthz", **probe}, "initialDelaySeconds": 30},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "documents", "mountPath": FOLDER, "readOnly": True},
            {"name": "keys", "mountPath": f"{ETC}/keys", "readOnly": True},
        ],
    }
    pod = {
        "serviceAccountName": SPACE,
        **_on_the_node("system-cluster-critical"),
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
        ],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "documents", "configMap": {"name": DOCUMENTS}},
            {"name": "keys", "secret": {"secretName": KEYS, "defaultMode": 0o440}},
        ],
    }
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return _workload("Deployment", SERVE, pod, replicas=2, strategy=strategy)


def daemonset() -> Json:
    """On every node, whatever is wrong with it."""
    ours = {"isthmus": "/run/isthmus", "plugins": "/opt/cni/bin", "networks": "/etc/cni/net.d"}
    mounts: list[Json] = [{"name": name, "mountPath": path} for name, path in ours.items()]
    mounts += [
        {"name": "openvswitch", "mountPath": "/run/openvswitch", "readOnly": True},
        {"name": "chassis", "mountPath": CHASSIS, "readOnly": True},
        # Namespaces that are made later are seen as well.
        {"name": "namespaces", "mountPath": "/run/netns", "mountPropagation": "HostToContainer"},
        {"name": "settings", "mountPath": SETTINGS},
        {"name": "tun", "mountPath": "/dev/net/tun"},
    ]
    container = {
        "name": "agent",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            *("agent", "--cni", f"--ca={CHASSIS}/ca.pem", f"--cert={CHASSIS}/chassis.pem"),
            *(f"--key={CHASSIS}/chassis-key.pem", f"--listen=$(NODE):{METRICS}"),
        ],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "ports": [{"name": "metrics", "containerPort": METRICS, "hostPort": METRICS}],
        # It listens when it has reached the databases.
        "readinessProbe": {"tcpSocket": {"port": METRICS}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **_on_the_node("system-node-critical"),
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 10,
        "containers": [container],
        "volumes": [
            *(_of_the_node(name, path, "DirectoryOrCreate") for name, path in ours.items()),
            _of_the_node("openvswitch", "/run/openvswitch", "Directory"),
            _of_the_node("chassis", CHASSIS, "Directory"),
            _of_the_node("namespaces", "/run/netns", "DirectoryOrCreate"),
            _of_the_node("settings", "/proc/sys/net", "Directory"),
            _of_the_node("tun", "/dev/net/tun", "CharDevice"),
        ],
    }
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    return _workload("DaemonSet", AGENT, pod, updateStrategy=strategy)


def _on_the_node(priority: str) -> Json:
    return {"hostNetwork": True, "dnsPolicy": "Default", "priorityClassName": priority}


def _of_the_node(name: str, path: str, kind: str) -> Json:
    return {"name": name, "hostPath": {"path": path, "type": kind}}


def _workload(kind: str, name: str, pod: Json, **how: Any) -> Json:
    label = {"app.kubernetes.io/name": name}
    template = {"metadata": {"labels": dict(label)}, "spec": pod}
    metadata = {"name": name, "namespace": SPACE, "labels": dict(label)}
    spec = {**how, "selector": {"matchLabels": label}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}
