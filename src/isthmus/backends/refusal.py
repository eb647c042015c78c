"""What an API refused, and when it may be asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from isthmus.backends.changes import Change
from isthmus.errors import Conflict, IsthmusError, Problem

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 1.0, 30.0
"""Seconds until an API that failed is asked again, and until a refused change is tried again; doubling."""


class Refusal:
    """What was refused, and when it may be tried again: at once where something else is wanted now."""

    def __init__(self, problem: Problem, changes: Sequence[Change], before: Refusal | None) -> None:
        self._changes = list(changes)
        self.problem: Problem
        same = before is not None and before._changes == self._changes
        # The rows tell of it; they need not be written again for another request id.
        self.problem = before.problem if before and same and before.problem.code == problem.code else problem
        self._delay: float = min(2 * before._delay, LAST_RETRY) if before and same else FIRST_RETRY
        self._until = asyncio.get_running_loop().time() + self._delay

    def again(self, changes: Sequence[Change]) -> bool:
        return self._changes != list(changes) or asyncio.get_running_loop().time() >= self._until


class Refusals:
    """Of one site, by Interconnect. `fault` says what nobody foresaw."""

    def __init__(self, fault: Callable[[Exception], Problem]) -> None:
        self._fault = fault
        self._found: dict[str, Refusal] = {}

    @property
    def version(self) -> object:
        """Differs from before where there is one more, or one less."""
        return tuple(sorted(self._found))

    def of(self, interconnect: str) -> Problem | None:
        """Why its last changes were not all accepted, or None."""
        found = self._found.get(interconnect)
        return found.problem if found else None

    def bars(self, interconnect: str, changes: Sequence[Change]) -> bool:
        """These were refused just now."""
        found = self._found.get(interconnect)
        return found is not None and not found.again(changes)

    @contextmanager
    def noted(self, interconnect: str, changes: Sequence[Change]) -> Iterator[None]:
        """Remember what comes of changes that are made inside; no error goes on. A conflict is no refusal."""
        try:
            yield
            self._found.pop(interconnect, None)
        except Conflict as error:
            log.info("interconnect %s: %s", interconnect, error)
        except IsthmusError as error:
            self._refuse(interconnect, error.problems[0], changes)
            log.warning("interconnect %s: %s", interconnect, error)
        except Exception as error:  # an answer that nobody foresaw
            log.exception("interconnect %s", interconnect)
            self._refuse(interconnect, self._fault(error), changes)

    def _refuse(self, interconnect: str, problem: Problem, changes: Sequence[Change]) -> None:
        self._found[interconnect] = Refusal(problem, changes, self._found.get(interconnect))
