"""One site's northbound rows, read into what OVN makes of them: ports by name, addresses as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Interface, IPv6Interface

from isthmus.model.rows import Record, Snapshot, Value
from isthmus.verify.columns import (
    Interface,
    Owned,
    Secured,
    flag,
    interfaces,
    link_local,
    mac_number,
    mapping,
    owned,
    secured,
    text,
    texts,
)
from isthmus.verify.path import RowRef, row_ref

MACHINES = frozenset({"", "virtual", "localport", "external"})
"""Types of switch ports behind which there is a machine."""

_PORT_OF = {"from-lport": "inport", "to-lport": "outport"}
_GROUP = re.compile(r"(inport|outport) == (@[\w.]+)(?: && |$)")


@dataclass(frozen=True, slots=True)
class RouterPort:
    """A Logical_Router_Port that northd accepts (a readable MAC, so at least a link-local network)."""

    row: RowRef
    name: str
    router: str
    mac: int
    networks: tuple[Interface, ...]
    addresses: frozenset[tuple[int, int]]
    """(family, number) of its own addresses."""
    refused: frozenset[int]
    """Its own IPv4 addresses and the broadcast addresses of its networks: the router drops them as sources."""
    enabled: bool
    gateway: bool
    """Has gateway chassis, by rows or by group."""
    peer: str
    options: Mapping[str, str]

    def owns(self, family: int, number: int) -> bool:
        return (family, number) in self.addresses

    def member(self, family: int, number: int) -> Interface | None:
        """Its own address in a network that contains `number`."""
        for one in self.networks:
            network = one.network
            if one.version == family and not (number ^ int(network.network_address)) & int(network.netmask):
                return one
        return None


@dataclass(frozen=True, slots=True)
class SwitchPort:
    row: RowRef
    name: str
    switch: str
    type: str
    enabled: bool
    unknown: bool
    """`unknown` is among its addresses."""
    owned: tuple[Owned, ...]
    security: tuple[Secured, ...]
    options: Mapping[str, str]

    @property
    def router_port(self) -> str:
        return self.options.get("router-port", "") if self.type == "router" else ""

    @property
    def machine(self) -> bool:
        """Somebody's machine, on this chassis or another, rather than a part of the network."""
        return self.type in MACHINES


@dataclass(frozen=True, slots=True)
class Rule:
    """An ACL or a Logical_Router_Policy."""

    row: RowRef
    priority: int
    match: str
    action: str
    nexthops: tuple[str, ...] = ()
    direction: str = ""
    late: bool = False
    """An ACL with `apply-after-lb`."""
    group: str = ""
    """`@NAME` of an ACL that says nothing of ports outside of this port group."""


@dataclass(frozen=True, slots=True)
class Nat:
    row: RowRef
    type: str
    external: str
    logical: str
    port: str
    """Name of the router port that it is bound to, or ""."""
    excepted: bool
    """Has allowed_ext_ips or exempted_ext_ips."""


@dataclass(frozen=True, slots=True)
class Switch:
    row: RowRef
    name: str
    interconn: str
    """`other_config:interconn-ts`, or ""."""
    acls: Mapping[tuple[str, bool], tuple[Rule, ...]]
    """Direction, and whether `apply-after-lb` -> rules by falling priority."""
    balancers: tuple[str, ...]
    ports: list[SwitchPort] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Router:
    row: RowRef
    name: str
    record: Record
    policies: tuple[Rule, ...]
    nats: tuple[Nat, ...]
    balancers: tuple[str, ...]
    ports: list[RouterPort] = field(default_factory=list)

    @property
    def options(self) -> Mapping[str, str]:
        return mapping(self.record.get("options"))


class Zone:
    """Rows of one site's northbound database, indexed. Disabled routers are not there, as for northd."""

    def __init__(self, site: str, snapshot: Snapshot) -> None:
        self.site = site
        self.snapshot = snapshot
        self.switches: dict[str, Switch] = {}
        self.routers: dict[str, Router] = {}
        self.router_ports: dict[str, RouterPort] = {}
        self.switch_ports: dict[str, SwitchPort] = {}
        self.doors: dict[str, list[SwitchPort]] = {}
        """Router port's name -> the switch ports that name it."""
        self._rules: dict[str, Rule] = {}
        self.sets = self._sets()
        self.default_drop = any(
            mapping(r.get("options")).get("default_acl_drop") == "true" for r in self.table("NB_Global").values()
        )
        for uuid, record in self.table("Logical_Router").items():
            if flag(record.get("enabled"), True):
                self._router(uuid, record)
        group_acls = self._group_acls()
        for uuid, record in self.table("Logical_Switch").items():
            self._switch(uuid, record, group_acls)

    @cached_property
    def memberships(self) -> Mapping[str, frozenset[str]]:
        """Switch port's name -> port groups that it is in, as `@NAME`."""
        found: dict[str, set[str]] = {}
        for group, members in self.sets.items():
            if group.startswith("@"):
                for member in members:
                    found.setdefault(member, set()).add(group)
        return {name: frozenset(groups) for name, groups in found.items()}

    @cached_property
    def told(self) -> Mapping[tuple[str, int, int], int]:
        """(router port, family, address) -> the MAC that a row says it has, above what the router learns."""
        found: dict[tuple[str, int, int], int] = {}
        for record in self.table("Static_MAC_Binding").values():
            mac = mac_number(text(record.get("mac")))
            if mac is not None and record.get("override_dynamic_mac") is True:
                for one in interfaces((text(record.get("ip")),)):
                    found[text(record.get("logical_port")), one.version, int(one.ip)] = mac
        return found

    def table(self, name: str) -> Mapping[str, Record]:
        return self.snapshot.get(name, {})

    def ref(self, table: str, uuid: str, name: str = "") -> RowRef:
        return row_ref(self.site, table, uuid, self.table(table)[uuid], name)

    def children(self, table: str, value: Value) -> Iterator[tuple[str, Record]]:
        """Rows of `table` that a column refers to, by UUID; a dangling reference is passed over."""
        rows = self.table(table)
        for uuid in texts(value):
            if uuid in rows:
                yield uuid, rows[uuid]

    def _router(self, uuid: str, record: Record) -> None:
        ref = self.ref("Logical_Router", uuid)
        router = Router(
            ref,
            ref.name,
            record,
            tuple(sorted(self._policies(record), key=lambda r: -r.priority)),
            tuple(self._nats(record)),
            self._balancers(record),
        )
        self.routers[uuid] = router
        for port_uuid, port in self.children("Logical_Router_Port", record.get("ports")):
            mac = mac_number(text(port.get("mac")))
            if mac is None:
                continue
            made = self._router_port(port_uuid, port, uuid, mac)
            router.ports.append(made)
            self.router_ports[made.name] = made

    def _router_port(self, uuid: str, record: Record, router: str, mac: int) -> RouterPort:
        ref = self.ref("Logical_Router_Port", uuid)
        networks = (*interfaces(texts(record.get("networks"))), link_local(mac))
        return RouterPort(
            row=ref,
            name=ref.name,
            router=router,
            mac=mac,
            networks=networks,
            addresses=frozenset((n.version, int(n.ip)) for n in networks),
            refused=frozenset(int(a) for n in networks if n.version == 4 for a in (n.ip, n.network.broadcast_address)),
            enabled=flag(record.get("enabled"), True),
            gateway=bool(texts(record.get("gateway_chassis")) or texts(record.get("ha_chassis_group"))),
            peer=text(record.get("peer")),
            options=mapping(record.get("options")),
        )

    def _policies(self, record: Record) -> Iterator[Rule]:
        for uuid, policy in self.children("Logical_Router_Policy", record.get("policies")):
            priority, match, action = _number(policy), text(policy.get("match")), text(policy.get("action"))
            hops = texts(policy.get("nexthops")) or texts(policy.get("nexthop"))
            name = f"{priority} {match} {action}"
            yield Rule(self.ref("Logical_Router_Policy", uuid, name), priority, match, action, hops)

    def _nats(self, record: Record) -> Iterator[Nat]:
        for uuid, nat in self.children("NAT", record.get("nat")):
            kind, external, logical = (text(nat.get(c)) for c in ("type", "external_ip", "logical_ip"))
            gateway = self.table("Logical_Router_Port").get(text(nat.get("gateway_port")), {})
            excepted = bool(texts(nat.get("allowed_ext_ips")) or texts(nat.get("exempted_ext_ips")))
            ref = self.ref("NAT", uuid, f"{kind} {logical} {external}")
            yield Nat(ref, kind, external, logical, text(gateway.get("name")), excepted)

    def _balancers(self, record: Record) -> tuple[str, ...]:
        found = list(texts(record.get("load_balancer")))
        for _uuid, group in self.children("Load_Balancer_Group", record.get("load_balancer_group")):
            found += texts(group.get("load_balancer"))
        return tuple(found)

    def _switch(self, uuid: str, record: Record, group_acls: Mapping[str, tuple[str, ...]]) -> None:
        ref = self.ref("Logical_Switch", uuid)
        acls = set(texts(record.get("acls")))
        for member in texts(record.get("ports")):
            acls.update(group_acls.get(member, ()))
        stages: dict[tuple[str, bool], tuple[Rule, ...]] = {}
        for rule in sorted((self._acl(a) for a in sorted(acls) if a in self.table("ACL")), key=lambda r: -r.priority):
            stage = rule.direction, rule.late
            stages[stage] = (*stages.get(stage, ()), rule)
        interconn = mapping(record.get("other_config")).get("interconn-ts", "")
        switch = Switch(ref, ref.name, interconn, stages, self._balancers(record))
        self.switches[uuid] = switch
        for port_uuid, port in self.children("Logical_Switch_Port", record.get("ports")):
            lsp = self._switch_port(port_uuid, port, uuid)
            switch.ports.append(lsp)
            self.switch_ports[lsp.name] = lsp
            if lsp.router_port:
                self.doors.setdefault(lsp.router_port, []).append(lsp)

    def _acl(self, uuid: str) -> Rule:
        if uuid not in self._rules:  # an ACL of a port group is on every switch that has one of its ports
            self._rules[uuid] = self._read_acl(self.table("ACL")[uuid], uuid)
        return self._rules[uuid]

    def _read_acl(self, acl: Record, uuid: str) -> Rule:
        priority, match, action = _number(acl), text(acl.get("match")), text(acl.get("action"))
        direction = text(acl.get("direction"))
        late = mapping(acl.get("options")).get("apply-after-lb") == "true"
        name = text(acl.get("name")) or f"{direction} {priority} {match} {action}"
        found = _GROUP.match(match)
        group = found[2] if found and found[1] == _PORT_OF.get(direction) else ""
        ref = self.ref("ACL", uuid, name)
        return Rule(ref, priority, match, action, direction=direction, late=late, group=group)

    def _switch_port(self, uuid: str, record: Record, switch: str) -> SwitchPort:
        ref = self.ref("Logical_Switch_Port", uuid)
        options, kind = mapping(record.get("options")), text(record.get("type"))
        words = texts(record.get("addresses"))
        found = [owned(w) for w in words] + [owned(text(record.get("dynamic_addresses")))]
        peer = self.router_ports.get(options.get("router-port", "")) if kind == "router" else None
        if peer is not None and "router" in words:
            found.append(Owned(peer.mac, peer.addresses))
        security = [secured(w) for w in texts(record.get("port_security"))]
        return SwitchPort(
            row=ref,
            name=ref.name,
            switch=switch,
            type=kind,
            enabled=flag(record.get("enabled"), True),
            unknown="unknown" in words,
            owned=tuple(o for o in found if o is not None),
            security=tuple(s for s in security if s is not None),
            options=options,
        )

    def _group_acls(self) -> dict[str, tuple[str, ...]]:
        """Switch port's UUID -> ACLs of the port groups that it is in."""
        found: dict[str, tuple[str, ...]] = {}
        for group in self.table("Port_Group").values():
            acls = texts(group.get("acls"))
            for port in texts(group.get("ports")):
                found[port] = found.get(port, ()) + acls
        return found

    def _sets(self) -> dict[str, frozenset[str]]:
        """Address sets by name, port groups by `@name`, and the address sets that northd makes of port groups."""
        found = {text(r.get("name")): frozenset(texts(r.get("addresses"))) for r in self.table("Address_Set").values()}
        for group in self.table("Port_Group").values():
            name = text(group.get("name"))
            ports = list(self.children("Logical_Switch_Port", group.get("ports")))
            found[f"@{name}"] = frozenset(text(p.get("name")) for _uuid, p in ports)
            numbers = [o for _uuid, p in ports for w in texts(p.get("addresses")) if (o := owned(w))]
            for family, suffix in ((4, "ip4"), (6, "ip6")):
                words = {_word(f, n) for o in numbers for f, n in o.addresses if f == family}
                found.setdefault(f"{name}_{suffix}", frozenset(words))
        return found


def _number(record: Record) -> int:
    value = record.get("priority")
    return value if isinstance(value, int) else 0


def _word(family: int, number: int) -> str:
    return str(IPv4Interface(number).ip if family == 4 else IPv6Interface(number).ip)
