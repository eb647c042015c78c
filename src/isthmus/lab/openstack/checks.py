"""What a lab file may say of a site of type `openstack`, and of no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.lab.spec import Endpoint, Router, SecurityGroup, Site, Switch, Things

Found = tuple[str, str, str]
"""Message, field in the site, remedy."""
NOVA_WITH = "29"
"""Neutron's release line that Nova is installed with."""
RESERVED = ("admin", "service")
"""Projects that every cloud has."""


def of_others(site: Site) -> Iterator[Found]:
    """What only Neutron can honour, on a site without it."""
    remedy = "leave it out, or make the site one of type openstack"
    if site.openstack:
        yield "the site is not of type openstack", "openstack", remedy
    if site.connect_security_groups:
        yield "only sites of type openstack have security groups", "connectSecurityGroups", remedy
    for i, host in enumerate(site.hosts):
        if not host.compute:
            yield "only sites of type openstack have hosts that run guests", f"hosts.{i}.compute", remedy
    for part, things in site.parts:
        for message, where in _neutrons(part, things):
            yield message, where, remedy


def _neutrons(part: str, things: Things) -> Iterator[tuple[str, str]]:
    """Message and field of what Neutron alone offers."""
    if things.security_groups:
        yield "only sites of type openstack have security groups", f"{part}securityGroups"
    for where, endpoint in _endpoints(part, things):
        if endpoint.security_groups is not None or not endpoint.port_security:
            yield "only sites of type openstack have security groups", where
    for where, switch in _switches(part, things):
        if switch.shared:
            yield "only on sites of type openstack are networks shared", f"{where}.shared"
    for i, router in enumerate(things.routers):
        if any(a.snat is not None for a in router.attach):
            yield "only a Neutron router translates by itself", f"{part}routers.{i}.attach"


def of_openstack(site: Site, tenants: tuple[str, ...]) -> Iterator[Found]:
    """What Neutron does not offer, or offers in another way; `tenants` of the site."""
    if site.cloud.nova:
        yield from _guests(site)
    for name in sorted(set(tenants) & set(RESERVED)):
        yield f"every cloud has a project {name!r} already", "tenants", "give the tenant another name"
    for name in sorted(set(site.connect_security_groups) - set(tenants)):
        yield f"the site has no tenant {name!r}", "connectSecurityGroups", f"one of {', '.join(tenants)}"
    if site.bfd and site.cloud.neutron == "27":
        yield "Neutron 27 has no option for it", "bfd", "leave it out, or take a later Neutron"
    external = [s.name for s in site.switches if s.external]
    if len(external) > 1:
        yield (
            f"{' and '.join(external)} would be flat networks on one physical network",
            "switches",
            "leave one external switch",
        )
    for part, things in site.parts:
        yield from _things(part, things, set(external))


def _guests(site: Site) -> Iterator[Found]:
    """Nova goes with the newest Neutron, and on some hosts."""
    if site.cloud.neutron != NOVA_WITH:
        remedy = f"leave `neutron` out, or say `nova: false`: Nova runs with Neutron {NOVA_WITH}"
        yield f"no Nova for Neutron {site.cloud.neutron}", "openstack.neutron", remedy
    idle = {host.name for host in site.hosts if not host.compute}
    for part, things in site.parts:
        for where, switch in _switches(part, things):
            if switch.external:
                continue
            if switch.endpoints and any(cidr.version == 6 for cidr in switch.cidrs):
                remedy = "leave it out, or say `nova: false`: namespaces have both families"
                yield "the lab's guests have no DHCPv6 client", f"{where}.cidrs", remedy
            for i, endpoint in enumerate(switch.endpoints):
                if endpoint.host in idle:
                    remedy = "name another host, or leave out `compute: false`"
                    yield f"{endpoint.host} runs no guests", f"{where}.endpoints.{i}", remedy


def _things(part: str, things: Things, external: set[str]) -> Iterator[Found]:
    for where, switch in _switches(part, things):
        yield from _switch(where, switch, once=not part)
    known = {g.name for g in things.security_groups} | {"default"}
    for where, endpoint in _endpoints(part, things):
        yield from _groups(where, endpoint, known)
    for i, router in enumerate(things.routers):
        yield from _router(f"{part}routers.{i}", router, things, external)
    for i, group in enumerate(things.security_groups):
        yield from _rules(f"{part}securityGroups.{i}", group, known)


def _switch(where: str, switch: Switch, once: bool) -> Iterator[Found]:
    if switch.external and not once:
        yield "the physical network is one for the whole site", where, "name the switch outside perTenant"
    if switch.shared and not once:
        yield "a tenant may not share her network with everybody", where, "name the switch outside perTenant"
    if not switch.cidrs and switch.endpoints:
        yield "Neutron gives no port without a subnet an address", f"{where}.cidrs", "give the switch a network"
    if switch.gateway_hosts:
        yield (
            "Neutron chooses among the hosts with `gateway: true` who carries a router's gateway",
            f"{where}.gatewayHosts",
            "leave it out",
        )


def _groups(where: str, endpoint: Endpoint, known: set[str]) -> Iterator[Found]:
    if unknown := sorted(set(endpoint.security_groups or ()) - known):
        yield f"no security group {', '.join(unknown)} beside it", f"{where}.securityGroups", "add it to securityGroups"
    if endpoint.security_groups and not endpoint.port_security:
        yield "a port without port security has no security groups", where, "leave one of the two out"


def _router(where: str, router: Router, things: Things, external: set[str]) -> Iterator[Found]:
    gateways = [a for a in router.attach if a.switch in external]
    own = [s for s in things.switches if s.router == router.name and s.name in external]
    if len(gateways) + len(own) > 1:
        yield "a Neutron router has one gateway", f"{where}.attach", "attach it to an external switch once"
    for attach in router.attach:
        if attach.hosts:
            yield (
                "Neutron chooses among the hosts with `gateway: true` who carries a router's gateway",
                f"{where}.attach",
                "leave out `hosts`",
            )
        if attach.snat is not None and attach not in gateways:
            yield "only what leaves by the external gateway is translated", f"{where}.attach", "leave out `snat`"


def _rules(where: str, group: SecurityGroup, known: set[str]) -> Iterator[Found]:
    for i, rule in enumerate(group.rules):
        if isinstance(rule.remote, str) and rule.remote not in known:
            yield f"no security group {rule.remote!r} beside it", f"{where}.rules.{i}", "add it to securityGroups"
        if rule.ports and rule.protocol not in ("tcp", "udp"):
            yield "only tcp and udp have ports", f"{where}.rules.{i}", "name the protocol, or leave out `ports`"


def _switches(part: str, things: Things) -> Iterator[tuple[str, Switch]]:
    return ((f"{part}switches.{i}", switch) for i, switch in enumerate(things.switches))


def _endpoints(part: str, things: Things) -> Iterator[tuple[str, Endpoint]]:
    for where, switch in _switches(part, things):
        for i, endpoint in enumerate(switch.endpoints):
            yield f"{where}.endpoints.{i}", endpoint
