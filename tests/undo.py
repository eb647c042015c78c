"""Put rows of a real database back as a snapshot has them, whoever owns them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""table -> uuid -> column -> OVSDB's JSON, as `isthmus.lab.rpc.snapshot` gives it."""

TABLES = (
    "Logical_Switch",
    "Logical_Switch_Port",
    "Logical_Router",
    "Logical_Router_Port",
    "Logical_Router_Static_Route",
    "Logical_Router_Policy",
    "Gateway_Chassis",
    "ACL",
)
OTHERS = {"_uuid", "_version", "up", "status", "ipv6_prefix"}
"""Columns that OVN writes."""


def undo(before: Rows, after: Rows) -> list[dict[str, Any]]:
    """OVSDB operations that lead from `after` to `before`. New rows go when nothing refers to them any more.

    Remote ports of transit switches come and go by ovn-ic, which also numbers ports: these are left to it.
    """
    lost = {
        uuid: f"row{n}"
        for n, uuid in enumerate(
            u for t in TABLES for u in before[t] if u not in after[t] and not _remote(before[t][u])
        )
    }
    remote = {u for rows in (before, after) for u, row in rows["Logical_Switch_Port"].items() if _remote(row)}
    return [*_inserts(before, lost), *_updates(before, after, lost, remote)]


def _remote(row: Mapping[str, Any]) -> bool:
    return row.get("type") == "remote"


def _inserts(before: Rows, lost: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for table in TABLES:
        for uuid, row in before[table].items():
            if uuid in lost:
                columns = {c: _mapped(v, lost) for c, v in row.items() if c not in OTHERS}
                yield {"op": "insert", "table": table, "uuid-name": lost[uuid], "row": columns}


def _updates(before: Rows, after: Rows, lost: Mapping[str, str], remote: set[str]) -> Iterator[dict[str, Any]]:
    for table in TABLES:
        for uuid, row in before[table].items():
            now = after[table].get(uuid)
            if now is None or _remote(row):
                continue
            for column, value in row.items():
                if column in OTHERS or value == now[column]:
                    continue
                where = [["_uuid", "==", ["uuid", uuid]]]
                if column == "ports":
                    if mutations := list(_of_set(value, now[column], lost, remote)):
                        yield {"op": "mutate", "table": table, "where": where, "mutations": mutations}
                elif _without_key(value) != _without_key(now[column]):
                    yield {"op": "update", "table": table, "where": where, "row": {column: _mapped(value, lost)}}


def _of_set(value: Any, now: Any, lost: Mapping[str, str], remote: set[str]) -> Iterator[list[Any]]:
    """Mutations of a set of references, one by one: others add to it at the same time."""
    had, has = _uuids(value) - remote, _uuids(now) - remote
    if has - had:
        yield ["ports", "delete", ["set", [["uuid", u] for u in sorted(has - had)]]]
    if had - has:
        yield ["ports", "insert", ["set", [_mapped(["uuid", u], lost) for u in sorted(had - has)]]]


def _uuids(value: Any) -> set[str]:
    return {value[1]} if value[0] == "uuid" else {u for _, u in value[1]}


def _without_key(value: Any) -> Any:
    if isinstance(value, list) and value[0] == "map":
        return sorted(pair for pair in value[1] if pair[0] != "requested-tnl-key")
    return value


def _mapped(value: Any, lost: Mapping[str, str]) -> Any:
    """A value with references to lost rows turned to the names of their successors."""
    if not isinstance(value, list):
        return value
    if value[0] == "uuid":
        return ["named-uuid", lost[value[1]]] if value[1] in lost else value
    if value[0] == "set":
        return ["set", [_mapped(v, lost) for v in value[1]]]
    return value
