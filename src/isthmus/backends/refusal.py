"""What an API refused, and when it may be asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from isthmus.backends.changes import Change
from isthmus.errors import Problem

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
