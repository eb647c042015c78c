"""diff, write and index against a database in memory: any rows follow any other, foreign ones stay as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.backends.changes import Change, Owner
from isthmus.backends.ovsdb.diff import Differ
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.schema import Schema, parse_schema
from isthmus.backends.ovsdb.tables import NORTHBOUND, PARENTS
from isthmus.backends.ovsdb.write import operations
from isthmus.model.rows import KEY, OWNER, Parent, Row

SCHEMA: Schema = parse_schema(json.loads(Path("/usr/share/ovn/ovn-nb.ovsschema").read_text(encoding="utf-8")))
US = Owner("us", "id-1")
NAME = "t"


class Memory:
    """Runs what `operations` gives, tells an Index, and drops children that nobody holds, as ovsdb-server does."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {t: {} for t in NORTHBOUND}
        self.index = Index(US.name)
        self._numbers = count(1)

    def insert(self, table: str, **columns: Any) -> str:
        uuid = f"{next(self._numbers):08d}-0000-0000-0000-000000000000"
        row: dict[str, Any] = {c: SCHEMA[table][c].default() for c in NORTHBOUND[table] if c in SCHEMA[table]}
        self._set(table, uuid, row | columns | {"_uuid": uuid})
        return uuid

    def _set(self, table: str, uuid: str, row: dict[str, Any] | None) -> None:
        old = self.rows[table].get(uuid)
        if row is None:
            del self.rows[table][uuid]
        else:
            self.rows[table][uuid] = row
        if old != row:
            self.index.changed(table, uuid, old, row)

    def commit(self, changes: Iterable[Change]) -> None:
        names: dict[str, str] = {}
        sent = operations(changes, SCHEMA, self.index.owned.get(NAME, {}))
        for operation in (o for o in sent if o["op"] == "insert"):
            names[operation["uuid-name"]] = f"{next(self._numbers):08d}-0000-0000-0000-000000000000"
        for operation in sent:
            getattr(self, f"_{operation['op']}")(operation, lambda text: _named(text, names), names)
        self._collect()

    def _insert(self, operation: dict[str, Any], read: Callable[[Any], Any], names: dict[str, str]) -> None:
        table, uuid = operation["table"], names[operation["uuid-name"]]
        row: dict[str, Any] = {c: SCHEMA[table][c].default() for c in NORTHBOUND[table] if c in SCHEMA[table]}
        given = {c: SCHEMA[table][c].decode(read(v)) for c, v in operation["row"].items()}
        self._set(table, uuid, row | given | {"_uuid": uuid})

    def _update(self, operation: dict[str, Any], read: Callable[[Any], Any], _: dict[str, str]) -> None:
        table, uuid = operation["table"], operation["where"][0][2][1]
        given = {c: SCHEMA[table][c].decode(read(v)) for c, v in operation["row"].items()}
        self._set(table, uuid, self.rows[table][uuid] | given)

    def _mutate(self, operation: dict[str, Any], read: Callable[[Any], Any], _: dict[str, str]) -> None:
        table, uuid = operation["table"], operation["where"][0][2][1]
        row = dict(self.rows[table][uuid])
        for column, how, value in operation["mutations"]:
            elements = SCHEMA[table][column].decode(read(value))
            row[column] = row[column] | elements if how == "insert" else row[column] - elements
        self._set(table, uuid, row)

    def _delete(self, operation: dict[str, Any], *_: Any) -> None:
        self._set(operation["table"], operation["where"][0][2][1], None)

    def _collect(self) -> None:
        """Children live by the reference alone."""
        while True:
            held = {u for (t, c) in PARENTS for row in self.rows[t].values() for u in row[c]}
            loose = [(t, u) for t in PARENTS.values() for u in self.rows[t] if u not in held]
            if not loose:
                return
            for table, uuid in loose:
                self._set(table, uuid, None)

    def foreign(self) -> dict[str, Any]:
        ours = {u for rows in self.rows.values() for u, row in rows.items() if _ours(row)}
        return {
            t: {u: {c: v - ours if isinstance(v, frozenset) else v for c, v in row.items()} for u, row in rows.items()}
            for t, rows in ((t, {u: r for u, r in rows.items() if u not in ours}) for t, rows in self.rows.items())
        }

    def owned(self) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for table, rows in self.rows.items():
            for row in rows.values():
                if _ours(row):
                    assert (table, row["external_ids"][KEY]) not in found, "twice"
                    found[(table, row["external_ids"][KEY])] = row
        return found


def _ours(row: dict[str, Any]) -> bool:
    return bool(row.get("external_ids", {}).get(OWNER) == US.name)


def _named(data: Any, names: dict[str, str]) -> Any:
    if isinstance(data, list):
        if data[:1] == ["named-uuid"]:
            return ["uuid", names[data[1]]]
        return [_named(item, names) for item in data]
    return data


def world() -> tuple[Memory, str]:
    """A database with a foreign router, its port, route and policy, and a switch."""
    memory = Memory()
    route = memory.insert("Logical_Router_Static_Route", ip_prefix="0.0.0.0/0", nexthop="10.0.0.9")
    port = memory.insert("Logical_Router_Port", name="theirs", networks=frozenset({"10.0.0.1/24"}))
    vpc = memory.insert(
        "Logical_Router", name="vpc", ports=frozenset({port}), static_routes=frozenset({route}), external_ids={"x": "y"}
    )
    memory.insert("Logical_Switch", name="theirs")
    return memory, vpc


def row(table: str, key: str, parent: Parent | None, **columns: Any) -> Row:
    return Row("nb/s", table, f"{NAME}/{key}", columns, parent, "spec")


def universe(vpc: str) -> list[list[Row]]:
    """What may be wanted, in bundles that only make sense together; variants of one bundle exclude each other."""
    edge = [row("Logical_Router", "a/edge", None, name="edge")]
    on_edge = Parent("Logical_Router", "ports", key=f"{NAME}/a/edge")
    bundles = [edge]
    for network in ("169.254.1.1/29", "169.254.2.1/29"):
        bundles.append([*edge, row("Logical_Router_Port", "a/link", on_edge, name="l", networks=frozenset({network}))])
    gateway = Parent("Logical_Router_Port", "gateway_chassis", key=f"{NAME}/a/link")
    bundles.append(
        [*bundles[1], row("Gateway_Chassis", "a/gateway/c", gateway, name="l_c", chassis_name="c", priority=9)]
    )
    on_vpc = Parent("Logical_Router", "static_routes", uuid=vpc)
    for prefix in ("10.1.0.0/24", "10.2.0.0/24"):
        for hop in ("169.254.1.1", "169.254.2.1"):
            table = "Logical_Router_Static_Route"
            bundles.append([row(table, f"a/vpc/route/{prefix}", on_vpc, ip_prefix=prefix, nexthop=hop)])
    switch = row("Logical_Switch", "a/link", None, name="link", external_ids={"isthmus:link": "vpc"})
    on_switch = Parent("Logical_Switch", "ports", key=f"{NAME}/a/link")
    bundles.append(
        [switch, row("Logical_Switch_Port", "a/p", on_switch, name="p", type="router", options={"router-port": "l"})]
    )
    on_copy = Parent("Logical_Switch", "ports", name="ts")
    bundles.append([row("Logical_Switch_Port", "a/transit-port", on_copy, name="tp", type="router")])
    return bundles


def wanted(vpc: str, chosen: Iterable[int]) -> list[Row]:
    found: dict[tuple[str, str], Row] = {}
    bundles = universe(vpc)
    for number in sorted(chosen):
        for each in bundles[number]:
            found.setdefault((each.table, each.key), each)
    return list(found.values())


CHOICES = st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=6)


@settings(deadline=None)
@given(CHOICES)
def test_any_rows_follow_any_other(states: list[set[int]]) -> None:
    memory, vpc = world()
    memory.insert("Logical_Switch", name="ts", other_config={"interconn-ts": "ts"})
    before = memory.foreign()
    for chosen in states:
        desired = wanted(vpc, chosen)
        memory.commit(Differ(memory.rows, memory.index, US).diff(NAME, desired))
        owned = memory.owned()
        assert owned.keys() == {(r.table, r.key) for r in desired}
        for each in desired:
            actual = owned[(each.table, each.key)]
            assert all(actual[c] == v for c, v in each.columns.items() if c != "external_ids")
            assert actual["external_ids"].items() >= dict(each.columns.get("external_ids", {})).items()  # type: ignore[call-overload]
        assert not Differ(memory.rows, memory.index, US).diff(NAME, desired)
        assert memory.foreign() == before
        assert same(memory)


def same(memory: Memory) -> bool:
    """The index that followed every change says what one made from scratch says."""
    fresh = Index(US.name)
    for table, rows in memory.rows.items():
        for uuid, record in rows.items():
            fresh.changed(table, uuid, None, record)

    def plain(index: Index) -> tuple[Any, ...]:
        named = {k: v for k, v in index.named.items() if v}
        doors = {k: v for k, v in index.router_port.items() if v}
        owned = {n: {k: sorted(u) for k, u in found.items()} for n, found in index.owned.items() if found}
        installations = {k: dict(v) for k, v in index.installations.items() if v}
        return index.parent, named, doors, owned, installations

    return plain(fresh) == plain(memory.index)


def test_what_waits_for_ovn_ic_is_planned_and_not_written() -> None:
    memory, vpc = world()
    desired = wanted(vpc, [9])
    (change,) = Differ(memory.rows, memory.index, US).diff(NAME, desired)
    assert change.op == "add" and change.deferred
    memory.commit([change])
    assert not memory.owned()
    # A switch of that name that is no copy of a transit switch is somebody's: it is not ours to use.
    memory.insert("Logical_Switch", name="ts")
    assert Differ(memory.rows, memory.index, US).diff(NAME, desired)[0].deferred
    memory.insert("Logical_Switch", name="ts", other_config={"interconn-ts": "ts"})
    memory.commit(Differ(memory.rows, memory.index, US).diff(NAME, desired))
    assert memory.owned()


def test_what_ovn_adds_to_our_rows_is_no_drift() -> None:
    memory, vpc = world()
    memory.insert("Logical_Switch", name="ts", other_config={"interconn-ts": "ts"})
    desired = wanted(vpc, [9])
    memory.commit(Differ(memory.rows, memory.index, US).diff(NAME, desired))
    (port,) = memory.owned().values()
    uuid = port["_uuid"]
    memory._set("Logical_Switch_Port", uuid, port | {"options": {"requested-tnl-key": "7"}})
    assert not Differ(memory.rows, memory.index, US).diff(NAME, desired)
    memory._set("Logical_Switch_Port", uuid, port | {"options": {"requested-tnl-key": "7", "x": "y"}})
    (change,) = Differ(memory.rows, memory.index, US).diff(NAME, desired)
    assert change.columns["options"] == {"requested-tnl-key": "7"}


def test_a_copy_that_somebody_made_of_our_row_goes() -> None:
    memory, vpc = world()
    desired = wanted(vpc, [4])
    memory.commit(Differ(memory.rows, memory.index, US).diff(NAME, desired))
    (route,) = memory.owned().values()
    copy = memory.insert("Logical_Router_Static_Route", **{k: v for k, v in route.items() if k != "_uuid"})
    router = memory.rows["Logical_Router"][vpc]
    memory._set("Logical_Router", vpc, router | {"static_routes": router["static_routes"] | {copy}})
    changes = Differ(memory.rows, memory.index, US).diff(NAME, desired)
    assert [c.op for c in changes] == ["remove"]
    memory.commit(changes)
    assert len(memory.owned()) == 1


def test_another_owner_s_rows_of_the_same_key_are_invisible() -> None:
    memory, vpc = world()
    theirs = Owner("them", "id-2")
    desired = wanted(vpc, [1])
    other = Memory()
    other.commit(Differ(other.rows, other.index, US).diff(NAME, desired))
    for table, rows in other.rows.items():
        for record in rows.values():
            marks = record["external_ids"] | {OWNER: theirs.name}
            memory.insert(table, **{k: v for k, v in record.items() if k != "_uuid"} | {"external_ids": marks})
    assert not Differ(memory.rows, memory.index, US).diff(NAME, [])
    assert {c.op for c in Differ(memory.rows, memory.index, US).diff(NAME, desired)} == {"add"}
