"""Work that goes on beside the loop, and that nothing waits for."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod


class Beside(ABC):
    """Runs from `start` to `stop`; `_woken` is set when there is something to do."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abstractmethod
    async def _run(self) -> None:
        """Until cancelled."""
