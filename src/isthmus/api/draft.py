"""One document on its way to an object of `model.intent`, with all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from isthmus.errors import Problem
from isthmus.model.intent import Attachment, Fabric, Interconnect, Origin, Site, Tls


@dataclass(slots=True)
class Draft:
    """`value` is the decoded document: str, int, float, bool, None, list, and dict with string keys.

    base         directory that relative file names start from
    result       the object, as far as it can be judged against others; `problems` may refuse it
    tls          of a Fabric or Site: its files, where they are named
    fabric       of an Interconnect: as it is written, "" where it is omitted, None where that cannot be told
    attachments  of an Interconnect: where every one of them could be read, even if the document is refused
    parts        of an Interconnect: what can be read of each attachment, also where `attachments` is None
    """

    value: object
    origin: Origin
    base: Path
    kind: str = ""
    name: str | None = None
    problems: list[Problem] = field(default_factory=list)
    result: Fabric | Site | Interconnect | None = None
    tls: Tls | None = None
    fabric: str | None = None
    attachments: tuple[Attachment, ...] | None = None
    parts: tuple[Attachment, ...] = ()

    def add(self, problems: Iterable[Problem]) -> None:
        """Problems of this document: the place is filled in."""
        self.problems += [replace(p, file=self.origin.file, document=self.origin.document) for p in problems]

    def refuse(self, code: str, message: str, at: str = "", remedy: str = "") -> None:
        self.add([Problem(code, message, field=at, remedy=remedy)])

    @property
    def title(self) -> str:
        """As messages name it: kind and name."""
        return f"{self.kind} {self.name!r}"

    @property
    def valid(self) -> bool:
        return self.result is not None and not self.problems
