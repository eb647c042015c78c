"""Rows that are not ours: what a tenant of an OVN deployment has before Isthmus comes."""

from __future__ import annotations

from itertools import chain

from isthmus.lab.hosts import PHYSICAL
from isthmus.lab.layout import Machine, SiteLayout, Subnet


def commands(site: SiteLayout) -> list[str]:
    """Arguments of one `ovn-nbctl` that makes the site's routers, switches and ports, in one transaction."""
    parts: list[list[str]] = []
    for router in site.routers:
        parts.append(["lr-add", router.name])
        for route in router.routes:
            parts.append(["lr-route-add", router.name, str(route.prefix), str(route.nexthop)])
    # Routers' ports must be there before routes to be sure that a next hop is found.
    parts.sort(key=lambda p: p[0] == "lr-route-add")
    for subnet in site.subnets:
        parts += switch(subnet)
    return list(chain.from_iterable(["--", *part] for part in parts))


def switch(subnet: Subnet) -> list[list[str]]:
    """A switch, its router's port, its endpoints' ports."""
    parts = [["ls-add", subnet.name]]
    if subnet.router:
        parts += _router_port(subnet)
    if subnet.external:
        name = f"{subnet.site}-{subnet.name}-localnet"
        parts += [
            ["lsp-add", subnet.name, name],
            ["lsp-set-type", name, "localnet"],
            ["lsp-set-addresses", name, "unknown"],
            ["lsp-set-options", name, f"network_name={PHYSICAL}"],
        ]
    for machine in subnet.machines:
        if not machine.external:
            parts += port(machine)
    return parts


def _router_port(subnet: Subnet) -> list[list[str]]:
    assert subnet.router
    port = f"{subnet.router}-{subnet.name}"
    peer = f"{subnet.site}-{subnet.name}-router"
    networks = [f"{g}/{c.prefixlen}" for g, c in zip(subnet.gateways, subnet.cidrs, strict=True)]
    parts = [
        ["lrp-add", subnet.router, port, subnet.router_mac, *networks],
        ["lsp-add", subnet.name, peer],
        ["lsp-set-type", peer, "router"],
        ["lsp-set-addresses", peer, "router"],
        ["lsp-set-options", peer, f"router-port={port}"],
    ]
    for priority, host in enumerate(reversed(subnet.gateway_hosts), start=1):
        parts.append(["lrp-set-gateway-chassis", port, host, str(priority)])
    return parts


def port(machine: Machine) -> list[list[str]]:
    """An endpoint's port."""
    addresses = " ".join([machine.mac, *(str(a.ip) for a in machine.addresses)])
    return [
        ["lsp-add", machine.switch, machine.name],
        ["lsp-set-addresses", machine.name, addresses],
    ]
