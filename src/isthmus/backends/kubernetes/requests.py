"""Requests to an API server that Interconnects need: begun and not awaited, a few at once, tried again when refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError

from isthmus.backends.changes import Call, Change
from isthmus.backends.kubernetes.reflector import refusal
from isthmus.backends.refusal import Refusal
from isthmus.errors import Conflict, IsthmusError, Problem, Unreachable, WorldError

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Interconnects whose requests are under way at the same time."""
REMEMBERED = 100
"""Of the last requests that were accepted."""


class Requests:
    """Of one site. `work` does all changes of one Interconnect; `done` is called whenever it has, or could not."""

    def __init__(self, work: Callable[[Sequence[Change]], Awaitable[None]], done: Callable[[], None]) -> None:
        self._work, self._done = work, done
        self._running: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, Refusal] = {}
        self.called: set[str] = set()
        """Interconnects that any were made for."""
        self.recent: deque[Call] = deque(maxlen=REMEMBERED)
        self.accepted = 0

    @property
    def version(self) -> object:
        return tuple(sorted(self._running)), tuple(sorted(self._refused))

    def begin(self, interconnect: str, changes: Sequence[Change]) -> bool:
        """Whether they were begun: not while some are under way, or were refused just now."""
        changes = [change for change in changes if not change.deferred]
        refused = self._refused.get(interconnect)
        if not changes or interconnect in self._running or len(self._running) >= AT_ONCE:
            return False
        if refused and not refused.again(changes):
            return False
        self._running[interconnect] = asyncio.create_task(self._run(interconnect, changes))
        return True

    def refusal(self, interconnect: str) -> Problem | None:
        found = self._refused.get(interconnect)
        return found.problem if found else None

    async def stop(self) -> None:
        """What is under way is awaited."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, interconnect: str, changes: list[Change]) -> None:
        try:
            await self._work(changes)
            self._refused.pop(interconnect, None)
        except Conflict as error:
            log.info("interconnect %s: %s", interconnect, error)
        except IsthmusError as error:
            self._refuse(interconnect, error.problems[0], changes)
            log.warning("interconnect %s: %s", interconnect, error)
        except Exception as error:  # an answer that nobody foresaw
            self._refuse(interconnect, Problem("Fault", repr(error), remedy="please report it"), changes)
            log.exception("interconnect %s", interconnect)
        finally:
            self.called.add(interconnect)
            del self._running[interconnect]
            self._done()

    def _refuse(self, interconnect: str, problem: Problem, changes: list[Change]) -> None:
        self._refused[interconnect] = Refusal(problem, changes, self._refused.get(interconnect))

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
            said = f"{what}: {error or type(error).__name__}"
            raise Unreachable(Problem("Unreachable", said, remedy="see that the API server runs")) from error
        self.accepted += 1
        self.recent.append(Call(what, "", time.monotonic() - begun))
        return answer
