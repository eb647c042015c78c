"""Column types of an OVSDB schema, and values to and from its JSON (RFC 7047 §3.2, §5.1)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.model.rows import Atom, Value

EMPTY_SET: frozenset[Atom] = frozenset()
EMPTY_MAP: Mapping[str, str] = {}

_ZERO: dict[str, Atom] = {"string": "", "integer": 0, "real": 0.0, "boolean": False, "uuid": ""}


class NewRow(str):
    """The name that a row has inside the transaction that inserts it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Column:
    """Type of a column. `kind`: `one` atom, `optional` atom or None, `set` (frozenset), `map` (dict)."""

    name: str
    kind: str
    atom: str
    value: str = ""
    """Type of a map's values."""

    def default(self) -> Value:
        if self.kind == "map":
            return EMPTY_MAP
        if self.kind == "set":
            return EMPTY_SET
        return None if self.kind == "optional" else _ZERO[self.atom]

    def decode(self, data: Any) -> Value:
        """JSON value -> Python value."""
        if self.kind == "map":
            return {str(_atom(k)): _atom(v) for k, v in data[1]}
        if isinstance(data, list) and data[0] == "set":
            atoms = [_atom(item) for item in data[1]]
            if self.kind == "set":
                return frozenset(atoms)
            return atoms[0] if atoms else None
        return frozenset((_atom(data),)) if self.kind == "set" else _atom(data)

    def encode(self, value: Value) -> Any:
        """Python value -> JSON value; inverse of `decode`."""
        if isinstance(value, Mapping):
            return ["map", [[self._out(k, self.atom), self._out(v, self.value)] for k, v in sorted(value.items())]]
        if isinstance(value, frozenset):
            return ["set", [self._out(item, self.atom) for item in sorted(value, key=str)]]
        return ["set", []] if value is None else self._out(value, self.atom)

    def merge(self, old: Value, data: Any) -> Value:
        """Apply the difference of a `modify` in `update2` (ovsdb-server(7), "Monitor_Cond")."""
        change = self.decode(data)
        if self.kind == "set":
            assert isinstance(old, frozenset) and isinstance(change, frozenset)
            return old ^ change
        if self.kind == "map":
            assert isinstance(old, Mapping) and isinstance(change, Mapping)
            merged = dict(old)
            for key, value in change.items():
                if merged.get(key) == value:
                    del merged[key]
                else:
                    merged[key] = value
            return merged
        return change

    @staticmethod
    def _out(atom: Atom, kind: str) -> Any:
        if kind != "uuid":
            return atom
        return ["named-uuid" if isinstance(atom, NewRow) else "uuid", str(atom)]


def _atom(data: Any) -> Any:
    """Strings are interned: a row's UUID stands in its parent too, owner and paths in every row of ours."""
    if isinstance(data, list):
        data = data[1]
    return sys.intern(data) if isinstance(data, str) else data


Schema = Mapping[str, Mapping[str, Column]]


def parse_schema(data: Mapping[str, Any]) -> Schema:
    """`get_schema`'s answer -> table -> column name -> Column."""
    return {
        table: {name: _column(name, spec["type"]) for name, spec in body["columns"].items()}
        for table, body in data["tables"].items()
    }


def _column(name: str, kind: Any) -> Column:
    if isinstance(kind, str):
        return Column(name, "one", kind)
    key = _base(kind["key"])
    if "value" in kind:
        return Column(name, "map", key, _base(kind["value"]))
    if kind.get("max", 1) != 1:
        return Column(name, "set", key)
    return Column(name, "optional" if kind.get("min", 1) == 0 else "one", key)


def _base(kind: Any) -> str:
    return str(kind if isinstance(kind, str) else kind["type"])
