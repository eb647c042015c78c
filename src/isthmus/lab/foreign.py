"""Rows that are not ours: what a tenant of an OVN deployment has before Isthmus comes."""

from __future__ import annotations

from itertools import chain

from isthmus.lab.hosts import PHYSICAL
from isthmus.lab.layout import Machine, Router, SiteLayout, Subnet, mac


def commands(site: SiteLayout) -> list[str]:
    """Arguments of one `ovn-nbctl` that makes the site's routers, switches and ports, in one transaction."""
    parts = [["lr-add", router.name] for router in site.routers]
    for subnet in site.subnets:
        parts += switch(subnet)
    for router in site.routers:
        parts += router_parts(router)
    return list(chain.from_iterable(["--", *part] for part in parts))


def router_parts(router: Router) -> list[list[str]]:
    """A router's ports on shared switches, and its static routes."""
    parts = []
    for shared in router.ports:
        port, peer = f"{router.name}-{shared.switch}", f"{router.site}-{router.name}-{shared.switch}-router"
        address = mac(router.site, router.name, shared.switch)
        parts.append(["lrp-add", router.name, port, address, *map(str, shared.addresses)])
        parts += _peer(shared.switch, peer, port)
        parts += _carriers(port, shared.hosts)
    parts += [["lr-route-add", router.name, str(prefix), str(nexthop)] for prefix, nexthop in router.routes]
    return parts


def _peer(switch: str, peer: str, port: str) -> list[list[str]]:
    """The switch's side of a router port."""
    return [
        ["lsp-add", switch, peer],
        ["lsp-set-type", peer, "router"],
        ["lsp-set-addresses", peer, "router"],
        ["lsp-set-options", peer, f"router-port={port}"],
    ]


def _carriers(port: str, hosts: tuple[str, ...]) -> list[list[str]]:
    """Which chassis carry a router port, the first preferred."""
    return [
        ["lrp-set-gateway-chassis", port, host, str(priority)] for priority, host in enumerate(reversed(hosts), start=1)
    ]


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
    networks = [f"{g}/{c.prefixlen}" for g, c in zip(subnet.gateways, subnet.cidrs, strict=True)]
    return [
        ["lrp-add", subnet.router, port, subnet.router_mac, *networks],
        *_peer(subnet.name, f"{subnet.site}-{subnet.name}-router", port),
        *_carriers(port, subnet.gateway_hosts),
    ]


def port(machine: Machine) -> list[list[str]]:
    """An endpoint's port."""
    addresses = " ".join([machine.mac, *(str(a.ip) for a in machine.addresses)])
    return [
        ["lsp-add", machine.switch, machine.name],
        ["lsp-set-addresses", machine.name, addresses],
    ]
