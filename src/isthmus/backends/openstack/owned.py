"""Which objects in Neutron are ours: by our mark, in the project where we make such things, on networks that are ours.

Anybody may write our mark into the description of an object of her own. It then is in her project, where nothing but
what we make there for her is looked for; and what bears a mark that nothing asks for is removed: her own object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network

from isthmus.backends.changes import is_subnet
from isthmus.backends.openstack.listing import INTERFACE, Listing, Object
from isthmus.backends.openstack.marks import key_of

Place = tuple[str, str]
"""(table, key), as in `model.rows.Row`."""

Owned = Mapping[str, Mapping[Place, tuple[Object, ...]]]
"""Interconnect -> place -> objects; more than one where a call came twice, or somebody imitated a mark."""


def owned(listing: Listing, owner: str) -> Owned:
    """Everything of this owner. An extra route is `{id, router, destination, nexthop}`: Neutron gives it no id.

    Of two that came by one call sent twice the one that is used comes first.
    """
    found: dict[str, dict[Place, tuple[Object, ...]]] = defaultdict(dict)
    used = {*listing.network_routers}
    used |= {rule["remote_address_group_id"] for rule in listing.tables["security_group_rule"].values()}
    for table, key, one in sorted(_all(listing, owner), key=lambda o: (o[2]["id"] not in used, str(o[2]["id"]))):
        mine = found[key.partition("/")[0]]
        mine[table, key] = (*mine.get((table, key), ()), one)
    return found


def _all(listing: Listing, owner: str) -> Iterator[tuple[str, str, Object]]:
    tables = listing.tables
    networks = {i: key for i, n in tables["network"].items() if (key := network_key(listing, owner, n))}
    for i, key in networks.items():
        yield "network", key, tables["network"][i]
        yield from _marked("subnet", owner, listing.network_subnets.get(i, ()))
    for port in tables["port"].values():
        if key := networks.get(port["network_id"], ""):
            yield from _interfaces(owner, key, port)
    yield from _routes(listing, networks)
    yield from _marked("address_group", owner, tables["address_group"].values())
    yield from _marked("security_group_rule", owner, tables["security_group_rule"].values())


def _marked(table: str, owner: str, objects: Iterable[Object]) -> Iterator[tuple[str, str, Object]]:
    for one in objects:
        if key := key_of(owner, one):
            yield table, key, one


def _interfaces(owner: str, network: str, port: Object) -> Iterator[tuple[str, str, Object]]:
    """Neutron makes the router's ports on subnets that we defined itself, without a word of ours."""
    if is_subnet(network):
        for version in _versions(port) if port["device_owner"] == INTERFACE else ():
            yield "router_interface", f"{network}/gateway/{version}", port
    else:
        yield from _marked("router_interface", owner, (port,))


def network_key(listing: Listing, owner: str, network: Object) -> str:
    """The key of a network of ours, or "". Links are in our own project, where no tenant can put anything."""
    key = key_of(owner, network)
    return key if key and (is_subnet(key) or network["project_id"] == listing.project) else ""


def _versions(port: Object) -> list[int]:
    return sorted({ip_address(f["ip_address"]).version for f in port["fixed_ips"]})


def _routes(listing: Listing, networks: Mapping[str, str]) -> Iterator[tuple[str, str, Object]]:
    """Routes to an edge: what goes to an address of our link on that router can be nobody else's."""
    for router, ports in listing.router_ports.items():
        links = [
            (ip_network(subnet["cidr"]), key.rpartition("/")[0])
            for port in ports
            if (key := networks.get(port["network_id"], "")) and not is_subnet(key)
            for subnet in listing.network_subnets.get(port["network_id"], ())
        ]
        for route in listing.tables["router"].get(router, {}).get("routes", ()) if links else ():
            hop = ip_address(route["nexthop"])
            for cidr, attachment in links:
                if hop in cidr:
                    yield "extra_route", f"{attachment}/vpc/route/{route['destination']}", route_object(router, route)


def route_object(router: str, route: Mapping[str, str]) -> Object:
    destination, nexthop = route["destination"], route["nexthop"]
    return {
        "id": f"{router} {destination} {nexthop}", "router": router, "destination": destination, "nexthop": nexthop
    }  # fmt: skip


def compared(route: Mapping[str, str]) -> tuple[str, str]:
    """Destination and next hop of a route in one spelling: Neutron keeps both as they were written."""
    return str(ip_network(route["destination"], strict=False)), str(ip_address(route["nexthop"]))
