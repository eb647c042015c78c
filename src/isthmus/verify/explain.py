"""Why a row exists, and which rows an object has: from the marks that rows carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from isthmus.model.rows import PATH, Record, Snapshot
from isthmus.verify import neutron
from isthmus.verify.match import refusal
from isthmus.verify.path import OVN_IC, RowRef, row_ref

Databases = Mapping[str, Snapshot]
"""Name of a database in plans (`nb/cloud`, `ic-nb`) -> its rows."""

MIN_UUID = 4
"""A UUID may be shortened to this many digits."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row. `site` of `row` is the database's name.

    why       a sentence: the object and spec path it comes from, or that it is foreign
    parents   rows whose columns refer to it, as (row, column)
    warning   what OVN makes of it that its author may not expect, or ""
    """

    row: RowRef
    why: str
    parents: tuple[tuple[RowRef, str], ...]
    columns: Mapping[str, object]
    warning: str = ""

    @property
    def interconnect(self) -> str:
        return self.row.key.partition("/")[0]

    def as_json(self) -> dict[str, object]:
        return {
            "database": self.row.site,
            "row": self.row.as_json(),
            "interconnect": self.interconnect,
            "why": self.why,
            "parents": [{"row": r.as_json(), "column": c} for r, c in self.parents],
            "warning": self.warning,
        }

    def __str__(self) -> str:
        lines = [f"{self.row.site} {self.row.table} {self.row.name or ''} {self.row.uuid}", f"  {self.why}"]
        lines += [f"  in {c} of {r.table} {r.name or r.uuid} [{r.why}]" for r, c in self.parents]
        return "\n".join([*lines, f"  warning: {self.warning}"] if self.warning else lines)


def explain_row(databases: Databases, word: str) -> tuple[Explanation, ...]:
    """Every row with this UUID (its first digits do), name or isthmus:key; empty where there is none."""
    return tuple(
        _explain(database, tables, table, uuid)
        for database, tables in databases.items()
        for table, uuid, record in _all(tables)
        if _is(word, uuid, record)
    )


def explain_object(databases: Databases, name: str) -> Mapping[str, tuple[RowRef, ...]]:
    """Database -> rows of the object called `name`: an Interconnect, or `Interconnect/Attachment`."""
    found: dict[str, tuple[RowRef, ...]] = {}
    for database, tables in databases.items():
        refs = [row_ref(database, table, uuid, record) for table, uuid, record in _all(tables)]
        mine = [r for r in refs if r.key == name or r.key.startswith(f"{name}/")]
        found[database] = tuple(sorted(mine, key=lambda r: (r.table, r.key, r.uuid)))
    return found


def _all(tables: Snapshot) -> Iterator[tuple[str, str, Record]]:
    for table in sorted(tables):
        for uuid, record in sorted(tables[table].items()):
            yield table, uuid, record


def _is(word: str, uuid: str, record: Record) -> bool:
    if record.get("name") == word or word in neutron.names(record) or (len(word) >= MIN_UUID and uuid.startswith(word)):
        return True
    return row_ref("", "", uuid, record).key == word


def _explain(database: str, tables: Snapshot, table: str, uuid: str) -> Explanation:
    record = tables[table][uuid]
    ref = row_ref(database, table, uuid, record)
    match = record.get("match")
    refused = refusal(match) if isinstance(match, str) else ""
    return Explanation(
        row=ref,
        why=_why(ref, record),
        parents=tuple(_parents(database, tables, uuid)),
        columns={c: v for c, v in record.items() if c != "_uuid"},
        warning=f"OVN makes no flow of it: {refused}" if refused else "",
    )


def _why(ref: RowRef, record: Record) -> str:
    if not ref.ours and ref.maker:
        return f"made by {ref.maker}" + (" from the interconnect databases" if ref.maker == OVN_IC else "")
    if not ref.ours:
        return "foreign: nothing of ours put it there, and nothing of ours will change it"
    if not ref.key:
        return f"of owner {ref.owner}, without a key"
    marks = record.get("external_ids")
    path = marks.get(PATH, "") if isinstance(marks, Mapping) else ""
    interconnect = ref.key.partition("/")[0]
    return f"owner {ref.owner}, interconnect {interconnect}, {path or 'no path'} (key {ref.key})"


def _parents(database: str, tables: Snapshot, uuid: str) -> Iterator[tuple[RowRef, str]]:
    for table, owner, record in _all(tables):
        for column, value in record.items():
            refers = uuid in value if isinstance(value, frozenset) else value == uuid
            if refers and column != "_uuid":
                yield row_ref(database, table, owner, record), column
