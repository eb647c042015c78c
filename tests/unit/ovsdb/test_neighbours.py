"""Rows that have no place for marks: whose they are, in whatever order rows come and go."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from isthmus.backends.ovsdb.diff import Differ
from isthmus.backends.ovsdb.index import Index
from isthmus.model.rows import KEY, NEIGHBOUR, OWNER, Parent, Row

from .test_diff import NAME, US, Memory

MAC = "0a:00:00:00:00:01"
KEYS = {(NEIGHBOUR, f"{NAME}/a/link-neighbour/{version}") for version in (4, 6)}


def row(table: str, key: str, parent: Parent | None = None, **columns: Any) -> Row:
    return Row("nb/s", table, f"{NAME}/a/{key}", columns, parent, "spec")


def desired(*, port: str = "theirs", mac: str = MAC) -> list[Row]:
    on_edge = Parent("Logical_Router", "ports", key=f"{NAME}/a/edge")
    told = [
        row(NEIGHBOUR, f"link-neighbour/{v}", logical_port=port, ip=ip, mac=mac, override_dynamic_mac=True)
        for v, ip in ((4, "169.254.1.1"), (6, "fd69::1"))
    ]
    edge = row("Logical_Router_Port", "link-edge", on_edge, name="l", mac=mac)
    return [row("Logical_Router", "edge", name="edge"), edge, *told]


def bindings(memory: Memory) -> set[tuple[Any, ...]]:
    return {tuple(v for k, v in r.items() if k != "_uuid") for r in memory.rows[NEIGHBOUR].values()}


def differ(memory: Memory) -> Differ:
    return Differ(memory.rows, memory.index, US)


def test_they_are_made_kept_changed_and_removed_and_those_of_others_stay() -> None:
    memory = Memory()
    theirs = ("theirs", "10.0.0.9", "0a:00:00:00:00:99", False)
    memory.insert(NEIGHBOUR, **dict(zip(("logical_port", "ip", "mac", "override_dynamic_mac"), theirs, strict=True)))
    memory.commit(differ(memory).diff(NAME, desired()))
    ours = {("theirs", "169.254.1.1", MAC, True), ("theirs", "fd69::1", MAC, True)}
    assert bindings(memory) == ours | {theirs}
    assert memory.index.owned[NAME].keys() >= KEYS
    assert not differ(memory).diff(NAME, desired())
    # Neutron made the port anew, under another name.
    memory.commit(differ(memory).diff(NAME, desired(port="new")))
    assert bindings(memory) == {("new", *each[1:]) for each in ours} | {theirs}
    assert not differ(memory).diff(NAME, desired(port="new"))
    memory.commit(differ(memory).diff(NAME, []))
    assert bindings(memory) == {theirs}
    assert not memory.index.owned


def test_what_somebody_else_says_of_our_link_is_put_right_and_not_added_to() -> None:
    memory = Memory()
    memory.insert(NEIGHBOUR, logical_port="theirs", ip="169.254.1.1", mac="0a:00:00:00:00:99")
    changes = differ(memory).diff(NAME, desired())
    assert [c.op for c in changes if c.table == NEIGHBOUR] == ["change", "add"]
    memory.commit(changes)
    assert bindings(memory) == {("theirs", "169.254.1.1", MAC, True), ("theirs", "fd69::1", MAC, True)}


def test_an_edge_that_somebody_removed_comes_back_to_the_rows_that_were_left() -> None:
    memory = Memory()
    memory.commit(differ(memory).diff(NAME, desired()))
    (router,) = memory.rows["Logical_Router"].values()
    memory._set("Logical_Router", router["_uuid"], router | {"ports": frozenset()})
    memory._collect()
    assert not memory.index.owned[NAME].keys() & KEYS
    memory.commit(differ(memory).diff(NAME, desired()))
    assert len(bindings(memory)) == 2
    assert memory.index.owned[NAME].keys() >= KEYS


MARKS = {OWNER: US.name, KEY: f"{NAME}/a/link-edge"}
EDGE = {"name": "l", "mac": MAC, "gateway_chassis": frozenset(), "external_ids": MARKS}
FOREIGN = EDGE | {"external_ids": {}}
TOLD = [
    {"logical_port": "p", "ip": ip, "mac": mac}
    for ip in ("169.254.1.1", "fd69::1")
    for mac in (MAC, "0a:00:00:00:00:02")
]
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("Logical_Router_Port"), st.just("edge"), st.sampled_from([EDGE, FOREIGN, None])),
        st.tuples(st.just(NEIGHBOUR), st.sampled_from(["one", "two"]), st.sampled_from([*TOLD, None])),
    ),
    max_size=12,
)


@given(EVENTS)
def test_in_whatever_order_rows_come_and_go_the_same_are_ours(events: list[tuple[str, str, Any]]) -> None:
    index = Index(US.name)
    rows: dict[tuple[str, str], Any] = {}
    for table, uuid, record in events:
        old = rows.pop((table, uuid), None)
        if old is None and record is None:
            continue
        index.changed(table, uuid, old, record)
        if record is not None:
            rows[(table, uuid)] = record
    edge = rows.get(("Logical_Router_Port", "edge"))
    ours = edge is not None and bool(edge["external_ids"])
    expected = {uuid for (table, uuid), r in rows.items() if table == NEIGHBOUR and ours and r["mac"] == MAC}
    owned = index.owned.get(NAME, {})
    assert {u for (table, _), uuids in owned.items() if table == NEIGHBOUR for u in uuids} == expected
