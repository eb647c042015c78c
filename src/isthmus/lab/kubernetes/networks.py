"""`isthmus serve` of a cluster: beside its API server, with the rights of `api.rbac` and no Fabric."""

from __future__ import annotations

import yaml

from isthmus.lab import hosts
from isthmus.lab.central import Central
from isthmus.lab.state import Daemon

USER = "isthmus"
PORT = 9480
"""Of its health and metrics, on the node itself."""
FOLDER = "/run/etc/isthmus"


def daemon(site: Central) -> Daemon:
    argv = [hosts.isthmus(), "serve", "-f", FOLDER, "--listen", f"127.0.0.1:{PORT}"]
    health = f"http://127.0.0.1:{PORT}/healthz"
    return Daemon(site.name, argv, str(site.run / "networks.pid"), foreground=True, answers=health, patience=30.0)


def configure(site: Central) -> None:
    """Its one document."""
    spec = {
        "type": "kubernetes",
        "northbound": ["unix:/run/ovn/ovnnb_db.sock"],
        "southbound": ["unix:/run/ovn/ovnsb_db.sock"],
        "kubernetes": {"kubeconfig": f"/run/etc/kubernetes/{USER}.kubeconfig"},
    }
    document = {"apiVersion": "isthmus.dev/v1alpha1", "kind": "Site", "metadata": {"name": site.name}, "spec": spec}
    site.write("isthmus/site.yaml", yaml.safe_dump(document, sort_keys=False))
