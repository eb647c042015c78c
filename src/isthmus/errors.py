"""Every error that Isthmus raises on purpose, sorted by whose move is next.

IsthmusError
├── IntentError        the user's move: what was written cannot be honoured (exit 2)
├── WorldError         the operator's move: a database, certificate or file is not as needed (exit 1)
│   ├── Unreachable    a server does not answer; retried by `serve`
│   ├── LockHeld       another isthmus writes here
│   └── Conflict       the row we based a write on has changed; the next pass re-reads
├── NotReady           no one's move: the deadline passed before the conditions held (exit 4)
└── Bug                ours: an invariant does not hold
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXIT_OK = 0
EXIT_WORLD = 1
EXIT_INTENT = 2
EXIT_CHANGES = 3
EXIT_NOT_READY = 4


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, as a user needs to read it.

    code      CamelCase word, stable: tools may match it; also the reason of a condition
    message   who and what, one sentence
    file      the path as the user gave it, or ""
    document  index of the document in the file, from 0, or None
    field     dotted path inside the document, e.g. `spec.attachments[0].vpc.name`, or ""
    remedy    what to do next, imperative
    """

    code: str
    message: str
    file: str = ""
    document: int | None = None
    field: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        where = self.file
        if self.document is not None:
            where += f" document {self.document + 1}"  # people count from 1
        if self.field:
            where += f" {self.field}"
        return f"{where.strip()}: {self.advice}" if where.strip() else self.advice

    @property
    def advice(self) -> str:
        """What is wrong and what to do, without the place."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class IsthmusError(Exception):
    """Base of all; carries at least one `Problem`."""

    exit_code = EXIT_WORLD

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class IntentError(IsthmusError):
    """What the user wrote is invalid, by itself or against the facts."""

    exit_code = EXIT_INTENT

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> IntentError:
        """All problems at once, in a stable order."""
        return cls(*sorted(set(problems), key=lambda p: (p.file, p.document or 0, p.field, p.code, p.message)))


class WorldError(IsthmusError):
    """Something outside failed; the message names it and what to do."""


class Unreachable(WorldError):
    """A server did not answer, or refused us."""


class LockHeld(WorldError):
    """Another isthmus holds the lock of a database that we need to write."""


class Conflict(WorldError):
    """A precondition of a transaction no longer held; nothing was written."""


class NotReady(IsthmusError):
    """The world did not become Ready before the deadline."""

    exit_code = EXIT_NOT_READY


class Bug(IsthmusError):
    """An invariant of ours does not hold."""
