"""The lab file: what a user writes to describe sites, hosts, routers, switches and endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from isthmus.errors import IntentError, Problem
from isthmus.lab.kubernetes.checks import of_kubernetes
from isthmus.lab.openstack.checks import of_openstack, of_others

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
Template = Annotated[str, Field(pattern=r"^[a-z0-9{]([a-z0-9{}-]*[a-z0-9}])?$", max_length=63)]
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface
Address = IPv4Address | IPv6Address
Line = Literal["29", "28", "27"]
LINES: tuple[Line, ...] = get_args(Line)
"""Release lines of Neutron, the newest first."""

RESERVED = ("operator", "fabric", "underlay")
BUILTIN = Path(__file__).with_name("builtin")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True)


class Route(_Model):
    """A static route that the tenant put on her own router."""

    prefix: Network
    nexthop: Address


class Attach(_Model):
    """A port of a router on a switch of the site that several routers share."""

    switch: Name
    addresses: tuple[Interface, ...] = Field(
        min_length=1, description="with prefix length; in perTenant the tenant's number is added, from 0"
    )
    hosts: tuple[Name, ...] = Field(default=(), description="hosts that carry the port, first is preferred")
    snat: bool | None = Field(
        default=None, description="openstack, to an external switch: enable_snat; default: what Neutron does, true"
    )


class Router(_Model):
    """A Logical_Router: a tenant's VPC."""

    name: Template
    routes: tuple[Route, ...] = ()
    attach: tuple[Attach, ...] = ()


class Endpoint(_Model):
    """A machine: a network namespace with one interface, on a host's integration bridge."""

    name: Template | None = Field(default=None, description="default: SITE-SWITCH-NUMBER; unique in the lab")
    host: Name
    addresses: tuple[Address, ...] = Field(default=(), description="default: .11, .12 … of each network")
    mtu: int = Field(default=1442, ge=68, le=65535)
    gateway: bool = Field(default=True, description="false: no default route")
    routes: tuple[Route, ...] = Field(default=(), description="further routes of its own kernel")
    security_groups: tuple[Template, ...] | None = Field(
        default=None, description="openstack: names of the project's groups; default: its `default`"
    )
    port_security: bool = Field(default=True, description="openstack: false: any address, and no security groups")


class Switch(_Model):
    """A Logical_Switch, a tenant's subnet, with its endpoints."""

    name: Template
    router: Template | None = Field(default=None, description="the router it has a port on")
    cidrs: tuple[Network, ...] = ()
    gateways: tuple[Address, ...] = Field(default=(), description="default: the first host of each network")
    external: bool = Field(
        default=False, description="a localnet port on a physical network that all hosts of the site share"
    )
    gateway_hosts: tuple[Name, ...] = Field(
        default=(), description="hosts that carry the router's port to this switch; needed for external"
    )
    listed: bool = Field(default=True, description="part of the Interconnect documents that the lab writes")
    shared: bool = Field(default=False, description="openstack: a network that every project may use")
    endpoints: tuple[Endpoint, ...] = ()


class Host(_Model):
    """A machine of the site that runs ovn-controller."""

    name: Name
    gateway: bool = Field(default=False, description="ovn-is-interconn=true: carries traffic to other sites")
    chassis: Name | None = Field(default=None, description="system-id; default: the host's name")
    compute: bool = Field(default=True, description="openstack with Nova: false: runs no guests")


class Rule(_Model):
    """What a security group lets pass; stateful."""

    direction: Literal["ingress", "egress"] = "ingress"
    protocol: Literal["tcp", "udp", "icmp", "any"] = "any"
    ports: tuple[int | str, ...] = Field(default=(), description='of tcp and udp: 80 or "8000-8100"; default: all')
    remote: Network | Template | None = Field(
        default=None, description="a network, or the name of a group of the same project; default: anybody"
    )


class SecurityGroup(_Model):
    """A security group; one called `default` adds to what the project has anyway."""

    name: Template
    rules: tuple[Rule, ...] = ()


class OpenStack(_Model):
    """What runs on top of the OVN deployment of a site of type `openstack`."""

    nova: bool = Field(default=True, description="false: Keystone and Neutron only; endpoints are namespaces")
    neutron: Line = Field(default="29", description="its release line")


class Things(_Model):
    """Routers and switches; in `perTenant`, `{tenant}` in names stands for each tenant."""

    routers: tuple[Router, ...] = ()
    switches: tuple[Switch, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = Field(default=(), description="openstack only")


class Site(_Model):
    """One OVN deployment."""

    name: Name
    type: Literal["ovn", "openstack", "kubernetes"] = "ovn"
    openstack: OpenStack | None = Field(default=None, description="of a site of type openstack")
    zone: str | None = Field(
        default=None, description='NB_Global.name; "" leaves it empty; default: the name, on openstack ""'
    )
    hosts: tuple[Host, ...] = Field(min_length=1)
    agents: bool = Field(
        default=False, description="run `isthmus agent` on the gateways; on kubernetes on every host, as network plugin"
    )
    in_cluster: bool = Field(
        default=False,
        description="kubernetes with agents: `serve` and `agent` are Pods, made by our manifests; false: processes",
    )
    ovn_ic: bool = Field(default=True, description="run ovn-ic for this site")
    bfd: bool = Field(
        default=False, description="fast tunnel BFD: in the documents that the lab writes; on openstack in Neutron's"
    )
    connect_security_groups: dict[Name, tuple[Name, ...]] = Field(
        default={}, description="openstack: tenant -> groups, `securityGroups` of her attachment in the documents"
    )
    tenants: tuple[Name, ...] | None = Field(
        default=None, description="which tenants have what perTenant says; default: all of the lab"
    )
    per_tenant: Things = Things()
    routers: tuple[Router, ...] = ()
    switches: tuple[Switch, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = Field(default=(), description="openstack: of the project admin")

    @property
    def parts(self) -> tuple[tuple[str, Things], ...]:
        """What each tenant has, and what is there once; each with its place in the file."""
        once = Things(routers=self.routers, switches=self.switches, security_groups=self.security_groups)
        return ("perTenant.", self.per_tenant), ("", once)

    @property
    def cloud(self) -> OpenStack:
        """The block `openstack`, filled in."""
        return self.openstack or OpenStack()

    def runs_guests(self, host: Host) -> bool:
        """Whether a host of this site has libvirt and nova-compute."""
        return self.type == "openstack" and self.cloud.nova and host.compute

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(h.chassis or h.name for h in self.hosts if h.gateway)


class Underlay(_Model):
    """The network between hosts."""

    mtu: int = Field(default=1500, ge=1280, le=9216)
    filter: bool = Field(default=True, description="drop packets with another host's source address")


class LabFile(_Model):
    """A lab."""

    name: Name
    tenants: int | tuple[Name, ...] = Field(default=2, description="a count (a, b, c, …) or names")
    datapath: Literal["auto", "kernel", "userspace"] = "auto"
    underlay: Underlay = Underlay()
    interconnects: bool = Field(default=True, description="write one Interconnect document for each tenant")
    sites: tuple[Site, ...] = Field(min_length=1)

    @property
    def tenant_names(self) -> tuple[str, ...]:
        """
        >>> LabFile.model_construct(tenants=2).tenant_names
        ('a', 'b')
        """
        if isinstance(self.tenants, int):
            return tuple(tenant_name(n) for n in range(self.tenants))
        return self.tenants


def tenant_name(number: int) -> str:
    """a … z, then a1 … z1, and so on.

    >>> [tenant_name(n) for n in (0, 25, 26)]
    ['a', 'z', 'a1']
    """
    letter = chr(ord("a") + number % 26)
    return letter if number < 26 else f"{letter}{number // 26}"


def find(name_or_path: str) -> Path:
    """The lab file of that path, or the built-in lab of that name. Raises IntentError."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    if re.fullmatch(r"[a-z0-9-]+", name_or_path) and (builtin := BUILTIN / f"{name_or_path}.yaml").is_file():
        return builtin
    names = ", ".join(sorted(p.stem for p in BUILTIN.glob("*.yaml")))
    raise IntentError(
        Problem("NoSuchLab", f"no lab file {name_or_path!r}", remedy=f"name a file or a built-in lab: {names}")
    )


def load(
    name_or_path: str, *, name: str | None = None, tenants: int | None = None, agents: bool | None = None
) -> LabFile:
    """Read and check a lab file; `name`, `tenants` and `agents` (of all sites) override what it says.

    Raises IntentError with all problems.
    """
    path = find(name_or_path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise IntentError(Problem("NotYaml", str(error), file=str(path), remedy="write YAML")) from error
    if not isinstance(document, dict):
        raise IntentError(
            Problem("NotALabFile", "not a mapping", file=str(path), remedy="see docs/lab.md for an example")
        )
    return parse(document, str(path), name=name, tenants=tenants, agents=agents)


def parse(
    document: dict[str, Any],
    file: str = "",
    *,
    name: str | None = None,
    tenants: int | None = None,
    agents: bool | None = None,
) -> LabFile:
    """A lab file that is valid by itself. Raises IntentError with all problems."""
    document = dict(document)
    if name is not None:
        document["name"] = name
    if tenants is not None:
        document["tenants"] = tenants
    try:
        lab = LabFile.model_validate(document)
    except ValidationError as error:
        raise IntentError.of(
            Problem(
                "InvalidLabFile",
                e["msg"],
                file=file,
                field=".".join(map(str, e["loc"])),
                remedy="`isthmus lab schema` shows what is allowed",
            )
            for e in error.errors()
        ) from error
    if problems := list(_cross_references(lab, file)):
        raise IntentError.of(problems)
    if agents is not None:
        sites = tuple(s.model_copy(update={"agents": agents}) for s in lab.sites)
        lab = lab.model_copy(update={"sites": sites})
    return lab


def _cross_references(lab: LabFile, file: str) -> Iterable[Problem]:
    """What the schema cannot say: names that must differ, and names that must exist."""

    def problem(message: str, field: str, remedy: str) -> Problem:
        return Problem("InvalidLabFile", message, file=file, field=field, remedy=remedy)

    seen = dict.fromkeys(RESERVED, "the lab itself")
    for s, site in enumerate(lab.sites):
        where = f"sites.{s}"
        for label in [site.name, *(h.name for h in site.hosts)]:
            if label in seen:
                yield problem(f"the name {label!r} is also used by {seen[label]}", where, "rename one")
            seen[label] = where
        if unknown := set(site.tenants or ()) - set(lab.tenant_names):
            yield problem(
                f"the lab has no tenant {', '.join(sorted(unknown))}", f"{where}.tenants", "add it to tenants"
            )
        for message, field, remedy in _site_problems(site, lab.tenant_names):
            yield problem(message, f"{where}.{field}", remedy)


def _site_problems(site: Site, tenants: tuple[str, ...]) -> Iterable[tuple[str, str, str]]:
    """(message, field in the site, remedy) of each."""
    shared, hosts = {w.name for w in site.switches}, {h.name for h in site.hosts}
    yield from of_openstack(site, site.tenants or tenants) if site.type == "openstack" else of_others(site)
    if site.type == "kubernetes":
        yield from of_kubernetes(site)
    elif site.in_cluster:
        yield "only a cluster has Pods for Isthmus", "inCluster", "leave it out"
    for part, things in site.parts:
        for i, router in enumerate(things.routers):
            for attach in router.attach:
                if attach.switch not in shared:
                    yield f"the site has no shared switch {attach.switch!r}", f"{part}routers.{i}.attach", "add it"
        routers = {r.name for r in things.routers}
        for i, switch in enumerate(things.switches):
            for message, field, remedy in _switch_problems(switch, routers, hosts):
                yield message, f"{part}switches.{i}{field}", remedy


def _switch_problems(switch: Switch, routers: set[str], hosts: set[str]) -> Iterable[tuple[str, str, str]]:
    """(message, field, remedy) of each."""
    if switch.router and switch.router not in routers:
        yield f"no router {switch.router!r} beside it", ".router", "add the router"
    for host in [e.host for e in switch.endpoints] + list(switch.gateway_hosts):
        if host not in hosts:
            yield f"the site has no host {host!r}", "", f"use one of {', '.join(sorted(hosts))}"
    if switch.external and switch.router and not switch.gateway_hosts:
        yield "an external switch with a router needs hosts that carry it", ".gatewayHosts", "name at least one"
    if switch.gateways and len(switch.gateways) != len(switch.cidrs):
        yield "not one gateway for each network", ".gateways", "give as many as cidrs, in their order"


def schema() -> dict[str, Any]:
    """JSON Schema of a lab file."""
    return LabFile.model_json_schema(by_alias=True) | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
