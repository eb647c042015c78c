"""The VPC's side of a link where Neutron keeps the router: objects of its API (ADR 0014), and one pair of policies.

Tables and columns are Neutron's own words. What every object carries besides is in `backends.openstack.marks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import collapse_addresses

from isthmus.compile import link, names, policies
from isthmus.compile.edge import Maker
from isthmus.compile.routes import away
from isthmus.compile.view import Defined, Joined, Side
from isthmus.model.facts import Interface
from isthmus.model.intent import Prefix
from isthmus.model.rows import Parent, Row, Value, neutron

PEERS = "peers"
"""Of the address group that holds what the other sides list."""


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    maker = _Maker(joined, side)
    yield from _link(joined, side, maker)
    for defined in side.defined:
        yield from _subnet(side, maker, defined)
    yield from _admission(joined, side, maker)
    yield from _ways(joined, side, maker)


class _Maker(Maker):
    """Makes objects of Neutron: all in the site's own database of that name."""

    def __init__(self, joined: Joined, side: Side) -> None:
        super().__init__(joined, side)
        self.database = neutron(side.site)

    def on_router(self, column: str) -> Parent:
        return Parent("router", column, uuid=self.side.vpc.uuid)

    def interface(self, what: str, network: str, address: Interface, mac: str = "", path: str = "") -> Row:
        """A port of the router on a network of ours; without `mac` Neutron chooses."""
        columns: dict[str, Value] = {
            "router": self.side.vpc.uuid,
            "fixed_ips": frozenset({str(address.ip)}),
        }
        if mac:
            columns |= {"mac_address": mac, "name": self.name(what)}
        return self.row("router_interface", what, columns, Parent("network", "ports", key=self.key(network)), path)


def exact(prefixes: list[Prefix]) -> list[Prefix]:
    """The fewest prefixes that cover the same addresses and no other: routers have room for few routes.

    >>> from ipaddress import ip_network as n
    >>> exact([n("10.0.1.0/24"), n("10.0.0.0/24"), n("fd00::/64"), n("10.0.2.0/24")])
    [IPv4Network('10.0.0.0/23'), IPv4Network('10.0.2.0/24'), IPv6Network('fd00::/64')]
    """
    found: list[Prefix] = []
    for version in (4, 6):
        found += collapse_addresses(p for p in prefixes if p.version == version)  # type: ignore[type-var]
    return found


def _link(joined: Joined, side: Side, maker: _Maker) -> Iterator[Row]:
    """A network without DHCP. Neutron has one address a family to give; the others are the edge's and the probes'."""
    here = joined.link(side, link.VPC)
    yield maker.row("network", "link", {"name": maker.name("link"), "project": ""})
    for address in here:
        yield _range(maker, f"link/{address.version}", "link", maker.name("link"), address.network, str(address.ip), "")
        what = link.vpc_port(side, address.version)
        yield maker.interface(what, "link", address, maker.mac(what))


def _range(maker: _Maker, what: str, network: str, name: str, cidr: Prefix, pool: str, gateway: str) -> Row:
    """A subnet of Neutron's. `pool`: the only address that Neutron gives; "" for all of them, and then by DHCP."""
    columns: Mapping[str, Value] = {"name": name, "cidr": str(cidr), "gateway_ip": gateway, "pool": pool}
    return maker.row("subnet", what, columns, Parent("network", "subnets", key=maker.key(network)))


def _subnet(side: Side, maker: _Maker, defined: Defined) -> Iterator[Row]:
    """In the router's own project, under the name that the user gave: it is hers."""
    what, path = f"subnet/{names.short(defined.name)}", f"{maker.path}.subnets[{defined.name}]"
    yield maker.row("network", what, {"name": defined.name, "project": side.vpc.project}, path=path)
    for network in defined.networks:
        yield _range(maker, f"{what}/{network.version}", what, defined.name, network.network, "", str(network.ip))
        yield maker.interface(f"{what}/gateway/{network.version}", what, network, path=path)


def _ways(joined: Joined, side: Side, maker: _Maker) -> Iterator[Row]:
    """Routes to the edge, and the guard before them; when the router has its port on the link, and not before.

    Policies are all that Neutron leaves alone on its routers, and all that keeps a neighbour from lying (ADR 0016).
    They name the port, which Neutron names, and are written before the routes are asked for.
    """
    ports: dict[int, str] = {
        n.version: p.name for p in side.vpc.ports if p.owned == maker.key("link") for n in p.networks
    }
    yield from link.neighbours(joined, side, ports)
    router = Parent("Logical_Router", "policies", name=f"neutron-{side.vpc.uuid}")
    yield from policies.on_vpc(joined, side, ports, router)
    edge = {i.version: str(i.ip) for i in joined.link(side, link.EDGE)}
    for prefix in (p for p in exact(away(joined, side)) if p.version in ports):
        columns: Mapping[str, Value] = {"destination": str(prefix), "nexthop": edge[prefix.version]}
        yield maker.row("extra_route", f"vpc/route/{prefix}", columns, maker.on_router("routes"))


def _admission(joined: Joined, side: Side, maker: _Maker) -> Iterator[Row]:
    """What the other sides list, as an address group for the project's rules; and rules of ours, where asked for."""
    prefixes = exact([p for other in joined.others(side) for p in other.prefixes])
    columns: Mapping[str, Value] = {
        "name": maker.name(PEERS),
        "addresses": frozenset(map(str, prefixes)),
        "project": side.vpc.project,
    }
    yield maker.row("address_group", PEERS, columns)
    path = f"{maker.path}.securityGroups"
    for group in side.security_groups:
        for version in sorted({p.version for p in prefixes}):
            columns = {"ethertype": f"IPv{version}", "remote_address_group": maker.key(PEERS)}
            parent = Parent("security_group", "rules", uuid=group)
            yield maker.row("security_group_rule", f"admit/{group}/{version}", columns, parent, path)
