"""From a lab file to everything that is derived from it: names, addresses, MACs, ports. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv4Network as _V4, IPv6Interface
from pathlib import Path

from isthmus.lab.spec import Address, Endpoint, Interface, LabFile, Network, Router, Site, Switch, Things

UNDERLAY = IPv4Network("172.30.0.0/15")
NB_PORT, SB_PORT, FRONT_PORT, IC_NB_PORT, IC_SB_PORT, AGENT_PORT = 6641, 6642, 6643, 6645, 6646, 9476


def mac(*names: str) -> str:
    """A MAC address of one's own for a thing of that name.

    >>> mac("cloud", "a-web").startswith("0a:")
    True
    """
    digest = hashlib.sha256("/".join(names).encode()).hexdigest()
    return "0a:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2))


@dataclass(frozen=True, slots=True)
class Node:
    """Something on the underlay: a host, a site's central node, the Fabric, the operator.

    Every node has a /30 to the underlay's router.
    """

    name: str
    number: int

    @property
    def network(self) -> _V4:
        return _V4((int(UNDERLAY.network_address) + 4 * self.number, 30))

    @property
    def router(self) -> IPv4Interface:
        return IPv4Interface((self.network.network_address + 1, 30))

    @property
    def address(self) -> IPv4Interface:
        return IPv4Interface((self.network.network_address + 2, 30))

    @property
    def router_mac(self) -> str:
        return mac("underlay", self.name)

    @property
    def mac(self) -> str:
        return mac(self.name)

    @property
    def router_link(self) -> str:
        """The underlay's end of the node's link."""
        return f"n{self.number}"


@dataclass(frozen=True, slots=True)
class Machine:
    """An endpoint, placed."""

    name: str
    site: str
    tenant: str | None
    router: str | None
    switch: str
    host: str
    addresses: tuple[Interface, ...]
    gateways: tuple[Address, ...]
    gateway_macs: tuple[str, ...]
    mac: str
    mtu: int
    link: str
    """The host's end of its link."""
    external: bool
    listed: bool

    def address(self, version: int = 4) -> Address | None:
        """Its address of that IP version."""
        return next((a.ip for a in self.addresses if a.version == version), None)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A switch, with names filled in."""

    name: str
    site: str
    tenant: str | None
    router: str | None
    cidrs: tuple[Network, ...]
    gateways: tuple[Address, ...]
    external: bool
    gateway_hosts: tuple[str, ...]
    listed: bool
    machines: tuple[Machine, ...]

    @property
    def router_mac(self) -> str:
        return mac(self.site, self.name, "router")


@dataclass(frozen=True, slots=True)
class SiteLayout:
    """A site, expanded for all tenants."""

    site: Site
    routers: tuple[Router, ...]
    subnets: tuple[Subnet, ...]

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def zone(self) -> str:
        return self.site.name if self.site.zone is None else self.site.zone

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(m for s in self.subnets for m in s.machines)


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole lab."""

    file: LabFile
    nodes: dict[str, Node]
    sites: tuple[SiteLayout, ...]

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(m for s in self.sites for m in s.machines)


def layout(file: LabFile) -> Layout:
    """Expand a lab file."""
    names = ["operator", "fabric"]
    for site in file.sites:
        names += [site.name, *(h.name for h in site.hosts)]
    nodes = {name: Node(name, number) for number, name in enumerate(names, start=1)}
    counter = iter(range(1, 100_000))
    sites = []
    for site in file.sites:
        routers: list[Router] = []
        subnets: list[Subnet] = []
        for tenant in file.tenant_names:
            _expand(site, site.per_tenant, tenant, routers, subnets, counter)
        _expand(site, Things(routers=site.routers, switches=site.switches), None, routers, subnets, counter)
        sites.append(SiteLayout(site, tuple(routers), tuple(subnets)))
    return Layout(file, nodes, tuple(sites))


def _expand(
    site: Site,
    things: Things,
    tenant: str | None,
    routers: list[Router],
    subnets: list[Subnet],
    counter: object,
) -> None:
    def filled(text: str) -> str:
        return text.replace("{tenant}", tenant or "")

    routers += (r.model_copy(update={"name": filled(r.name)}) for r in things.routers)
    for switch in things.switches:
        name = filled(switch.name)
        router = filled(switch.router) if switch.router else None
        gateways = switch.gateways or tuple(_host(c, 1) for c in switch.cidrs)
        machines = tuple(
            _machine(site, switch, name, router, tenant, gateways, e, i, next(counter))  # type: ignore[call-overload]
            for i, e in enumerate(switch.endpoints, start=1)
        )
        subnets.append(
            Subnet(
                name,
                site.name,
                tenant,
                router,
                switch.cidrs,
                gateways,
                switch.external,
                switch.gateway_hosts,
                switch.listed and not switch.external,
                machines,
            )
        )


def _machine(
    site: Site,
    switch: Switch,
    name: str,
    router: str | None,
    tenant: str | None,
    gateways: tuple[Address, ...],
    endpoint: Endpoint,
    number: int,
    serial: int,
) -> Machine:
    own = (endpoint.name or f"{site.name}-{name}-{number}").replace("{tenant}", tenant or "")
    addresses = tuple(
        _interface(address, switch.cidrs)
        for address in (endpoint.addresses or tuple(_host(c, 10 + number) for c in switch.cidrs))
    )
    return Machine(
        own,
        site.name,
        tenant,
        router,
        name,
        endpoint.host,
        addresses,
        gateways if endpoint.gateway else (),
        tuple(mac(site.name, name, "router") for _ in gateways),
        mac(own),
        endpoint.mtu,
        f"ep{serial}",
        switch.external,
        switch.listed and not switch.external,
    )


def _host(network: Network, number: int) -> Address:
    return network[number]


def _interface(address: Address, networks: tuple[Network, ...]) -> Interface:
    length = next((n.prefixlen for n in networks if address in n), address.max_prefixlen)
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, length))
    return IPv6Interface((address, length))


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are on disk."""

    root: Path

    def run(self, node: str) -> Path:
        """What the node sees as /run."""
        return self.root / "nodes" / node / "run"

    @property
    def operator(self) -> Path:
        return self.root / "operator"

    @property
    def config(self) -> Path:
        """ISTHMUS_CONFIG of the operator."""
        return self.operator / "config"

    @property
    def tls(self) -> Path:
        return self.operator / "tls"
