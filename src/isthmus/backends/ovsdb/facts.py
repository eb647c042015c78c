"""Facts from a northbound and a southbound replica: VPC routers, switches, chassis. Pure reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from isthmus.backends.ovsdb.index import Index
from isthmus.model.facts import ForeignRoute, Interface, Role, Switch, Vpc, VpcPort
from isthmus.model.intent import VpcRef
from isthmus.model.rows import KEY, OWNER

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]

KUBE_OVN = "kube-ovn"
"""`external_ids:vendor` of every row that Kube-OVN's controller makes."""


class NorthboundFacts:
    """What one NB says, by name; a VPC is read again only when something in it has changed."""

    def __init__(self, site: str, rows: Rows, index: Index) -> None:
        self._site = site
        self._rows = rows
        self._index = index
        self._vpcs: dict[str, tuple[tuple[int, ...], Vpc]] = {}

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        """Every Logical_Router that the reference may mean, edges of ours aside; more than one is ambiguous."""
        if ref.id is not None:
            found = {ref.id} if ref.id in self._rows["Logical_Router"] else set()
        else:
            found = self._index.named.get(("Logical_Router", ref.name or ""), set())
        return tuple(self.vpc(uuid) for uuid in sorted(found))

    def router(self, name: str) -> Mapping[str, Any] | None:
        """The row of the one Logical_Router of that name."""
        found = self._index.named.get(("Logical_Router", name), ())
        return next((self._rows["Logical_Router"][u] for u in found), None)

    def switch(self, name: str) -> Mapping[str, Any] | None:
        """The row of the one Logical_Switch of that name."""
        found = self._index.named.get(("Logical_Switch", name), ())
        return next((self._rows["Logical_Switch"][u] for u in found), None)

    def role_of_switch(self, name: str) -> Role:
        """What the one Logical_Switch of that name is to its router; a plain subnet where it is not there yet."""
        row = self.switch(name)
        return self._role_of_switch(row) if row else Role.SUBNET

    def in_use(self, name: str) -> bool:
        """The Logical_Switch of that name has a port of somebody's machine: one that we do not monitor."""
        row, known = self.switch(name), self._rows["Logical_Switch_Port"]
        return row is not None and any(port not in known for port in row["ports"])

    def vpc(self, uuid: str) -> Vpc:
        """The VPC router with this UUID; the same object as before while nothing in it has changed."""
        known = self._vpcs.get(uuid)
        if known is not None and self._versions(known[1]) == known[0]:
            return known[1]
        vpc = self._read(uuid)
        self._vpcs[uuid] = (self._versions(vpc), vpc)
        if len(self._vpcs) > 2 * len(self._rows["Logical_Router"]):
            self._vpcs = {u: found for u, found in self._vpcs.items() if u in self._rows["Logical_Router"]}
        return vpc

    def _versions(self, vpc: Vpc) -> tuple[int, ...]:
        version = self._index.version
        return (version.get(vpc.uuid, -1), *(version.get(p.switch, -1) for p in vpc.ports if p.switch))

    def _read(self, uuid: str) -> Vpc:
        router = self._rows["Logical_Router"][uuid]
        ports = tuple(sorted(self._ports(router), key=lambda p: p.name))
        routes = tuple(self._foreign_routes(router))
        if router["external_ids"].get("vendor") != KUBE_OVN:
            return Vpc(self._site, uuid, router["name"], ports, routes)
        routes = tuple(r for r in routes if _leads_elsewhere(r, ports))
        return Vpc(self._site, uuid, router["name"], ports, routes, keeper="kube-ovn")

    def _ports(self, router: Mapping[str, Any]) -> Iterator[VpcPort]:
        for uuid in router["ports"]:
            row = self._rows["Logical_Router_Port"].get(uuid)
            if row is None:
                continue
            networks = tuple(sorted(_interfaces(row["networks"]), key=lambda n: (n.version, n)))
            switch = self._switch_behind(row["name"])
            ids = row["external_ids"]
            yield VpcPort(
                uuid=uuid,
                name=row["name"],
                networks=networks,
                role=self._role(row, networks, switch),
                switch=switch,
                switch_name=self._rows["Logical_Switch"][switch]["name"] if switch else "",
                owned=ids.get(KEY) if ids.get(OWNER) == self._index.owner else None,
            )

    def _switch_behind(self, port: str) -> str | None:
        for lsp in self._index.router_port.get(port, ()):
            table, parent = self._index.parent.get(lsp, ("", ""))
            if table == "Logical_Switch":
                return parent
        return None

    def _role(self, row: Mapping[str, Any], networks: tuple[Interface, ...], switch: str | None) -> Role:
        if row["gateway_chassis"] or row["ha_chassis_group"]:
            return Role.EXTERNAL
        if switch is None or _all_link_local(networks):
            return Role.LINK
        return self._role_of_switch(self._rows["Logical_Switch"][switch])

    def _role_of_switch(self, switch: Mapping[str, Any]) -> Role:
        if "interconn-ts" in switch["other_config"] or "isthmus:link" in switch["external_ids"]:
            return Role.LINK
        # Ports that are not monitored are machines'.
        types = [self._rows["Logical_Switch_Port"].get(p, {}).get("type", "") for p in switch["ports"]]
        if "localnet" in types or "l2gateway" in types:
            return Role.EXTERNAL
        between_routers = len(types) > 1 and set(types) == {"router"}
        return Role.SHARED if between_routers else Role.SUBNET

    def _foreign_routes(self, router: Mapping[str, Any]) -> Iterator[ForeignRoute]:
        for uuid in sorted(router["static_routes"]):
            row = self._rows["Logical_Router_Static_Route"].get(uuid)
            if row is None or row["external_ids"].get(OWNER) == self._index.owner:
                continue
            try:
                prefix = ip_network(row["ip_prefix"], strict=False)
            except ValueError:
                continue
            if row["policy"] != "src-ip":
                yield ForeignRoute(uuid, prefix, row["nexthop"], row["external_ids"].get(OWNER, ""))

    def switches(self, name: str) -> tuple[Switch, ...]:
        """Every Logical_Switch of this name, with the routers that it is on."""
        found = []
        for uuid in sorted(self._index.named.get(("Logical_Switch", name), ())):
            row = self._rows["Logical_Switch"][uuid]
            ids = row["external_ids"]
            key = ids.get(KEY) if ids.get(OWNER) == self._index.owner else None
            found.append(Switch(uuid, name, frozenset(self._routers_on(row)), key))
        return tuple(found)

    def _routers_on(self, switch: Mapping[str, Any]) -> Iterator[str]:
        for lsp in switch["ports"]:
            row = self._rows["Logical_Switch_Port"].get(lsp)
            if row is None:
                continue
            for port in self._index.named.get(("Logical_Router_Port", row["options"].get("router-port", "")), ()):
                yield self._index.root(port)


def _leads_elsewhere(route: ForeignRoute, ports: tuple[VpcPort, ...]) -> bool:
    """False of a route that Kube-OVN made for us, over a link of ours; and of one that nothing leads to (any more).

    OVN leaves out a route whose next hop is in no network of its router.
    """
    try:
        hop = ip_address(route.nexthop)
    except ValueError:
        return True
    over = [p for p in ports if any(hop in n.network for n in p.networks)]
    return any(p.owned is None for p in over)


def _all_link_local(networks: tuple[Interface, ...]) -> bool:
    return bool(networks) and all(n.ip.is_link_local for n in networks)


@lru_cache(maxsize=4096)
def _interface(text: str) -> Interface:
    """Many routers have the same address: tenants number alike."""
    return ip_interface(text)


def _interfaces(networks: frozenset[str]) -> Iterator[Interface]:
    for text in networks:
        try:
            yield _interface(text)
        except ValueError:
            continue
