"""What tenants of a cloud have before Isthmus comes, made through Neutron's API: a member makes her own.

The administrator makes what stands outside `perTenant`, router gateways with an address of one's choice, and ports
that are bound to a host, which elsewhere is Nova's part.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from isthmus.lab.hosts import PHYSICAL
from isthmus.lab.http import Json
from isthmus.lab.layout import Group, Machine, Router, Subnet
from isthmus.lab.openstack import keystone, ports
from isthmus.lab.openstack.api import Api
from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.spec import Network, Rule

WORKERS = 4


Named = tuple[str | None, str]
"""Tenant and name: two tenants may use one name."""


@dataclass(slots=True)
class Made:
    """Neutron's ids by tenant and name."""

    networks: dict[Named, str] = field(default_factory=dict)
    subnets: dict[tuple[Named, Network], str] = field(default_factory=dict)
    groups: dict[Named, str] = field(default_factory=dict)


class Provision:
    """Everything of one site."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.made = Made()
        self.admin = keystone.client(cloud)
        self.members: dict[str | None, Api] = {None: self.admin}

    def everything(self) -> dict[str, str]:
        """Make it. Returns the id of each endpoint's port."""
        site = self.cloud.site
        keystone.tenants(self.cloud, self.admin)
        for tenant in site.tenants:
            self.members[tenant] = keystone.client(self.cloud, tenant)
        self._owner(None)  # tenants' routers have ports on its networks
        with ThreadPoolExecutor(WORKERS) as pool:
            for future in [pool.submit(self._owner, tenant) for tenant in site.tenants]:
                future.result()
            found = [pool.submit(self._ports, tenant) for tenant in (None, *site.tenants)]
            return {name: port for future in found for name, port in future.result().items()}

    def _owner(self, tenant: str | None) -> None:
        """Groups, networks and routers of one tenant, or of the project `admin`."""
        site, api = self.cloud.site, self.members[tenant]
        self._groups(api, tenant, [g for g in site.groups if g.tenant == tenant])
        for subnet in site.subnets:
            if subnet.tenant == tenant:
                self._network(api, subnet)
        for router in site.routers:
            if router.tenant == tenant:
                self._router(api, router)

    # Security groups.

    def _groups(self, api: Api, tenant: str | None, wanted: list[Group]) -> None:
        # Asking is what makes Neutron make the project's `default`.
        there = api.get("network", "/v2.0/security-groups", project_id=api.project_id)["security_groups"]
        ids = {group["name"]: group["id"] for group in there}
        for group in wanted:
            if group.name not in ids:
                body = {"security_group": {"name": group.name}}
                ids[group.name] = api.post("network", "/v2.0/security-groups", body)["security_group"]["id"]
        for name, found in ids.items():
            self.made.groups[tenant, name] = found
        for group in wanted:  # Neutron takes the rules of one group at a time
            if bodies := [body for rule in group.rules for body in rules(rule, ids[group.name], ids)]:
                api.post("network", "/v2.0/security-group-rules", {"security_group_rules": bodies})

    # Networks and routers.

    def _network(self, api: Api, subnet: Subnet) -> None:
        body: Json = {"name": subnet.name}
        if subnet.external:
            flat = {"provider:network_type": "flat", "provider:physical_network": PHYSICAL}
            body |= flat | {"router:external": True}
        if subnet.shared:
            body["shared"] = True
        network = api.post("network", "/v2.0/networks", {"network": body})["network"]["id"]
        self.made.networks[subnet.tenant, subnet.name] = network
        for cidr, gateway in zip(subnet.cidrs, subnet.gateways, strict=True):
            values: Json = {
                "name": subnet.name,
                "network_id": network,
                "ip_version": cidr.version,
                "cidr": str(cidr),
                "gateway_ip": str(gateway),
                "enable_dhcp": not subnet.external,
            }
            if cidr.version == 6 and not subnet.external:
                # Addresses are of one's choice, and machines that ask get theirs.
                values |= {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"}
            made = api.post("network", "/v2.0/subnets", {"subnet": values})["subnet"]
            self.made.subnets[(subnet.tenant, subnet.name), cidr] = made["id"]

    def _router(self, api: Api, router: Router) -> None:
        made = api.post("network", "/v2.0/routers", {"router": {"name": router.name}})["router"]["id"]
        for subnet in self.cloud.site.subnets:
            if (subnet.tenant, subnet.router) == (router.tenant, router.name):
                self._join(api, made, subnet)
        external = {s.name for s in self.cloud.site.subnets if s.external}
        for port in router.ports:
            fixed = [
                {"subnet_id": self.made.subnets[(None, port.switch), address.network], "ip_address": str(address.ip)}
                for address in port.addresses
            ]
            network = self.made.networks[None, port.switch]
            if port.switch in external:
                self._gateway(made, network, fixed, port.snat)
            else:
                self._port(made, network, fixed, api.project_id)
        if router.routes:
            routes = [{"destination": str(prefix), "nexthop": str(nexthop)} for prefix, nexthop in router.routes]
            api.put("network", f"/v2.0/routers/{made}", {"router": {"routes": routes}})

    def _join(self, api: Api, router: str, subnet: Subnet) -> None:
        if subnet.external:
            self._gateway(router, self.made.networks[subnet.tenant, subnet.name], [], None)
            return
        for cidr in subnet.cidrs:
            body = {"subnet_id": self.made.subnets[(subnet.tenant, subnet.name), cidr]}
            api.put("network", f"/v2.0/routers/{router}/add_router_interface", body)

    def _gateway(self, router: str, network: str, fixed: list[dict[str, str]], snat: bool | None) -> None:
        """The way out; only the administrator may choose the address, and whether it is translated."""
        body: Json = {"network_id": network}
        if fixed:
            body["external_fixed_ips"] = fixed
        if snat is not None:
            body["enable_snat"] = snat
        self.admin.put("network", f"/v2.0/routers/{router}", {"router": {"external_gateway_info": body}})

    def _port(self, router: str, network: str, fixed: list[dict[str, str]], project: str) -> None:
        """A router's port on a network of the administrator, with an address of one's choice."""
        body = {"port": {"network_id": network, "fixed_ips": fixed, "project_id": project}}
        port = self.admin.post("network", "/v2.0/ports", body)["port"]["id"]
        self.admin.put("network", f"/v2.0/routers/{router}/add_router_interface", {"port_id": port})

    # Endpoints.

    def _ports(self, tenant: str | None) -> dict[str, str]:
        machines = [m for m in self.cloud.site.machines if m.tenant == tenant and not m.external]
        if not machines:
            return {}
        wanted = [self._endpoint(machine) for machine in machines]
        made = self.admin.post("network", "/v2.0/ports", {"ports": wanted})["ports"]
        return {port["name"]: port["id"] for port in made}

    def _endpoint(self, machine: Machine) -> Json:
        switch = machine.tenant, machine.switch
        subnets = {cidr: found for (of, cidr), found in self.made.subnets.items() if of == switch}
        groups = {name: found for (tenant, name), found in self.made.groups.items() if tenant == machine.tenant}
        project = {"project_id": self.members[machine.tenant].project_id}
        # Nova itself says where a guest is.
        where = {} if machine.guest else ports.bound(machine)
        return ports.body(machine, self.made.networks[switch], subnets, groups) | project | where


def rules(rule: Rule, group: str, groups: dict[str, str]) -> Iterator[Json]:
    """Neutron's rules for one of the lab file: one for each family and range of ports."""
    remote: Json = {}
    versions: tuple[str, ...] = ("IPv4", "IPv6")
    if isinstance(rule.remote, str):
        remote = {"remote_group_id": groups[rule.remote]}
    elif rule.remote:
        remote = {"remote_ip_prefix": str(rule.remote)}
        versions = (f"IPv{rule.remote.version}",)
    for version in versions:
        protocol: Any = None if rule.protocol == "any" else rule.protocol
        if (protocol, version) == ("icmp", "IPv6"):
            protocol = "ipv6-icmp"
        for some in rule.ports or (None,):
            body: Json = {
                "security_group_id": group,
                "direction": rule.direction,
                "ethertype": version,
                "protocol": protocol,
            }
            if some is not None:
                first, _, last = str(some).partition("-")
                body |= {"port_range_min": int(first), "port_range_max": int(last or first)}
            yield body | remote
