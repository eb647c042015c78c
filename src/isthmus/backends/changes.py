"""What a diff says and every writer understands: rows to add, change or remove, and whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isthmus.model.rows import INSTALLATION, KEY, OWNER, PATH, Parent, Row, Value


@dataclass(frozen=True, slots=True)
class Change:
    """One row to add, change or remove.

    columns   what it will hold (add), what changes (change), {} (remove)
    parent    of an addition: the row whose set will hold it; of a removal: the one whose set holds it
    deferred  its parent is not there yet: planned, not written
    stray     of a removal: it bears our mark where nothing of ours is meant to be, so somebody else may have put it
              there; where it cannot be removed, nothing waits for it
    """

    op: Literal["add", "change", "remove"]
    table: str
    key: str
    uuid: str | None
    columns: Mapping[str, Value]
    parent: Parent | None = None
    deferred: bool = False
    stray: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    name: str
    installation: str

    def marks(self, row: Row) -> dict[str, str]:
        return {OWNER: self.name, INSTALLATION: self.installation, KEY: row.key, PATH: row.path}


def is_subnet(key: str) -> bool:
    """The row belongs to a subnet that an Attachment defined."""
    return key.split("/", 3)[2:3] == ["subnet"]


@dataclass(frozen=True, slots=True)
class Call:
    """A change that an API accepted.

    what     method and path
    request  its id in the cloud's own logs
    seconds  until the answer
    """

    what: str
    request: str
    seconds: float
