"""VPCs, subnets and security groups of an OpenStack: the API says what is; the rows add what Neutron does not know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from isthmus.backends.changes import is_subnet
from isthmus.backends.openstack.listing import Listing, Object
from isthmus.backends.openstack.marks import key_of, owner_of
from isthmus.backends.openstack.owned import network_key
from isthmus.backends.ovsdb.facts import NorthboundFacts, Rows
from isthmus.compile.names import short
from isthmus.model.facts import ForeignRoute, Role, Switch, Vpc, VpcPort
from isthmus.model.intent import VpcRef
from isthmus.model.rows import OWNER


class NeutronFacts:
    """One listing beside the northbound rows of the same moment; nothing in it changes later."""

    def __init__(self, site: str, owner: str, listing: Listing, rows: Rows, northbound: NorthboundFacts) -> None:
        self._site, self._owner, self._listing = site, owner, listing
        self._rows, self._northbound = rows, northbound
        self._tables = listing.tables
        self._named: dict[str, list[Object]] = defaultdict(list)
        for router in sorted(self._tables["router"].values(), key=lambda r: str(r["id"])):
            self._named[router["name"]].append(router)
        self._vpcs: dict[str, tuple[Vpc | None, Vpc]] = {}

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        """Routers that the reference may mean: `id` is Neutron's, `project` a name or an id."""
        projects = None if ref.project is None else self._projects(ref.project)
        if ref.id is not None:
            found = [self._tables["router"][ref.id]] if ref.id in self._tables["router"] else []
        else:
            found = self._named.get(ref.name or "", [])
        return tuple(self._known(r) for r in found if projects is None or r["project_id"] in projects)

    def _projects(self, word: str) -> set[str]:
        known = self._listing.projects
        return {word} if known is None else {i for i, name in known.items() if word in (i, name)}

    def has_project(self, word: str) -> bool | None:
        """None where our user may not list projects, and none that has a network has this id."""
        if self._listing.projects is not None:
            return bool(self._projects(word))
        return any(n["project_id"] == word for n in self._tables["network"].values()) or None

    def _known(self, router: Object) -> Vpc:
        """The same object as before while no row of the router has changed either."""
        row = self._northbound.router(f"neutron-{router['id']}")
        seen = self._northbound.vpc(str(row["_uuid"])) if row else None
        if router["id"] not in self._vpcs or self._vpcs[router["id"]][0] is not seen:
            self._vpcs[router["id"]] = seen, self._vpc(router, row)
        return self._vpcs[router["id"]][1]

    def _vpc(self, router: Object, row: Mapping[str, Any] | None) -> Vpc:
        ports = tuple(sorted(self._ports(router), key=lambda p: (p.name, str(p.networks))))
        return Vpc(
            site=self._site,
            uuid=router["id"],
            name=router["name"],
            ports=(*ports, *self._raw_ports(row, {p.name for p in ports})),
            foreign_routes=tuple(self._foreign_routes(router, row)),
            keeper="neutron",
            project=router["project_id"],
            pinned=bool(row and row["options"].get("chassis")),
        )

    # -- ports ----------------------------------------------------------------------------------------------

    def _ports(self, router: Object) -> Iterator[VpcPort]:
        for port in self._listing.router_ports.get(router["id"], ()):
            network = self._tables["network"].get(port["network_id"])
            role = self._role(router, port, network)
            for fixed in port["fixed_ips"]:
                subnet = self._tables["subnet"].get(fixed["subnet_id"])
                if subnet is None:
                    continue  # it was deleted between two calls; its port is about to go as well
                length = ip_network(subnet["cidr"]).prefixlen
                yield VpcPort(
                    uuid=port["id"],
                    name=f"lrp-{port['id']}",
                    networks=(ip_interface(f"{fixed['ip_address']}/{length}"),),
                    role=role,
                    switch=subnet["id"],
                    switch_name=subnet["name"],
                    owned=self._interface_key(network, subnet, role),
                    segment=subnet["network_id"],
                )

    def _role(self, router: Object, port: Object, network: Object | None) -> Role:
        if port["device_owner"] == "network:router_gateway" or network is None:
            return Role.EXTERNAL
        # Whoever is not admin may not see the latter; the rows have a localnet port then.
        if network.get("router:external") or network.get("provider:physical_network"):
            return Role.EXTERNAL
        if network["project_id"] == self._listing.project and owner_of(network):
            return Role.LINK
        found = self._northbound.role_of_switch(f"neutron-{network['id']}")
        shared = found is Role.SUBNET and network["project_id"] != router["project_id"]
        return Role.SHARED if shared else found

    def _interface_key(self, network: Object | None, subnet: Object, role: Role) -> str | None:
        """Of our own port on the link; or, of a subnet that we defined, as `resolve` knows it: by the user's name."""
        key = network_key(self._listing, self._owner, network) if network else ""
        if not key:
            return None
        if is_subnet(key):
            return f"{spelled(key, subnet)}/gateway" if spelled(key, subnet) else None
        return key if role is Role.LINK else None

    def _raw_ports(self, row: Mapping[str, Any] | None, known: set[str]) -> Iterator[VpcPort]:
        """Ports that somebody else wrote onto Neutron's router: their networks are taken."""
        if row is not None:
            vpc = self._northbound.vpc(str(row["_uuid"]))
            yield from (p for p in vpc.ports if p.name not in known and not p.name.startswith("lrp-"))

    # -- routes ---------------------------------------------------------------------------------------------

    def _foreign_routes(self, router: Object, row: Mapping[str, Any] | None) -> Iterator[ForeignRoute]:
        links = {
            ip_network(subnet["cidr"]): owner_of(self._tables["network"][port["network_id"]])
            for port in self._listing.router_ports.get(router["id"], ())
            if port["network_id"] in self._tables["network"]
            and self._tables["network"][port["network_id"]]["project_id"] == self._listing.project
            for subnet in self._listing.network_subnets.get(port["network_id"], ())
        }
        for route in router["routes"]:
            hop = ip_address(route["nexthop"])
            owner = next((o for cidr, o in links.items() if hop in cidr), "")
            if owner != self._owner:
                prefix = ip_network(route["destination"], strict=False)
                yield ForeignRoute(f"{router['id']} {prefix}", prefix, route["nexthop"], owner)
        for found in self._northbound.vpc(str(row["_uuid"])).foreign_routes if row else ():
            ids = self._rows["Logical_Router_Static_Route"][found.uuid]["external_ids"]
            if not any(key.startswith("neutron:") for key in ids):
                yield ForeignRoute(found.uuid, found.prefix, found.nexthop, ids.get(OWNER, ""))

    # -- by name --------------------------------------------------------------------------------------------

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        """Subnets of this name in the project of the VPC."""
        return tuple(
            self._switch(subnet)
            for subnet in self._tables["subnet"].values()
            if subnet["name"] == name and subnet["project_id"] == vpc.project
        )

    def _switch(self, subnet: Object) -> Switch:
        routers = frozenset(
            router
            for router, ports in self._listing.router_ports.items()
            if any(f["subnet_id"] == subnet["id"] for p in ports for f in p["fixed_ips"])
        )
        network = self._tables["network"].get(subnet["network_id"])
        key = network_key(self._listing, self._owner, network) if network else ""
        return Switch(
            subnet["id"], subnet["name"], routers, spelled(key, subnet) if key_of(self._owner, subnet) else None
        )

    def security_groups(self, name: str, vpc: Vpc) -> tuple[str, ...]:
        """An id is meant before a name."""
        here = {i: g for i, g in self._tables["security_group"].items() if g["project_id"] == vpc.project}
        return (name,) if name in here else tuple(sorted(i for i, g in here.items() if g["name"] == name))


def spelled(key: str, subnet: Object) -> str | None:
    """`tenant/cloud/subnet/NAME` for a key that holds a digest of the name, while the subnet still has it."""
    parts = key.split("/")
    if not is_subnet(key) or len(parts) < 4:
        return None
    head, digest = parts[:3], parts[3]
    return "/".join([*head, subnet["name"]]) if short(subnet["name"]) == digest else None


def doors(northbound: NorthboundFacts, routers: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Router of Neutron's -> ids of the ports that its row has; one that has no row is left out."""
    found = {router: northbound.router(f"neutron-{router}") for router in routers}
    return {
        router: frozenset(
            p.name.removeprefix("lrp-") for p in northbound.vpc(str(row["_uuid"])).ports if p.name.startswith("lrp-")
        )
        for router, row in found.items()
        if row
    }


def unseen(listing: Listing, northbound: NorthboundFacts, before: Mapping[str, frozenset[str]]) -> str:
    """A router of Neutron's in the rows, a port of it, or its network, that a listing lacks; "" where it lacks none.

    before  `doors` of the routers that matter, from before the listing was begun: what came since may be missing. Of
            other routers nothing stands that could be taken away
    """
    now = doors(northbound, before)
    for router, ports in sorted(now.items()):
        if router not in listing.tables["router"]:
            return f"router {router}"
        shown = listing.router_ports.get(router, ())
        if missing := sorted(ports & before[router] - {port["id"] for port in shown}):
            return f"port {missing[0]} of router {router}"
        for port in shown:
            if port["network_id"] not in listing.tables["network"] and northbound.switch(
                f"neutron-{port['network_id']}"
            ):
                return f"network {port['network_id']} on router {router}"
    return ""
