"""Requests to an API server that Interconnects need: begun and not awaited, a few at once, tried again when refused."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError

from isthmus.backends.changes import Call, Change
from isthmus.backends.kubernetes.reflector import refusal, unreachable
from isthmus.backends.refusal import Refusals
from isthmus.errors import Problem, Unreachable, WorldError

AT_ONCE = 4
"""Interconnects whose requests are under way at the same time."""
REMEMBERED = 100
"""Of the last requests that were accepted."""


class Requests:
    """Of one site. `work` does all changes of one Interconnect; `done` is called whenever it has, or could not."""

    def __init__(self, work: Callable[[Sequence[Change]], Awaitable[None]], done: Callable[[], None]) -> None:
        self._work, self._done = work, done
        self._running: dict[str, asyncio.Task[None]] = {}
        self._refused = Refusals(lambda error: Problem("Fault", repr(error), remedy="please report it"))
        self.called: set[str] = set()
        """Interconnects that any were made for."""
        self.recent: deque[Call] = deque(maxlen=REMEMBERED)
        self.accepted = 0

    @property
    def version(self) -> object:
        return tuple(sorted(self._running)), self._refused.version

    def begin(self, interconnect: str, changes: Sequence[Change]) -> bool:
        """Whether they were begun: not while some are under way, or were refused just now."""
        changes = [change for change in changes if not change.deferred]
        if not changes or interconnect in self._running or len(self._running) >= AT_ONCE:
            return False
        if self._refused.bars(interconnect, changes):
            return False
        self._running[interconnect] = asyncio.create_task(self._run(interconnect, changes))
        return True

    def refusal(self, interconnect: str) -> Problem | None:
        return self._refused.of(interconnect)

    async def stop(self) -> None:
        """What is under way is awaited."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, interconnect: str, changes: list[Change]) -> None:
        try:
            with self._refused.noted(interconnect, changes):
                await self._work(changes)
        finally:
            self.called.add(interconnect)
            del self._running[interconnect]
            self._done()

    async def send(self, what: str, kind: type[object], request: Awaitable[Any], fine: int) -> Any:
        """One request; None where the answer is the code `fine`. Raises WorldError.

        what  method and path
        """
        begun = time.monotonic()
        try:
            answer = await request
        except ApiError as error:
            if error.status.code == fine:
                return None
            raise WorldError(refusal(error, kind)) from error
        except (httpx2.HTTPError, OSError) as error:
            raise Unreachable(unreachable(what, error)) from error
        self.note(what, "", begun)
        return answer

    def note(self, what: str, version: str, begun: float) -> None:
        """A request that was accepted: the version that it made, and when it was begun by the monotonic clock."""
        self.accepted += 1
        self.recent.append(Call(what, version, time.monotonic() - begun))
