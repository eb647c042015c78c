"""What a node needs to reach Pods, and they it, as the southbound database says: rows in, plain data out.

The node has a door, an internal port of its bridge, into the default VPC (`ovn0`, by which it reaches all its Pods, and
`isthmus0`, by which they reach it), and one into every other VPC that a Pod of this node is in: that one leads to Pods
of this node only, and lets nothing out but replies and requests to the API server. ADR 0021.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from isthmus.agent.netlink import Way
from isthmus.compile.networks import GATEWAYS, IN_VPC, MTU, NAT, ROUTES, UID
from isthmus.compile.nodes import API, SERVICE, VPC
from isthmus.model.facts import Interface
from isthmus.model.intent import DEFAULT_MTU, Address, Prefix
from isthmus.model.networks import DEFAULT_VPC
from isthmus.model.rows import Record, mapping

NODE_DEVICE, OUT_DEVICE = "ovn0", "isthmus0"
"""Of the default VPC; the first is called as in Kube-OVN."""
TENANT = "isv"
"""Names of doors into other VPCs begin so."""
MARK = "0x6973"
"""Of connections that the node makes to API servers for Pods."""
Socket = tuple[Address, int]
"""Address and port."""


@dataclass(frozen=True, slots=True)
class Door:
    """An internal port of the bridge. `addresses` are the node's own there, `gateways` the router's; MTU in bytes."""

    device: str
    port: str
    mac: str
    addresses: tuple[Address, ...]
    gateways: tuple[Interface, ...]
    mtu: int

    def way(self, to: Prefix) -> Way | None:
        """To a network behind the router; None where the door has no address of that family."""
        via = next((g.ip for g in self.gateways if g.version == to.version), None)
        source = next((a for a in self.addresses if a.version == to.version), None)
        return Way(to, self.device, via, source) if via is not None and source is not None else None


@dataclass(frozen=True, slots=True)
class HostPath:
    """Everything of it.

    routes  of our table, where longest prefixes win
    rules   a script for nft(8) that puts our table in place
    forward IP versions in which the node is a router
    """

    doors: tuple[Door, ...] = ()
    routes: frozenset[Way] = frozenset()
    rules: str = ""
    forward: frozenset[int] = frozenset()


def host_path(bindings: Iterable[Record], names: frozenset[str]) -> HostPath:
    """From the Port_Bindings of a chassis known by `names`: its Pods' and its own ports, and the ways into VPCs."""
    node: Record | None = None
    links: dict[str, Record] = {}
    pods: dict[str, set[Address]] = defaultdict(set)
    for row in bindings:
        ids = mapping(row["external_ids"])
        if row["type"] == "localport":
            if VPC in ids:
                links[ids[VPC]] = row
        elif UID in ids and mapping(row["options"]).get("requested-chassis") in names:
            if ROUTES in ids:
                node = row
            else:
                pods[ids.get(IN_VPC, "")].update(_addresses(row))
    tenants = {v: _door(tenant_device(v), links[v]) for v in sorted(pods.keys() & links.keys()) if v != DEFAULT_VPC}
    doors = list(tenants.values())
    doors += [_door(OUT_DEVICE, links[DEFAULT_VPC])] if DEFAULT_VPC in links else []
    behind: list[Prefix] = []
    nat: list[Prefix] = []
    own = _door(NODE_DEVICE, node) if node is not None else None
    if own is not None and node is not None:
        ids = mapping(node["external_ids"])
        behind = [*_networks(ids[ROUTES]), *(g.network for g in own.gateways)]
        nat = list(_networks(ids.get(NAT, "")))
        doors.append(own)
    routes = set(_routes(tenants, {v: pods[v] for v in tenants}, behind))
    routes |= {way for to in behind if own is not None and (way := own.way(to))}
    if not doors:
        return HostPath()
    said = next((mapping(row["external_ids"]) for row in links.values()), {})
    service, api = _sockets(said.get(SERVICE, "")), _sockets(said.get(API, ""))
    forward = frozenset(n.version for n in nat) | frozenset(a.version for a, _ in api)
    rules = "\n".join(_rules(service, api, nat, behind)) + "\n"
    return HostPath(tuple(sorted(doors, key=lambda d: d.device)), frozenset(routes), rules, forward)


def tenant_device(vpc: str) -> str:
    """The door into a VPC: at most 15 characters, as the kernel has them."""
    return TENANT + hashlib.sha256(vpc.encode()).hexdigest()[:11]


def _routes(doors: Mapping[str, Door], pods: Mapping[str, set[Address]], shared: Iterable[Prefix]) -> Iterator[Way]:
    """To every Pod of this node by its own VPC's door; to an address that could be two Pods', nowhere.

    shared  networks of the default VPC, any address of which a Pod elsewhere may have
    """
    owners: dict[Address, list[Door]] = defaultdict(list)
    for vpc, addresses in pods.items():
        for address in addresses:
            owners[address].append(doors[vpc])
    networks = list(shared)
    for address, candidates in owners.items():
        to = ip_network(address)
        alone = len(candidates) == 1 and not any(address in n for n in networks if n.version == address.version)
        yield (candidates[0].way(to) if alone else None) or Way(to)


def _rules(service: list[Socket], api: list[Socket], nat: list[Prefix], behind: list[Prefix]) -> Iterator[str]:
    """Nothing goes from one VPC to another, and into the node nothing but what it asked for.

    What comes out of a tenant's door is stopped before anybody else's rules could send it on.
    """
    tenants, ours = f'"{TENANT}*"', f'{{ "{TENANT}*", "{OUT_DEVICE}" }}'
    yield "table inet isthmus"
    yield "delete table inet isthmus"
    yield "table inet isthmus {"
    yield "chain prerouting {"
    yield "type filter hook prerouting priority mangle; policy accept;"
    yield f"iifname {tenants} ct state established,related accept"
    for vip, port in service:
        yield f"iifname {tenants} {_ip(vip.version)} daddr {vip} tcp dport {port} accept"
    yield f"iifname {tenants} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept"
    yield f"iifname {tenants} drop"
    yield "}"
    yield "chain forward {"
    yield "type filter hook forward priority filter; policy accept;"
    yield f"oifname {tenants} ct state {{ invalid, new, untracked }} drop"
    yield "}"
    yield "chain dstnat {"
    yield "type nat hook prerouting priority dstnat - 10; policy accept;"
    for vip, port in service:
        servers = [(address, number) for address, number in api if address.version == vip.version]
        choice = ", ".join(f"{turn} : {address} . {number}" for turn, (address, number) in enumerate(servers))
        if servers:
            ip = _ip(vip.version)
            to = f"dnat {ip} addr . port to numgen random mod {len(servers)} map {{ {choice} }}"
            yield f"iifname {ours} {ip} daddr {vip} tcp dport {port} ct mark set {MARK} {to}"
    yield "}"
    yield "chain srcnat {"
    yield "type nat hook postrouting priority srcnat; policy accept;"
    yield f"ct mark {MARK} masquerade"
    for version in (4, 6):
        sources, inside = (_set(n for n in some if n.version == version) for some in (nat, behind))
        if sources:
            ip, out = _ip(version), f'oifname != {{ "{NODE_DEVICE}", "{OUT_DEVICE}" }}'
            yield f"{out} {ip} saddr {sources} {ip} daddr != {inside} masquerade"
    yield "}"
    yield "}"


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _set(networks: Iterable[Prefix]) -> str:
    words = ", ".join(map(str, networks))
    return f"{{ {words} }}" if words else ""


def _door(device: str, row: Record) -> Door:
    ids = mapping(row["external_ids"])
    mac, *addresses = _words(row)
    gateways = tuple(ip_interface(text) for text in ids.get(GATEWAYS, "").split())
    mtu = int(ids.get(MTU, "0")) or DEFAULT_MTU
    return Door(device, str(row["logical_port"]), mac, tuple(map(ip_address, addresses)), gateways, mtu)


def _addresses(row: Record) -> list[Address]:
    return [ip_address(word) for word in _words(row)[1:]]


def _words(row: Record) -> list[str]:
    """MAC and addresses of a port."""
    macs = row["mac"]
    assert isinstance(macs, frozenset)
    return str(next(iter(macs), "")).split()


def _networks(text: str) -> Iterator[Prefix]:
    return map(ip_network, text.split())


def _sockets(text: str) -> list[Socket]:
    pairs = [part.split() for part in text.split(",") if part]
    return [(ip_address(address), int(port)) for address, port in pairs]
