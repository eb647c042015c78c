"""Whose turn it is: requests that concern one thing are served one after another, and none waits for what nobody wants.

Each waits for those before it only, so that nobody waits in a circle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from isthmus.agent import cni
from isthmus.agent.cni import Refused, Request

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Turns:
    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], Request] = {}

    @property
    def requests(self) -> list[Request]:
        """That are served, or wait for it."""
        return list(self._tasks.values())

    async def take(self, request: Request, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `work` gives, once it is the request's turn. Raises Refused when a later one has ended it."""
        earlier = [task for task, other in self._tasks.items() if request.follows(other)]
        for task in earlier:
            if request.ends(self._tasks[task]):
                task.cancel()
        mine = asyncio.create_task(_after(earlier, work))
        self._tasks[mine] = request
        mine.add_done_callback(self._tasks.pop)
        try:
            return await mine
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise Refused(cni.AGAIN, f"a later request ended this {request.command}") from None


async def _after(earlier: Iterable[asyncio.Task[Any]], work: Callable[[], Awaitable[Answer]]) -> Answer:
    if earlier := list(earlier):
        await asyncio.wait(earlier)
    return await work()


async def whole(work: Coroutine[Any, Any, Answer]) -> Answer:
    """What `work` gives; it comes to its end, though whoever waits for it may be cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue  # it is on its way out already
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s, which nobody waited for any more", error)
        raise
