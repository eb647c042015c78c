"""Changes -> operations of one OVSDB transaction (RFC 7047 §5.2). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.backends.changes import Change
from isthmus.backends.ovsdb.schema import NewRow, Schema
from isthmus.model.rows import Value

Operation = dict[str, Any]


def operations(
    changes: Iterable[Change], schema: Schema, owned: Mapping[tuple[str, str], list[str]]
) -> list[Operation]:
    """What to send; deferred changes are left out.

    owned  (table, key) -> uuids of rows that exist, to find parents of ours
    Foreign parents' sets are changed by insert and delete of our own elements, never assigned.
    """
    return _Writer(schema, owned).run([c for c in changes if not c.deferred])


class _Writer:
    def __init__(self, schema: Schema, owned: Mapping[tuple[str, str], list[str]]) -> None:
        self._schema, self._owned = schema, owned
        self._new: dict[tuple[str, str], NewRow] = {}
        self._children: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._mutations: dict[tuple[str, str, str, str], set[str]] = {}

    def run(self, changes: list[Change]) -> list[Operation]:
        additions = [c for c in changes if c.op == "add"]
        removals = [c for c in changes if c.op == "remove"]
        gone = {c.uuid for c in removals}
        for number, change in enumerate(additions):
            self._new[(change.table, change.key)] = NewRow(f"r{number}")
        for change in additions:
            self._hang(change)
        for change in removals:
            if change.parent is not None and change.parent.uuid not in gone:
                assert change.parent.uuid is not None and change.uuid is not None
                self._mutate(change.parent.table, change.parent.uuid, change.parent.column, "delete", change.uuid)
        result = [self._insert(c) for c in additions]
        result += [self._update(c) for c in changes if c.op == "change"]
        result += self._mutate_operations()
        result += [
            {"op": "delete", "table": c.table, "where": [["_uuid", "==", ["uuid", c.uuid]]]}
            for c in removals
            if c.parent is None
        ]
        return result

    def _hang(self, change: Change) -> None:
        """Put an added child where its parent will hold it."""
        if change.parent is None:
            return
        child, parent = self._new[(change.table, change.key)], change.parent
        if parent.key is None:
            assert parent.uuid is not None, "a change whose parent is missing is deferred"
            self._mutate(parent.table, parent.uuid, parent.column, "insert", child)
        elif (parent.table, parent.key) in self._new:
            self._children.setdefault((parent.table, parent.key), {}).setdefault(parent.column, set()).add(child)
        else:
            self._mutate(parent.table, self._owned[(parent.table, parent.key)][0], parent.column, "insert", child)

    def _mutate(self, table: str, uuid: str, column: str, how: str, element: str) -> None:
        self._mutations.setdefault((table, uuid, column, how), set()).add(element)

    def _mutate_operations(self) -> list[Operation]:
        return [
            {
                "op": "mutate",
                "table": table,
                "where": [["_uuid", "==", ["uuid", uuid]]],
                "mutations": [[column, how, self._schema[table][column].encode(frozenset(elements))]],
            }
            for (table, uuid, column, how), elements in self._mutations.items()
        ]

    def _insert(self, change: Change) -> Operation:
        columns: dict[str, Value] = dict(change.columns)
        for column, children in self._children.get((change.table, change.key), {}).items():
            columns[column] = frozenset(children)
        name = self._new[(change.table, change.key)]
        return {"op": "insert", "table": change.table, "uuid-name": name, "row": self._encode(change.table, columns)}

    def _update(self, change: Change) -> Operation:
        where = [["_uuid", "==", ["uuid", change.uuid]]]
        return {
            "op": "update",
            "table": change.table,
            "where": where,
            "row": self._encode(change.table, change.columns),
        }

    def _encode(self, table: str, columns: Mapping[str, Value]) -> dict[str, Any]:
        types = self._schema[table]
        return {c: types[c].encode(v) for c, v in columns.items() if c in types}


def counted(operations: list[Operation], nb_cfg: int) -> list[Operation]:
    """Make a northbound transaction happen at most once, and raise `nb_cfg` with it.

    OVSDB may replay a transaction whose reply was lost (ovsdb(7), "at-least-once"); `nb_cfg` has moved by then.
    """
    wait = {
        "op": "wait", "table": "NB_Global", "where": [], "columns": ["nb_cfg"], "until": "==",
        "rows": [{"nb_cfg": nb_cfg}], "timeout": 0,
    }  # fmt: skip
    raise_it = {"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["nb_cfg", "+=", 1]]}
    return [wait, *operations, raise_it]
