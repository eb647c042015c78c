"""What in a snapshot is not ours: compared before and after every scenario."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Databases = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""database -> table -> uuid -> row, as `Lab.snapshot` and `Deployment.snapshot` give it."""

COUNTERS = ("nb_cfg", "sb_cfg", "hv_cfg", "nb_ic_cfg", "sb_ic_cfg")
OWNED_KEYS = ("isthmus:claim:", "isthmus:holder:")


def owned(databases: Databases, owner: str = "default") -> dict[str, dict[str, dict[str, Any]]]:
    """database -> "Table key" -> row, of everything that carries the owner's mark."""
    return {
        database: {
            f"{table} {row['external_ids']['isthmus:key']}": dict(row)
            for table, rows in tables.items()
            for row in rows.values()
            if _is_owned(row, owner)
        }
        for database, tables in databases.items()
        if _northbound(database)
    }


def foreign(databases: Databases, owner: str = "default") -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Every row of NB and IC-NB that is not ours, without what refers to ours and without OVN's own counters.

    The copies that ovn-ic makes of our transit switches, and their ports, are ovn-ic's and left out.
    """
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for database, tables in databases.items():
        if not _northbound(database):
            continue
        ours = {u for rows in tables.values() for u, row in rows.items() if _is_owned(row, owner)}
        ours |= _made_for_us(tables, owner)
        found[database] = {
            table: {uuid: _without(row, ours) for uuid, row in rows.items() if uuid not in ours}
            for table, rows in tables.items()
        }
    return found


def _northbound(database: str) -> bool:
    return database.startswith("nb/") or database == "ic-nb"


def _is_owned(row: Mapping[str, Any], owner: str) -> bool:
    ids = row.get("external_ids")
    return isinstance(ids, Mapping) and ids.get("isthmus:owner") == owner


def _made_for_us(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], owner: str) -> set[str]:
    found = set()
    for uuid, row in tables.get("Logical_Switch", {}).items():
        if str(row["other_config"].get("interconn-ts", "")).startswith(f"isthmus-{owner}."):
            found |= {uuid, *row["ports"]}
    return found


def _without(row: Mapping[str, Any], ours: set[str]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for column, value in row.items():
        if column in COUNTERS or column.endswith("_timestamp"):
            continue
        if isinstance(value, frozenset):
            clean[column] = value - ours
        elif isinstance(value, Mapping):
            clean[column] = {k: v for k, v in value.items() if not str(k).startswith(OWNED_KEYS)}
        else:
            clean[column] = value
    return clean
