"""From a lab file to everything that is derived from it: names, addresses, MACs, ports. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from itertools import count
from pathlib import Path

from isthmus.errors import IntentError, Problem
from isthmus.lab.spec import Address, Endpoint, Interface, LabFile, Network, Rule, Site, Switch, Things

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
    def network(self) -> IPv4Network:
        return IPv4Network((int(UNDERLAY.network_address) + 4 * self.number, 30))

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
    gateway_mac: str
    mac: str
    mtu: int
    link: str
    """The host's end of its link."""
    external: bool
    listed: bool
    routes: tuple[tuple[Network, Address], ...] = ()
    security_groups: tuple[str, ...] | None = None
    """Names of its project's groups; None: what the project gives by default."""
    port_security: bool = True
    guest: bool = False
    """Booted by Nova, not a network namespace."""
    pod: bool = False
    """Started by a kubelet; its network namespace is found, not made."""

    @property
    def made(self) -> bool:
        """Its network namespace is the lab's to make, and so is its link to its host."""
        return not self.guest and not self.pod

    def address(self, version: int = 4) -> Address | None:
        """Its address of that IP version."""
        return next((a.ip for a in self.addresses if a.version == version), None)


@dataclass(frozen=True, slots=True)
class SharedPort:
    """A router's port on a switch that is not its own."""

    switch: str
    addresses: tuple[Interface, ...]
    hosts: tuple[str, ...]
    snat: bool | None = None


@dataclass(frozen=True, slots=True)
class Router:
    """A router, with names filled in."""

    name: str
    site: str
    tenant: str | None
    routes: tuple[tuple[Network, Address], ...]
    ports: tuple[SharedPort, ...]


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
    shared: bool = False

    @property
    def router_mac(self) -> str:
        return mac(self.site, self.name, "router")


@dataclass(frozen=True, slots=True)
class Group:
    """A security group, with names filled in."""

    name: str
    tenant: str | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class SiteLayout:
    """A site, expanded for all tenants."""

    site: Site
    tenants: tuple[str, ...]
    routers: tuple[Router, ...]
    subnets: tuple[Subnet, ...]
    groups: tuple[Group, ...]

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def zone(self) -> str:
        """NB_Global.name as the lab writes it."""
        if self.site.zone is None:
            return "" if self.site.type == "openstack" else self.site.name
        return self.site.zone

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

    @property
    def guest_hosts(self) -> frozenset[str]:
        """Hosts with libvirt."""
        return frozenset(h.name for s in self.sites for h in s.site.hosts if s.site.runs_guests(h))

    @property
    def pod_hosts(self) -> frozenset[str]:
        """Hosts with a kubelet."""
        return frozenset(h.name for s in self.sites for h in s.site.hosts if s.site.type == "kubernetes")


def layout(file: LabFile) -> Layout:
    """Expand a lab file. Raises IntentError where two endpoints get one name."""
    names = ["operator", "fabric"]
    for site in file.sites:
        names += [site.name, *(h.name for h in site.hosts)]
    nodes = {name: Node(name, number) for number, name in enumerate(names, start=1)}
    serials = count(1)
    sites = []
    for site in file.sites:
        tenants = tuple(t for t in file.tenant_names if site.tenants is None or t in site.tenants)
        (_, each), (_, once) = site.parts
        parts = [_Expansion(site, each, tenant, file.tenant_names.index(tenant), serials) for tenant in tenants]
        parts.append(_Expansion(site, once, None, 0, serials))
        sites.append(
            SiteLayout(
                site,
                tenants,
                routers=tuple(r for part in parts for r in part.routers()),
                subnets=tuple(s for part in parts for s in part.subnets()),
                groups=tuple(g for part in parts for g in part.groups()),
            )
        )
    found = Layout(file, nodes, tuple(sites))
    used = Counter([*nodes, "underlay", *(m.name for m in found.machines)])
    if doubled := [name for name, number in used.items() if number > 1]:
        raise IntentError.of(
            Problem("InvalidLabFile", f"two things are called {name!r}", remedy="give endpoints names of their own")
            for name in doubled
        )
    return found


@dataclass(frozen=True, slots=True)
class _Expansion:
    """A site's routers and switches for one tenant; or, with `tenant` None, those outside `perTenant`."""

    site: Site
    things: Things
    tenant: str | None
    number: int
    serials: Iterator[int]

    def _filled(self, text: str) -> str:
        return text.replace("{tenant}", self.tenant or "")

    def routers(self) -> Iterator[Router]:
        for router in self.things.routers:
            name = self._filled(router.name)
            ports = tuple(
                SharedPort(
                    a.switch,
                    tuple(type(i)((i.ip + self.number, i.network.prefixlen)) for i in a.addresses),
                    a.hosts,
                    a.snat,
                )
                for a in router.attach
            )
            routes = tuple((r.prefix, r.nexthop) for r in router.routes)
            yield Router(name, self.site.name, self.tenant, routes, ports)

    def groups(self) -> Iterator[Group]:
        for group in self.things.security_groups:
            rules = tuple(
                r.model_copy(update={"remote": self._filled(r.remote)}) if isinstance(r.remote, str) else r
                for r in group.rules
            )
            yield Group(self._filled(group.name), self.tenant, rules)

    def subnets(self) -> Iterator[Subnet]:
        for switch in self.things.switches:
            name = self._filled(switch.name)
            router = self._filled(switch.router) if switch.router else None
            gateways = switch.gateways or tuple(_host(c, 1) for c in switch.cidrs)
            listed = switch.listed and not switch.external
            machines = tuple(
                self._machine(name, switch, endpoint, number) for number, endpoint in enumerate(switch.endpoints, 1)
            )
            yield Subnet(
                name=name,
                site=self.site.name,
                tenant=self.tenant,
                router=router,
                cidrs=switch.cidrs,
                gateways=gateways,
                external=switch.external,
                gateway_hosts=switch.gateway_hosts,
                listed=listed,
                machines=machines,
                shared=switch.shared,
            )

    def _machine(self, switch_name: str, switch: Switch, endpoint: Endpoint, number: int) -> Machine:
        name = self._filled(endpoint.name or f"{self.site.name}-{switch_name}-{number}")
        hosts = endpoint.addresses or tuple(_host(c, 10 + number) for c in switch.cidrs)
        addresses = tuple(_interface(a, switch.cidrs) for a in hosts)
        gateways = switch.gateways or tuple(_host(c, 1) for c in switch.cidrs)
        groups = endpoint.security_groups
        return Machine(
            name=name,
            site=self.site.name,
            tenant=self.tenant,
            router=self._filled(switch.router) if switch.router else None,
            switch=switch_name,
            host=endpoint.host,
            addresses=addresses,
            # A gateway that none of its networks holds cannot be a next hop.
            gateways=tuple(g for g in gateways if endpoint.gateway and any(g in a.network for a in addresses)),
            gateway_mac=mac(self.site.name, switch_name, "router"),
            mac=mac(name),
            mtu=endpoint.mtu,
            link=f"ep{next(self.serials)}",
            external=switch.external,
            listed=switch.listed and not switch.external,
            routes=tuple((r.prefix, r.nexthop) for r in endpoint.routes),
            security_groups=None if groups is None else tuple(map(self._filled, groups)),
            port_security=endpoint.port_security,
            guest=self.site.type == "openstack" and self.site.cloud.nova and not switch.external,
            pod=self.site.type == "kubernetes",
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

    def own(self, node: str) -> Path:
        """What a host that runs guests or Pods has written to /etc, /opt and /var."""
        return self.root / "nodes" / node / "own"

    @property
    def operator(self) -> Path:
        return self.root / "operator"

    @property
    def config(self) -> Path:
        """ISTHMUS_CONFIG of the operator."""
        return self.operator / "config"

    @property
    def programs(self) -> Path:
        """The operator's tools beside `isthmus`."""
        return self.operator / "bin"

    @property
    def outside(self) -> Path:
        """The same tools for a shell outside the lab: each enters it."""
        return self.operator / "bin-outside"

    @property
    def tls(self) -> Path:
        return self.operator / "tls"
