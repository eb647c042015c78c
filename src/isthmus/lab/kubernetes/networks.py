"""`isthmus serve` of a cluster: beside its API server, with the rights of `api.rbac` and no Fabric."""

from __future__ import annotations

import yaml

from isthmus.api import rbac
from isthmus.lab import hosts
from isthmus.lab.central import Central
from isthmus.lab.kubernetes.provision import Ask
from isthmus.lab.state import Daemon

USER = "isthmus"
PORT = 9480
"""Of its health and metrics, on the node itself."""
FOLDER = "/run/etc/isthmus"


def daemon(site: Central) -> Daemon:
    argv = [hosts.isthmus(), "serve", "-f", FOLDER, "--listen", f"127.0.0.1:{PORT}"]
    health = f"http://127.0.0.1:{PORT}/healthz"
    return Daemon(site.name, argv, str(site.run / "networks.pid"), foreground=True, answers=health, patience=120.0)


def configure(site: Central, ask: Ask) -> None:
    """Its rights, and its one document."""
    rights = f"/apis/{rbac.GROUP}/v1"
    ask("POST", f"{rights}/clusterroles", rbac.role())
    ask("POST", f"{rights}/clusterrolebindings", rbac.binding({"kind": "User", "name": USER, "apiGroup": rbac.GROUP}))
    spec = {
        "type": "kubernetes",
        "northbound": ["unix:/run/ovn/ovnnb_db.sock"],
        "southbound": ["unix:/run/ovn/ovnsb_db.sock"],
        "kubernetes": {"kubeconfig": f"/run/etc/kubernetes/{USER}.kubeconfig"},
    }
    document = {"apiVersion": "isthmus.dev/v1alpha1", "kind": "Site", "metadata": {"name": site.name}, "spec": spec}
    site.write("isthmus/site.yaml", yaml.safe_dump(document, sort_keys=False))
