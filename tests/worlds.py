"""Worlds written by hand in the layout of the compiler, for `verify`: rows, intent and facts without a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_interface, ip_network
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from isthmus.model.facts import Role, Subnet, Vpc, VpcPort
from isthmus.model.intent import Attachment, Configuration, Endpoint, Interconnect, Site, SubnetRef, VpcRef
from mutations import Cast, End

OWNER = "o"


def mac(name: str) -> str:
    return ":".join(f"{b:02x}" for b in b"\x0a" + sha256(name.encode()).digest()[:5])


class Rows:
    """A northbound database being written."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}

    def add(
        self,
        table: str,
        key: str,
        columns: Mapping[str, Any],
        parent: tuple[str, str, str] | None = None,
        path: str = "",
    ) -> str:
        """Insert a row; `key` is its isthmus:key with `path`, or any unique word. Returns the UUID."""
        uuid = str(uuid5(NAMESPACE_URL, f"{self.site}/{table}/{key}"))
        marks = {"isthmus:owner": OWNER, "isthmus:key": key, "isthmus:path": path} if path else {}
        ids = marks | dict(columns.get("external_ids", {}))
        self.tables.setdefault(table, {})[uuid] = dict(columns) | {"_uuid": uuid, "external_ids": ids}
        if parent is not None:
            row = self.tables[parent[0]][parent[1]]
            row[parent[2]] = row.get(parent[2], frozenset()) | {uuid}
        return uuid

    def switch(self, name: str, key: str = "", path: str = "", **more: Any) -> str:
        return self.add("Logical_Switch", key or name, {"name": name, **more}, None, path)

    def router(self, name: str, key: str = "", path: str = "") -> str:
        return self.add("Logical_Router", key or name, {"name": name}, None, path)

    def router_port(
        self, router: str, name: str, networks: list[str], key: str = "", path: str = "", **more: Any
    ) -> str:
        columns = {"name": name, "mac": mac(name), "networks": frozenset(networks), **more}
        return self.add("Logical_Router_Port", key or name, columns, ("Logical_Router", router, "ports"), path)

    def door(self, switch: str, router_port: str, name: str, key: str = "", path: str = "") -> str:
        columns = {
            "name": name,
            "type": "router",
            "addresses": frozenset({"router"}),
            "options": {"router-port": router_port},
        }
        return self.add("Logical_Switch_Port", key or name, columns, ("Logical_Switch", switch, "ports"), path)

    def machine(self, switch: str, name: str, addresses: list[str]) -> str:
        columns = {"name": name, "type": "", "addresses": frozenset({" ".join([mac(name), *addresses])})}
        return self.add("Logical_Switch_Port", name, columns, ("Logical_Switch", switch, "ports"))

    def route(self, router: str, prefix: str, nexthop: str, key: str = "", path: str = "", **more: Any) -> str:
        columns = {"ip_prefix": prefix, "nexthop": nexthop, **more}
        parent = ("Logical_Router", router, "static_routes")
        return self.add("Logical_Router_Static_Route", key or f"{router} {prefix} {nexthop}", columns, parent, path)

    def policy(
        self, router: str, priority: int, match: str, action: str, key: str = "", path: str = "", **more: Any
    ) -> str:
        columns = {"priority": priority, "match": match, "action": action, **more}
        parent = ("Logical_Router", router, "policies")
        return self.add("Logical_Router_Policy", key or f"{router} {priority} {match}", columns, parent, path)


@dataclass
class Side:
    """One side of a tenant: VPC router, and its subnets as name -> prefixes."""

    site: str
    vpc: str
    subnets: dict[str, list[str]]
    unlisted: dict[str, list[str]] = field(default_factory=dict)
    vpc_uuid: str = ""

    def prefixes(self, family: int) -> list[str]:
        return [p for found in self.subnets.values() for p in found if ip_network(p).version == family]

    def doors(self) -> list[str]:
        return [f"{self.vpc}-{s}" for s in self.subnets]


@dataclass
class Tenant:
    name: str
    sides: list[Side]


@dataclass
class Made:
    """`sites` is what `World` takes; the rest is what `expect` takes."""

    sites: dict[str, dict[str, dict[str, dict[str, Any]]]]
    configuration: Configuration
    listed: dict[tuple[str, str], tuple[Subnet, ...]]
    vpcs: dict[tuple[str, str], Vpc]
    tenants: list[Tenant]


def gateway(prefix: str, host: int = 1) -> str:
    network = ip_network(prefix)
    return str(network.network_address + host)


def interface(prefix: str, host: int = 1) -> str:
    return f"{gateway(prefix, host)}/{ip_network(prefix).prefixlen}"


def of(tenant: str, side: str, what: str) -> str:
    return f"isthmus-{OWNER}.{tenant}.{side}.{what}"


def two_tenants() -> Made:
    """Tenants `a` and `b` with the same addresses at `cloud` and `cluster`; each VPC has an unlisted subnet too."""
    return make([_same("a"), _same("b")])


def _same(name: str) -> Tenant:
    cloud = {"web": ["10.1.0.0/24", "fd00:1::/64"], "db": ["10.2.0.0/24"]}
    cluster = {"apps": ["10.3.0.0/24", "fd00:3::/64"], "jobs": ["10.4.0.0/24"]}
    sides = [
        Side("cloud", f"r-{name}", {f"{name}-{s}": p for s, p in cloud.items()}, {f"{name}-private": ["10.9.0.0/24"]}),
        Side("cluster", f"v-{name}", {f"{name}-{s}": p for s, p in cluster.items()}, {f"{name}-misc": ["10.8.0.0/24"]}),
    ]
    return Tenant(name, sides)


def many(tenants: int, subnets: int) -> Made:
    """Tenants with addresses of their own."""
    made = []
    for t in range(tenants):
        sides = []
        for s, site in enumerate(("cloud", "cluster")):
            names = {f"t{t}-{site}-{n}": [f"10.{t}.{s * 100 + n}.0/24"] for n in range(subnets)}
            sides.append(Side(site, f"{site}-r{t}", names))
        made.append(Tenant(f"t{t}", sides))
    return make(made)


def make(tenants: list[Tenant]) -> Made:
    databases: dict[str, Rows] = {}
    for number, tenant in enumerate(tenants):
        for side in tenant.sides:
            rows = databases.setdefault(side.site, Rows(side.site))
            native(rows, side)
        for index, side in enumerate(tenant.sides):
            _joined(databases[side.site], tenant, side, index, number)
    sites = {name: rows.tables for name, rows in databases.items()}
    return Made(sites, _configuration(tenants, list(sites)), _listed(tenants), _vpcs(tenants), tenants)


def native(rows: Rows, side: Side) -> None:
    side.vpc_uuid = rows.router(side.vpc)
    for name, prefixes in (side.subnets | side.unlisted).items():
        switch = rows.switch(name)
        rows.router_port(side.vpc_uuid, f"{side.vpc}-{name}", [interface(p) for p in prefixes])
        rows.door(switch, f"{side.vpc}-{name}", f"{name}-router")
        rows.machine(switch, f"{name}-vm", [gateway(p, 10) for p in prefixes])


def link(number: int, index: int, host: int) -> tuple[str, str]:
    at = number * 2 + index
    four = ip_network("169.254.128.0/18").network_address + at * 8 + host
    return f"{four}", f"fd69:7374:0:{at:x}::{host}"


def transit(index: int) -> tuple[str, str]:
    return f"169.254.64.{index + 1}", f"fd69:7375::{index + 1}"


def _joined(rows: Rows, tenant: Tenant, side: Side, index: int, number: int) -> None:
    t, path, far = tenant.name, f"spec.attachments[{side.site}]", tenant.sides[1 - index]
    prefix = f"{t}/{side.site}"
    name = lambda what: of(t, side.site, what)  # noqa: E731
    edge = rows.router(name("edge"), f"{prefix}/edge", path)
    switch = rows.switch(f"isthmus-{OWNER}.{t}", other_config={"interconn-ts": f"isthmus-{OWNER}.{t}"})
    networks = [f"{transit(index)[0]}/24", f"{transit(index)[1]}/64"]
    port = rows.router_port(edge, name("transit"), networks, f"{prefix}/transit", path)
    chassis = {"name": f"{name('transit')}_gw1", "chassis_name": "gw1", "priority": 100}
    parent = ("Logical_Router_Port", port, "gateway_chassis")
    rows.add("Gateway_Chassis", f"{prefix}/gateway/gw1", chassis, parent, path)
    rows.door(switch, name("transit"), name("transit-port"), f"{prefix}/transit-port", path)
    middle = rows.switch(name("link"), f"{prefix}/link", path)
    for what, host, router in (("link-edge", 1, edge), ("link-vpc", 2, side.vpc_uuid)):
        own = link(number, index, host)
        rows.router_port(router, name(what), [f"{own[0]}/29", f"{own[1]}/64"], f"{prefix}/{what}", path)
        rows.door(middle, name(what), name(f"{what}-port"), f"{prefix}/{what}-port", path)
    _routes(rows, side, far, (edge, prefix, path), number, index)
    _policies(rows, side, far, (edge, prefix, path), tenant)


def _routes(rows: Rows, side: Side, far: Side, edge: tuple[str, str, str], number: int, index: int) -> None:
    router, prefix, path = edge
    for n, family in enumerate((4, 6)):
        hops = link(number, index, 1)[n], link(number, index, 2)[n], transit(1 - index)[n]
        for remote in far.prefixes(family):
            rows.route(side.vpc_uuid, remote, hops[0], f"{prefix}/vpc/route/{remote}", path)
            rows.route(router, remote, hops[2], f"{prefix}/edge/route/{remote}", path)
        for local in side.prefixes(family):
            rows.route(router, local, hops[1], f"{prefix}/edge/route/{local}", path)


def words(prefixes: list[str]) -> str:
    return prefixes[0] if len(prefixes) == 1 else "{" + ", ".join(prefixes) + "}"


def _policies(rows: Rows, side: Side, far: Side, edge: tuple[str, str, str], tenant: Tenant) -> None:
    router, prefix, path = edge
    for family in (4, 6):
        near, away = side.prefixes(family), far.prefixes(family)
        if not near or not away:
            continue
        for what, sources, targets in (("link-edge", near, away), ("transit", away, near)):
            port = of(tenant.name, side.site, what)
            match = f'inport == "{port}" && ip{family}.src == {words(sources)} && ip{family}.dst == {words(targets)}'
            rows.policy(router, 200, match, "allow", f"{prefix}/edge/policy/{what}/{family}", path)
        entries = ", ".join(f'"{d}"' for d in [of(tenant.name, side.site, "link-vpc"), *side.doors()])
        match = f"ip{family}.dst == {words(away)}"
        enter = f"inport == {{{entries}}} && {match}"
        rows.policy(side.vpc_uuid, 2, enter, "allow", f"{prefix}/vpc/policy/{family}/enter", path)
        rows.policy(side.vpc_uuid, 1, match, "drop", f"{prefix}/vpc/policy/{family}/drop", path)
    for family in (4, 6):
        rows.policy(router, 100, f"ip{family}", "drop", f"{prefix}/edge/policy/drop/{family}", path)


def _configuration(tenants: list[Tenant], sites: list[str]) -> Configuration:
    nowhere = Endpoint(())
    return Configuration(
        sites=tuple(Site(name, "ovn", name, nowhere, nowhere) for name in sites),
        interconnects=tuple(
            Interconnect(
                t.name,
                "default",
                tuple(
                    Attachment(s.site, s.site, VpcRef(name=s.vpc), tuple(SubnetRef(name=n) for n in s.subnets))
                    for s in t.sides
                ),
            )
            for t in tenants
        ),
    )


def _listed(tenants: list[Tenant]) -> dict[tuple[str, str], tuple[Subnet, ...]]:
    return {(t.name, s.site): tuple(_subnet(s, n) for n in s.subnets) for t in tenants for s in t.sides}


def _subnet(side: Side, name: str) -> Subnet:
    prefixes = side.subnets[name]
    return Subnet(
        name,
        tuple(ip_network(p) for p in prefixes),
        tuple(ip_interface(interface(p)) for p in prefixes),
        (f"{side.vpc}-{name}",),
    )


def _vpcs(tenants: list[Tenant]) -> dict[tuple[str, str], Vpc]:
    return {
        (t.name, s.site): Vpc(s.site, s.vpc_uuid, s.vpc, tuple(_port(s, n) for n in s.subnets | s.unlisted))
        for t in tenants
        for s in t.sides
    }


def _port(side: Side, name: str) -> VpcPort:
    prefixes = (side.subnets | side.unlisted)[name]
    networks = tuple(ip_interface(interface(p)) for p in prefixes)
    return VpcPort(f"uuid-{side.vpc}-{name}", f"{side.vpc}-{name}", networks, Role.SUBNET, f"uuid-{name}", name)


def end(tenant: str, side: Side) -> End:
    subnet, second = list(side.subnets)[:2]
    return End(
        site=side.site,
        attachment=side.site,
        vpc=side.vpc,
        subnet=subnet,
        prefix=side.subnets[subnet][0],
        door=f"{side.vpc}-{subnet}",
        second=second,
        second_prefix=side.subnets[second][0],
        unlisted=next(iter(side.unlisted)),
        mine=lambda what: of(tenant, side.site, what),
    )


def cast(made: Made) -> Cast:
    (one, two), (three, four) = (t.sides for t in made.tenants)
    return Cast(
        here=end("a", one),
        there=end("a", two),
        other_here=end("b", three),
        other_there=end("b", four),
        edge_link=link(0, 0, 1)[0],
    )
