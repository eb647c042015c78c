"""A site of type `kubernetes` as its parts see it: where things are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import yaml

from isthmus.lab.central import Central
from isthmus.lab.kubernetes import programs
from isthmus.lab.layout import Paths

API_PORT, KUBELET_PORT = 6443, 10250
DOMAIN = "cluster.local"
ADMIN = "admin"
"""The operator's key pair for a cluster."""
SERVICES: tuple[IPv4Network | IPv6Network, ...] = (ip_network("10.96.0.0/16"), ip_network("fd00:10:96::/112"))
"""Addresses of Services, of every cluster alike."""
PKI = "/run/etc/kubernetes/pki"
"""Keys of a node, as it sees them."""


@dataclass(frozen=True, slots=True)
class Cluster(Central):
    """One cluster: its control plane runs on the site's central node, a kubelet and a containerd on each host."""

    @property
    def api(self) -> str:
        return server(self.address)

    def program(self, name: str) -> str:
        return str(programs.path() / "bin" / name)


def server(address: str) -> str:
    """The URL of a cluster's API server."""
    return f"https://{address}:{API_PORT}"


def kubeconfig(contexts: Iterable[tuple[str, str, dict[str, str], dict[str, str]]]) -> str:
    """The text of a kubeconfig; the first context is the current one.

    contexts  name, server, what the cluster's entry says of its CA, what the user's says of her key pair
    """
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, url, authority, user in contexts:
        found["clusters"].append({"name": name, "cluster": {"server": url, **authority}})
        found["users"].append({"name": name, "user": user})
        found["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
        found.setdefault("current-context", name)
    return yaml.safe_dump(found, sort_keys=False)


def files(folder: str, user: str) -> tuple[dict[str, str], dict[str, str]]:
    """The last two of a context of `kubeconfig`: files of a folder, as who reads it sees them."""
    return (
        {"certificate-authority": f"{folder}/ca.pem"},
        {"client-certificate": f"{folder}/{user}.pem", "client-key": f"{folder}/{user}-key.pem"},
    )


def whole(paths: Paths, site: str, address: str) -> str:
    """The text of a kubeconfig of the cluster's administrator that needs no files beside it."""
    keys = operators_keys(paths, site)

    def data(name: str) -> str:
        return b64encode((keys / name).read_bytes()).decode()

    user = {"client-certificate-data": data(f"{ADMIN}.pem"), "client-key-data": data(f"{ADMIN}-key.pem")}
    return kubeconfig([(site, server(address), {"certificate-authority-data": data("ca.pem")}, user)])


def kubeconfig_file(paths: Paths) -> Path:
    """The operator's, with a context for each cluster, named after its site."""
    return paths.operator / "kubeconfig"


def operators_keys(paths: Paths, site: str) -> Path:
    """The folder of the operator's keys for a cluster."""
    return paths.operator / "kubernetes" / site
