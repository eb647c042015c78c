"""What of a northbound database belongs together, kept while rows change.

Two questions must cost nothing at a thousand Interconnects: which rows do we own for one of them, and has anything
changed that its compilation looked at. The index answers both with dictionaries and version numbers; it decides
nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from isthmus.backends.ovsdb.neighbours import Neighbours
from isthmus.backends.ovsdb.tables import PARENTS
from isthmus.model.rows import INSTALLATION, KEY, NEIGHBOUR, OWNER, Record

Ref = tuple[str, str]
"""A row as (table, uuid)."""

_COLUMNS: dict[str, list[str]] = defaultdict(list)
for _table, _column in PARENTS:
    _COLUMNS[_table].append(_column)

Key = TypeVar("Key")

_NAMED = {"Logical_Router", "Logical_Switch", "Logical_Router_Port"}


class Index:
    """`changed` has the signature of `client.Changed`."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.parent: dict[str, Ref] = {}
        """Child uuid -> its parent."""
        self.named: dict[Ref, set[str]] = defaultdict(set)
        """(table, name) -> uuids."""
        self.router_port: dict[str, set[str]] = defaultdict(set)
        """Name of a router port -> uuids of the switch ports that name it."""
        self.owned: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(dict)
        """Interconnect -> (table, key) -> uuids; more than one where somebody copied a row."""
        self.installations: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        """`isthmus:id` of our owner's rows -> Interconnect -> how many rows."""
        self.version: dict[str, int] = defaultdict(int)
        """uuid of a router or switch -> raised when it or anything in it changes."""
        self.owned_version: dict[str, int] = defaultdict(int)
        """Interconnect -> raised when a row that we own for it changes."""
        self.total = 0
        """Raised by every change."""
        self.neighbours = Neighbours(partial(self._own, NEIGHBOUR))

    def changed(self, table: str, uuid: str, old: Record | None, new: Record | None) -> None:
        self.total += 1
        for record in (old, new):
            if record is not None:
                self._touch(table, uuid, record)
        if old is not None:
            self._drop(table, uuid, old, new)
        if new is not None:
            self._add(table, uuid, old, new)

    def root(self, uuid: str) -> str:
        """The router or switch that holds a row, or the row itself."""
        while uuid in self.parent:
            uuid = self.parent[uuid][1]
        return uuid

    def is_owned(self, record: Record) -> bool:
        return self._key(record) is not None

    def _touch(self, table: str, uuid: str, record: Record) -> None:
        self.version[self.root(uuid)] += 1
        key = self.neighbours.key(record) if table == NEIGHBOUR else self._key(record)
        if key is not None:
            self.owned_version[key.partition("/")[0]] += 1

    def _key(self, record: Record) -> str | None:
        ids = record.get("external_ids")
        if isinstance(ids, dict) and ids.get(OWNER) == self.owner:
            return str(ids.get(KEY, ""))
        return None

    def _drop(self, table: str, uuid: str, old: Record, new: Record | None) -> None:
        for column in _COLUMNS.get(table, ()):
            for child in _gone(old, new, column):
                if self.parent.get(child) == (table, uuid):
                    del self.parent[child]
        if table in _NAMED:
            _discard(self.named, (table, str(old["name"])), uuid)
        if table == "Logical_Switch_Port" and (port := _router_port(old)):
            _discard(self.router_port, port, uuid)
        self._mark(table, uuid, old, -1)
        if new is None:
            self.version.pop(uuid, None)

    def _add(self, table: str, uuid: str, old: Record | None, new: Record) -> None:
        for column in _COLUMNS.get(table, ()):
            for child in _gone(new, old, column):
                self.parent[child] = (table, uuid)
        if table in _NAMED:
            self.named[(table, str(new["name"]))].add(uuid)
        if table == "Logical_Switch_Port" and (port := _router_port(new)):
            self.router_port[port].add(uuid)
            # The switch port may appear before or after the router port that it names.
            for lrp in self.named.get(("Logical_Router_Port", port), ()):
                self.version[self.root(lrp)] += 1
        self._mark(table, uuid, new, +1)

    def _mark(self, table: str, uuid: str, record: Record, sign: int) -> None:
        """A row came (+1) or went (-1): if it is ours, note whose."""
        if table == NEIGHBOUR:
            (self.neighbours.add if sign > 0 else self.neighbours.drop)(uuid, record)
        if (key := self._key(record)) is None:
            return
        ids, name = record["external_ids"], key.partition("/")[0]
        assert isinstance(ids, dict)
        counts = self.installations[str(ids.get(INSTALLATION, ""))]
        counts[name] += sign
        if not counts[name]:
            del counts[name]
        self._own(table, uuid, key, sign)
        self.neighbours.edge(table, key, record, sign)

    def _own(self, table: str, uuid: str, key: str, sign: int) -> None:
        name = key.partition("/")[0]
        uuids = self.owned[name].setdefault((table, key), [])
        if sign > 0:
            uuids.append(uuid)
            return
        uuids.remove(uuid)
        if not uuids:
            del self.owned[name][(table, key)]
            if not self.owned[name]:
                del self.owned[name]


def _discard(sets: dict[Key, set[str]], key: Key, uuid: str) -> None:
    """Names that nobody has any more are forgotten."""
    if key in sets:
        sets[key].discard(uuid)
        if not sets[key]:
            del sets[key]


def _gone(before: Record, after: Record | None, column: str) -> Iterable[str]:
    """Elements of a set column that `before` has and `after` has not."""
    had, has = before.get(column), after.get(column) if after else None
    assert isinstance(had, frozenset)
    return had - has if isinstance(has, frozenset) else had  # type: ignore[return-value]


def _router_port(record: Record) -> str:
    options = record.get("options")
    return str(options.get("router-port", "")) if isinstance(options, dict) else ""
