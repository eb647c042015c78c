"""The configuration that the lab writes for the operator: Fabric and Sites, and one Interconnect for each tenant."""

from __future__ import annotations

from typing import Any

import yaml

from isthmus.lab.layout import FRONT_PORT, IC_NB_PORT, IC_SB_PORT, NB_PORT, Layout, Paths, SiteLayout

API = "isthmus.dev/v1alpha1"


def write(paths: Paths, layout: Layout) -> None:
    """Write `fabric.yaml` and, where the lab file asks for it, `interconnects.yaml`."""
    paths.config.mkdir(parents=True)
    (paths.config / "fabric.yaml").write_text(_text(fabric(layout)), encoding="utf-8")
    if layout.file.interconnects and (wanted := interconnects(layout)):
        (paths.config / "interconnects.yaml").write_text(_text(wanted), encoding="utf-8")


def _text(documents: list[dict[str, Any]]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=None, width=110)


def _tls(ca: str) -> dict[str, str]:
    return {
        "caFile": f"../tls/{ca}.pem",
        "certFile": "../tls/operator.pem",
        "keyFile": "../tls/operator-key.pem",
    }


def fabric(layout: Layout) -> list[dict[str, Any]]:
    """Fabric and Site documents; file names are relative to the document."""
    hub = layout.nodes["fabric"].address.ip
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": API,
            "kind": "Fabric",
            "metadata": {"name": "default"},
            "spec": {
                "northbound": [f"ssl:{hub}:{IC_NB_PORT}"],
                "southbound": [f"ssl:{hub}:{IC_SB_PORT}"],
                "tls": _tls("fabric-ca"),
            },
        }
    ]
    for site in layout.sites:
        home = layout.nodes[site.name].address.ip
        spec: dict[str, Any] = {
            "type": site.site.type,
            "northbound": [f"ssl:{home}:{NB_PORT}"],
            "southbound": [f"ssl:{home}:{FRONT_PORT}"],
            "tls": _tls(f"{site.name}-ca"),
            "gateways": list(site.site.gateways),
        }
        if site.site.zone:
            spec["zone"] = site.site.zone
        if site.site.type == "kubernetes":
            spec["kubernetes"] = {"kubeconfig": "../kubeconfig", "context": site.name}
        if site.site.type == "openstack":
            spec["openstack"] = {"cloud": site.name}
        elif site.site.bfd:  # Neutron's own options say it on its sites
            spec["bfd"] = {"minRx": 100, "minTx": 100, "mult": 3}
        documents.append({"apiVersion": API, "kind": "Site", "metadata": {"name": site.name}, "spec": spec})
    return documents


def interconnects(layout: Layout) -> list[dict[str, Any]]:
    """One Interconnect for each tenant that has listed subnets on a router in two or more sites."""
    documents: list[dict[str, Any]] = []
    for tenant in layout.file.tenant_names:
        attachments = [a for site in layout.sites for a in _attachments(site, tenant)]
        if len(attachments) > 1:
            documents.append(
                {
                    "apiVersion": API,
                    "kind": "Interconnect",
                    "metadata": {"name": f"tenant-{tenant}"},
                    "spec": {"attachments": attachments},
                }
            )
    return documents


def _attachments(site: SiteLayout, tenant: str) -> list[dict[str, Any]]:
    routers: dict[str, list[str]] = {}
    for subnet in site.subnets:
        if subnet.tenant == tenant and subnet.router and subnet.listed:
            routers.setdefault(subnet.router, []).append(subnet.name)
    named = len(routers) > 1
    openstack = site.site.type == "openstack"
    groups = list(site.site.connect_security_groups.get(tenant, ()))
    return [
        {
            **({"name": f"{site.name}-{router}"} if named else {}),
            "site": site.name,
            "vpc": {"project": tenant, "name": router} if openstack else {"name": router},
            "subnets": subnets,
            **({"securityGroups": groups} if groups else {}),
        }
        for router, subnets in routers.items()
    ]
