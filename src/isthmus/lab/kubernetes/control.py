"""The control plane of a cluster: etcd, API server, controller manager and scheduler."""

from __future__ import annotations

from isthmus.lab.kubernetes.cluster import API_PORT, PKI, SERVICES, Cluster
from isthmus.lab.state import Daemon

ETCD_PORT, ETCD_HEALTH = 2379, 2381
CONTROLLERS_PORT, SCHEDULER_PORT = 10257, 10259
ETC = "/run/etc/kubernetes"


def daemons(cluster: Cluster) -> dict[str, Daemon]:
    """By short name, in the order of their start."""
    return {
        "etcd": _etcd(cluster),
        "apiserver": _apiserver(cluster),
        "controller-manager": _client(cluster, "controller-manager", CONTROLLERS_PORT, _controllers()),
        "scheduler": _client(cluster, "scheduler", SCHEDULER_PORT, []),
    }


def _daemon(cluster: Cluster, short: str, argv: list[str], answers: str) -> Daemon:
    pidfile = str(cluster.run / f"{short}.pid")
    return Daemon(cluster.name, argv, pidfile, foreground=True, answers=answers, patience=300.0)


def _etcd(cluster: Cluster) -> Daemon:
    """One member, which only this node reaches."""
    url, health = f"https://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{ETCD_HEALTH}"
    argv = [
        "etcd",
        "--data-dir=/run/etcd",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        f"--listen-metrics-urls={health}",
        "--client-cert-auth",
        f"--trusted-ca-file={PKI}/etcd-ca.pem",
        f"--cert-file={PKI}/etcd.pem",
        f"--key-file={PKI}/etcd-key.pem",
        "--logger=zap",
        "--log-level=warn",
    ]
    return _daemon(cluster, "etcd", argv, f"{health}/health")


def _apiserver(cluster: Cluster) -> Daemon:
    argv = [
        cluster.program("kube-apiserver"),
        f"--advertise-address={cluster.address}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers=https://127.0.0.1:{ETCD_PORT}",
        f"--etcd-cafile={PKI}/etcd-ca.pem",
        f"--etcd-certfile={PKI}/etcd-client.pem",
        f"--etcd-keyfile={PKI}/etcd-client-key.pem",
        f"--tls-cert-file={PKI}/apiserver.pem",
        f"--tls-private-key-file={PKI}/apiserver-key.pem",
        f"--client-ca-file={PKI}/ca.pem",
        f"--kubelet-certificate-authority={PKI}/ca.pem",
        f"--kubelet-client-certificate={PKI}/kubelet-client.pem",
        f"--kubelet-client-key={PKI}/kubelet-client-key.pem",
        # A node's name is known to nobody.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={PKI}/service-account.pem",
        f"--service-account-signing-key-file={PKI}/service-account-key.pem",
        f"--service-cluster-ip-range={','.join(map(str, SERVICES))}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
    ]
    return _daemon(cluster, "apiserver", argv, f"{cluster.api}/readyz")


def _client(cluster: Cluster, short: str, port: int, arguments: list[str]) -> Daemon:
    """A component that works through the API server, alone of its kind."""
    config = f"{ETC}/{short}.kubeconfig"
    argv = [
        cluster.program(f"kube-{short}"),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        # Told here: an API server that has just begun may not yet let it look that up, and it would end.
        "--authentication-skip-lookup",
        f"--client-ca-file={PKI}/ca.pem",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--profiling=false",
        *arguments,
    ]
    return _daemon(cluster, short, argv, f"https://127.0.0.1:{port}/healthz")


def _controllers() -> list[str]:
    return [
        "--use-service-account-credentials",
        f"--service-account-private-key-file={PKI}/service-account-key.pem",
        f"--root-ca-file={PKI}/ca.pem",
        "--allocate-node-cidrs=false",
    ]
