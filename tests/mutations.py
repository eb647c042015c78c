"""Ways to break an interconnect, or to make it leak: a table for unit tests on snapshots and for the lab on databases.

A mutation is a list of operations on rows found by what they hold. `mutate` applies them to a snapshot; `nbctl` says
them as ovn-nbctl commands for a real database with the same rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

Snapshot = Mapping[str, Mapping[str, Mapping[str, Any]]]
Where = Mapping[str, str]
"""Column -> text that its value must be (`name`) or contain (`match~`); `key` is the isthmus:key."""

CHILDREN = {
    "Logical_Router_Static_Route": ("Logical_Router", "static_routes"),
    "Logical_Router_Policy": ("Logical_Router", "policies"),
    "Logical_Router_Port": ("Logical_Router", "ports"),
    "Logical_Switch_Port": ("Logical_Switch", "ports"),
    "Gateway_Chassis": ("Logical_Router_Port", "gateway_chassis"),
    "ACL": ("Logical_Switch", "acls"),
    "Load_Balancer": ("Logical_Switch", "load_balancer"),
}


@dataclass(frozen=True)
class Delete:
    table: str
    where: Where


@dataclass(frozen=True)
class Update:
    table: str
    where: Where
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Insert:
    table: str
    columns: Mapping[str, Any]
    parent: Where
    """The row of the parent table that gets it."""


Operation = Delete | Update | Insert


@dataclass(frozen=True)
class Mutation:
    """What happens, to which site's rows, and what must be found.

    foreign  it touches or adds rows that are not ours
    leaks    packets of a tenant, or of a subnet that nobody listed, arrive where they must not
    pair     (from, to): names of subnets, one of the pairs that must be named
    table    table of the row that must be named for that pair, "" where any will do
    """

    name: str
    site: str
    operations: tuple[Operation, ...]
    pair: tuple[str, str]
    foreign: bool = False
    leaks: bool = False
    table: str = ""
    also: tuple[tuple[str, Operation], ...] = field(default=())
    """Operations on other sites."""

    def all(self) -> Iterator[tuple[str, Operation]]:
        yield from ((self.site, o) for o in self.operations)
        yield from self.also


def found(snapshot: Snapshot, table: str, where: Where) -> list[str]:
    """UUIDs of the rows that match."""
    return [uuid for uuid, row in snapshot.get(table, {}).items() if _matches(row, where)]


def _matches(row: Mapping[str, Any], where: Where) -> bool:
    for column, wanted in where.items():
        if column == "key":
            if row.get("external_ids", {}).get("isthmus:key") != wanted:
                return False
        elif column.endswith("~"):
            if wanted not in str(row.get(column[:-1], "")):
                return False
        elif str(row.get(column, "")) != wanted:
            return False
    return True


def mutate(sites: Mapping[str, Snapshot], mutation: Mutation) -> dict[str, Snapshot]:
    """A copy of all sites' rows with the mutation done. Every operation must find a row."""
    copied: dict[str, Any] = copy.deepcopy(dict(sites))
    for site, operation in mutation.all():
        _apply(copied[site], operation)
    return copied


def apply(rows: Snapshot, operations: Iterable[Operation]) -> dict[str, Any]:
    """A copy of one site's rows with operations done."""
    copied: dict[str, Any] = copy.deepcopy(dict(rows))
    for operation in operations:
        _apply(copied, operation)
    return copied


def _apply(rows: dict[str, dict[str, dict[str, Any]]], operation: Operation) -> None:
    if isinstance(operation, Insert):
        _insert(rows, operation)
        return
    uuids = found(rows, operation.table, operation.where)
    assert uuids, f"no row for {operation}"
    for uuid in uuids:
        if isinstance(operation, Update):
            rows[operation.table][uuid].update(operation.columns)
            continue
        del rows[operation.table][uuid]
        if operation.table in CHILDREN:
            table, column = CHILDREN[operation.table]
            for row in rows.get(table, {}).values():
                row[column] = row.get(column, frozenset()) - {uuid}


def _insert(rows: dict[str, dict[str, dict[str, Any]]], operation: Insert) -> None:
    uuid = str(uuid5(NAMESPACE_URL, f"{operation.table}/{sorted(map(str, operation.columns.items()))}"))
    rows.setdefault(operation.table, {})[uuid] = {"_uuid": uuid, "external_ids": {}, **operation.columns}
    table, column = CHILDREN[operation.table]
    parents = found(rows, table, operation.parent)
    assert len(parents) == 1, f"{len(parents)} parents for {operation}"
    row = rows[table][parents[0]]
    row[column] = row.get(column, frozenset()) | {uuid}


def nbctl(snapshot: Snapshot, operations: tuple[Operation, ...]) -> list[list[str]]:
    """The same as ovn-nbctl commands on a database whose rows `snapshot` shows."""
    commands: list[list[str]] = []
    for number, operation in enumerate(operations):
        if isinstance(operation, Insert):
            table, column = CHILDREN[operation.table]
            parent = found(snapshot, table, operation.parent)[0]
            words = [f"{c}={literal(v)}" for c, v in operation.columns.items()]
            commands.append([f"--id=@new{number}", "create", operation.table, *words])
            commands.append(["add", table, parent, column, f"@new{number}"])
            continue
        for uuid in found(snapshot, operation.table, operation.where):
            if isinstance(operation, Update):
                commands += _set(operation, uuid)
            elif operation.table in CHILDREN:
                commands += _remove(snapshot, operation.table, uuid)
            else:
                commands.append(["destroy", operation.table, uuid])
    return commands


def _set(operation: Update, uuid: str) -> Iterator[list[str]]:
    for column, content in operation.columns.items():
        if content in (None, frozenset(), {}):
            yield ["clear", operation.table, uuid, column]
        else:
            yield ["set", operation.table, uuid, f"{column}={literal(content)}"]


def _remove(snapshot: Snapshot, table: str, uuid: str) -> Iterator[list[str]]:
    parent, column = CHILDREN[table]
    for owner, row in snapshot.get(parent, {}).items():
        if uuid in (row.get(column) or ()):
            yield ["remove", parent, owner, column, uuid]


def literal(value: Any) -> str:
    if isinstance(value, frozenset):
        return "[" + ",".join(literal(v) for v in sorted(value, key=str)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f'"{k}"="{v}"' for k, v in sorted(value.items())) + "}"
    if isinstance(value, bool | int):
        return str(value).lower()
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


@dataclass(frozen=True)
class End:
    """One side of a tenant, as mutations need it. `subnet` and `second` are two listed IPv4 subnets."""

    site: str
    attachment: str
    vpc: str
    subnet: str
    prefix: str
    door: str
    """The VPC router's port to `subnet`."""
    second: str
    second_prefix: str
    unlisted: str
    mine: Callable[[str], str]
    """What of an Attachment (`edge`, `transit`) -> its name."""

    @property
    def key(self) -> str:
        return self.mine("edge").split(".")[1] + "/" + self.attachment


@dataclass(frozen=True)
class Cast:
    """Tenant `a` with sides `here` and `there`, tenant `b` with the same; addresses of a's edges."""

    here: End
    there: End
    other_here: End
    other_there: End
    edge_link: str
    """The edge's address on the link, here."""


ROUTE, POLICY, LRP, LSP = (
    "Logical_Router_Static_Route",
    "Logical_Router_Policy",
    "Logical_Router_Port",
    "Logical_Switch_Port",
)
ROUTER, SWITCH = "Logical_Router", "Logical_Switch"


def mutations(cast: Cast) -> list[Mutation]:
    return [*_on_ours(cast), *_on_foreign(cast), *_by_protocol(cast), *_leaks(cast)]


def _on_ours(c: Cast) -> Iterator[Mutation]:
    here, there = c.here, c.there
    to, back = (here.subnet, there.subnet), (there.subnet, here.subnet)
    key = here.key

    def one(name: str, *operations: Operation, pair: tuple[str, str] = to, table: str = "") -> Mutation:
        return Mutation(name, here.site, operations, pair, table=table)

    vpc_route = {"key": f"{key}/vpc/route/{there.prefix}"}
    edge_route = {"key": f"{key}/edge/route/{there.prefix}"}
    local_route = {"key": f"{key}/edge/route/{here.prefix}"}
    edge, transit = {"name": here.mine("edge")}, {"name": here.mine("transit")}
    yield one("VPC route deleted", Delete(ROUTE, vpc_route), table=ROUTER)
    yield one("edge route to the far side deleted", Delete(ROUTE, edge_route), table=ROUTER)
    yield one("edge route to the near side deleted", Delete(ROUTE, local_route), pair=back, table=ROUTER)
    yield one(
        "VPC route with a wrong next hop", Update(ROUTE, vpc_route, {"nexthop": _next(c.edge_link)}), table=SWITCH
    )
    yield one("VPC route made a discard", Update(ROUTE, vpc_route, {"nexthop": "discard"}), table=ROUTE)
    yield one("VPC route cut to half", Update(ROUTE, vpc_route, {"ip_prefix": _half(there.prefix)}))
    yield one("VPC route moved to a route table", Update(ROUTE, vpc_route, {"route_table": "t9"}), table=ROUTER)
    yield one("VPC route made a source route", Update(ROUTE, vpc_route, {"policy": "src-ip"}), table=ROUTER)
    yield one("edge route with a next hop nowhere", Update(ROUTE, edge_route, {"nexthop": "192.0.2.99"}), table=ROUTER)
    yield one("edge's allow policies deleted", Delete(POLICY, {"match~": here.mine("link-edge")}), table=POLICY)
    yield one("edge's policies for the way in deleted", Delete(POLICY, {"match~": here.mine("transit")}), pair=back)
    yield one("edge disabled", Update(ROUTER, edge, {"enabled": False}))
    yield one("transit port disabled", Update(LRP, transit, {"enabled": False}), table=LRP)
    yield one("transit port's network changed", Update(LRP, transit, {"networks": frozenset({"198.51.100.1/24"})}))
    yield one("gateway chassis removed", Update(LRP, transit, {"gateway_chassis": frozenset()}), pair=back, table=LRP)
    door = {"name": here.mine("transit-port")}
    yield one("transit switch's port disabled", Update(LSP, door, {"enabled": False}))
    yield one("transit switch's port of another type", Update(LSP, door, {"type": "localnet", "options": {}}))
    yield one("link's port with another MAC", Update(LSP, {"name": here.mine("link-edge-port")}, _mac()))
    yield one("link's router port on the VPC router deleted", Delete(LRP, {"name": here.mine("link-vpc")}))
    yield one("allow policy made a match that OVN refuses", _refused(here), table=POLICY)
    yield one("allow policy made unreadable", _unreadable(here), table=POLICY)


def _mac() -> dict[str, Any]:
    return {"addresses": frozenset({"02:00:00:00:00:99"})}


def _refused(here: End) -> Operation:
    match = f'inport != "{here.mine("transit")}" && ip4'
    return Update(POLICY, {"match~": f'inport == "{here.mine("link-edge")}" && ip4'}, {"match": match})


def _unreadable(here: End) -> Operation:
    where = {"match~": f'inport == "{here.mine("link-edge")}" && ip4'}
    return Update(POLICY, where, {"match": "reg9[3] == 1 && ip4"})


def _on_foreign(c: Cast) -> Iterator[Mutation]:
    here, there, other = c.here, c.there, c.other_here
    to, back = (here.subnet, there.subnet), (there.subnet, here.subnet)
    vpc = {"name": here.vpc}

    def one(name: str, *operations: Operation, pair: tuple[str, str] = to, table: str = "") -> Mutation:
        return Mutation(name, here.site, operations, pair, foreign=True, table=table)

    def route(prefix: str, nexthop: str, **more: Any) -> Insert:
        return Insert(ROUTE, {"ip_prefix": prefix, "nexthop": nexthop, **more}, vpc)

    def policy(priority: int, match: str, action: str, **more: Any) -> Insert:
        return Insert(POLICY, {"priority": priority, "match": match, "action": action, **more}, vpc)

    subnet_door = {"name": here.door}
    yield one("a foreign equal route makes ECMP", route(there.prefix, _next(c.edge_link)))
    yield one("a foreign longer route", route(_half(there.prefix), "discard"), table=ROUTE)
    yield one("a foreign policy drops", policy(1000, f"ip4.dst == {there.prefix}", "drop"), table=POLICY)
    yield one("a foreign policy drops TCP alone", policy(1000, "tcp", "drop"), table=POLICY)
    nexthops = {"nexthops": frozenset({_next(c.edge_link)})}
    yield one("a foreign policy reroutes", policy(1000, f"ip4.dst == {there.prefix}", "reroute", **nexthops))
    yield one("a foreign policy that nobody can read", policy(1000, "ct.new && ip4", "drop"), table=POLICY)
    yield one("VPC router disabled", Update(ROUTER, vpc, {"enabled": False}))
    yield one("subnet's router port disabled", Update(LRP, subnet_door, {"enabled": False}), table=LRP)
    renumbered = Update(LRP, subnet_door, {"networks": frozenset({"10.77.0.1/24"})})
    yield one("subnet's network renumbered", renumbered, pair=back, table=ROUTER)
    acl = {"priority": 1000, "direction": "from-lport", "match": "ip4", "action": "drop"}
    yield one("a foreign ACL on the link", Insert("ACL", acl, {"name": here.mine("link")}), table="ACL")
    yield one("a foreign ACL on the subnet", Insert("ACL", acl, {"name": here.subnet}), pair=back, table="ACL")
    lport = {"name": "stray", "type": "", "addresses": frozenset({f"02:00:00:00:00:77 {c.edge_link}"})}
    yield one("a foreign port claims the edge's address", Insert(LSP, lport, {"name": here.mine("link")}))
    far = (other.subnet, c.other_there.subnet)
    network = {"name": "x-dup", "mac": "02:00:00:00:07:01", "networks": frozenset({_first(c.other_there.prefix)})}
    yield one("the router gets the remote prefix as a network", Insert(LRP, network, {"name": other.vpc}), pair=far)
    yield one("the other's transit port plugged into this edge", _replugged(c), pair=far)


def _replugged(c: Cast) -> Operation:
    options = {"router-port": c.here.mine("link-edge")}
    return Update(LSP, {"name": c.other_here.mine("transit-port")}, {"options": options})


def _leaks(c: Cast) -> Iterator[Mutation]:
    here, there, other = c.here, c.there, c.other_here
    leak = (other.subnet, here.subnet)

    def one(name: str, *operations: Operation, pair: tuple[str, str], foreign: bool = True) -> Mutation:
        return Mutation(name, here.site, operations, pair, foreign=foreign, leaks=True)

    peers = ("leak-a", "leak-b")
    joint = ("192.0.2.1", "192.0.2.2")
    ports = [
        Insert(
            LRP,
            {
                "name": peers[n],
                "peer": peers[1 - n],
                "mac": f"02:00:00:00:08:0{n}",
                "networks": frozenset({f"{joint[n]}/30"}),
            },
            {"name": end.vpc},
        )
        for n, end in enumerate((other, here))
    ]
    # Both tenants have the same addresses: only a longer prefix takes packets off the sender's own network.
    to = Insert(ROUTE, {"ip_prefix": _half(here.second_prefix), "nexthop": joint[1]}, {"name": other.vpc})
    yield one("a foreign peer port, and a route", *ports, to, pair=(other.subnet, here.second))
    door = {
        "name": "joined",
        "type": "router",
        "addresses": frozenset({"router"}),
        "options": {"router-port": here.mine("link-vpc")},
    }
    yield from _moved(one, c, door)
    new = {"name": "joined-port", "mac": "02:00:00:00:09:01", "networks": frozenset({"10.66.0.1/24"})}
    third = Insert(LSP, {**door, "options": {"router-port": "joined-port"}}, {"name": other.subnet})
    yield one("the router gets a port on the other's switch", Insert(LRP, new, {"name": here.vpc}), third, pair=leak)
    drops = Delete(POLICY, {"key": f"{here.key}/vpc/policy/4/drop"})
    yield one("the VPC router's guard deleted", drops, pair=(here.unlisted, there.subnet), foreign=False)
    opened = [
        Insert(POLICY, {"priority": 32000, "match": "ip4", "action": "allow"}, {"name": e.mine("edge")})
        for e in (here, there)
    ]
    yield Mutation(
        "foreign policies open both edges to forged sources",
        here.site,
        (opened[0],),
        (here.subnet, there.subnet),
        foreign=True,
        leaks=True,
        also=((there.site, opened[1]),),
    )


def _by_protocol(c: Cast) -> Iterator[Mutation]:
    """Policies of others that only some protocols or ports meet."""
    here, there = c.here, c.there
    for what, match, action, pair in (
        ("lets forged sources in over TCP", "tcp", "allow", (here.unlisted, there.subnet)),
        ("lets forged sources in to one port", "udp.dst == {53, 5353}", "allow", (here.unlisted, there.subnet)),
        ("drops what goes to high ports", "tcp.dst > 50000", "drop", (here.subnet, there.subnet)),
    ):
        columns = {"priority": 500, "match": f"ip4.dst == {there.prefix} && {match}", "action": action}
        insert = Insert(POLICY, columns, {"name": here.vpc})
        yield Mutation(f"a foreign policy {what}", here.site, (insert,), pair, foreign=True, table=POLICY)


def _moved(one: Callable[..., Mutation], c: Cast, door: Mapping[str, Any]) -> Iterator[Mutation]:
    """A switch port of the other tenant's subnet names a router port of ours.

    Where two name one, northd takes either, by a hash of their names: rows cannot tell, so all that may pass is named.
    Where the first has lost its name, the second is the only one.
    """
    other, here, there = c.other_here, c.here, c.there
    onto = {"name": other.subnet}
    link, subnet = ({**door, "options": {"router-port": port}} for port in (here.mine("link-vpc"), here.door))
    for name, new, pair in (
        ("the other tenant's subnet joined to the link's router port", link, (other.subnet, there.subnet)),
        ("two tenants' switches joined by one router port", subnet, (there.subnet, other.subnet)),
    ):
        yield replace(one(name, Insert(LSP, new, onto), pair=pair), leaks=False)
    for what, port, new, pair in (
        ("the link's router port", here.mine("link-vpc"), link, (other.subnet, here.second)),
        ("the subnet's router port", here.door, subnet, (other.subnet, there.subnet)),
    ):
        unplugged = Update(LSP, {"options~": f"'{port}'"}, {"options": {}})
        yield one(f"{what} moved to the other tenant's subnet", unplugged, Insert(LSP, new, onto), pair=pair)


def _first(prefix: str) -> str:
    """The first host's address with the prefix length."""
    address, _, length = prefix.partition("/")
    head, _, last = address.rpartition(".")
    return f"{head}.{int(last) + 1}/{length}"


def _next(address: str) -> str:
    head, _, last = address.rpartition(".")
    return f"{head}.{int(last) + 4}"


def _half(prefix: str) -> str:
    address, _, length = prefix.partition("/")
    return f"{address}/{int(length) + 1}"
