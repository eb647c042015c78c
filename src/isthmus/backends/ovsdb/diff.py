"""Desired rows against what a database holds: pure, one Interconnect at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from isthmus.backends.changes import Change, Owner, is_subnet
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.tables import DEFAULTS, PARENTS, TOLERATED
from isthmus.model.rows import KEY, NEIGHBOUR, OWNER, Parent, Row, Value

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]

CHILD_TABLES = frozenset(PARENTS.values())


class Differ:
    """Compares with one database's replica. What is not ours is invisible here, so it cannot be removed here."""

    def __init__(
        self, rows: Rows, index: Index, owner: Owner, switch_of: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self._rows, self._index, self._owner, self._switch_of = rows, index, owner, switch_of

    def diff(self, interconnect: str, desired: Iterable[Row]) -> list[Change]:
        """Changes that make the owned rows of one Interconnect equal `desired`; empty where they are."""
        wanted = {(row.table, row.key): row for row in desired}
        owned = self._index.owned.get(interconnect, {})
        changes: list[Change] = []
        for place, row in wanted.items():
            changes.extend(self._one(row, owned.get(place, [])))
        kept = tuple(self._in_use(owned, wanted))
        for (table, key), uuids in owned.items():
            if (table, key) not in wanted and not f"{key}/".startswith(kept):
                changes.extend(self._remove(table, key, uuid) for uuid in uuids)
        return changes

    def _one(self, row: Row, uuids: list[str]) -> Iterator[Change]:
        parent, missing = self._parent(row)
        right = [u for u in uuids if parent is None or self._held_by(u, parent)]
        yield from (self._remove(row.table, row.key, u) for u in uuids if u not in right[:1])
        if not right and row.table == NEIGHBOUR and (other := self._index.neighbours.about(row.columns)):
            right = [other]  # whoever wrote it: it is about our own link, and the table has room for one
        if not right:
            columns = dict(DEFAULTS.get(row.table, {})) | self._columns(row)
            yield Change("add", row.table, row.key, None, columns, parent, missing)
            return
        current = self._rows[row.table][right[0]]
        changed = self._changed(row, current)
        if changed:
            yield Change("change", row.table, row.key, right[0], changed)

    def _columns(self, row: Row) -> dict[str, Value]:
        if row.table == NEIGHBOUR:
            return dict(row.columns)
        extra = row.columns.get("external_ids", {})
        assert isinstance(extra, Mapping)
        return {**row.columns, "external_ids": {**extra, **self._owner.marks(row)}}

    def _changed(self, row: Row, current: Mapping[str, Any]) -> dict[str, Value]:
        columns = self._columns(row)
        changed: dict[str, Value] = {}
        for column, value in columns.items():
            if column in current and current[column] != value:
                changed[column] = value
        for column, value in DEFAULTS.get(row.table, {}).items():
            if column not in columns and column in current and current[column] != value:
                changed[column] = value
        for column in changed.keys() & TOLERATED.get(row.table, {}):
            value, tolerated = changed[column], TOLERATED[row.table][column]
            assert isinstance(value, Mapping)
            changed[column] = {**value, **{k: v for k, v in current[column].items() if k in tolerated}}
            if changed[column] == current[column]:
                del changed[column]
        return changed

    def _parent(self, row: Row) -> tuple[Parent | None, bool]:
        """The parent with what identifies it now, and whether it is still missing."""
        parent = row.parent
        if parent is not None and parent.network is not None:
            switch = self._switch_of(parent.network)
            return (Parent(parent.table, parent.column, uuid=switch), False) if switch else (parent, True)
        if parent is None or parent.name is None:
            return parent, False
        found = [
            uuid
            for uuid in self._index.named.get((parent.table, parent.name), ())
            if parent.table == "Logical_Router"
            or self._rows[parent.table][uuid]["other_config"].get("interconn-ts") == parent.name
        ]
        if not found:
            return parent, True
        return Parent(parent.table, parent.column, uuid=found[0]), False

    def _held_by(self, uuid: str, parent: Parent) -> bool:
        table, holder = self._index.parent.get(uuid, ("", ""))
        if parent.key is None:
            return holder == parent.uuid
        ids = self._rows[table][holder]["external_ids"] if table else {}
        return table == parent.table and ids.get(OWNER) == self._owner.name and ids.get(KEY) == parent.key

    def _remove(self, table: str, key: str, uuid: str) -> Change:
        parent = None
        if table in CHILD_TABLES and uuid in self._index.parent:
            holder_table, holder = self._index.parent[uuid]
            column = next(c for (t, c), child in PARENTS.items() if (t, child) == (holder_table, table))
            parent = Parent(holder_table, column, uuid=holder)
        return Change("remove", table, key, uuid, {}, parent)

    def _in_use(
        self, owned: Mapping[tuple[str, str], list[str]], wanted: Mapping[tuple[str, str], Row]
    ) -> Iterator[str]:
        """Keys of defined subnets that are no longer wanted but hold somebody's ports: they stay."""
        for (table, key), uuids in owned.items():
            if table == "Logical_Switch" and is_subnet(key) and (table, key) not in wanted:
                for lsp in self._rows[table][uuids[0]]["ports"]:
                    row = self._rows["Logical_Switch_Port"].get(lsp)
                    if row is None or row["external_ids"].get(OWNER) != self._owner.name:
                        yield f"{key}/"
                        break
