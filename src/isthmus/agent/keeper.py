"""Keeps a guard (see `guard`) beside the agent, and shows it signs of life."""

from __future__ import annotations

import asyncio
import logging
import sys

from isthmus.agent.guard import HANG, QUIT

log = logging.getLogger(__name__)

SIGN_OF_LIFE = HANG / 10


class Keeper:
    """Starts the guard, starts it again when it was killed, dismisses it in the end."""

    def __init__(self, remote: str, run: str) -> None:
        self._command = (sys.executable, "-m", "isthmus.agent.guard", remote, run)
        self._guard: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._guard is None or self._guard.returncode is not None:
                if self._guard is not None:
                    log.warning("the guard ended with %s; starting another", self._guard.returncode)
                self._guard = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.PIPE, start_new_session=True
                )
            assert self._guard.stdin is not None
            self._guard.stdin.write(b".")
            await asyncio.sleep(SIGN_OF_LIFE)

    async def dismiss(self, clean: bool) -> None:
        """The agent leaves. Unless `clean`, the guard removes what is left of it."""
        if self._guard is None or self._guard.returncode is not None or self._guard.stdin is None:
            return
        if clean:
            self._guard.stdin.write(QUIT)
        self._guard.stdin.close()
        if clean:
            await self._guard.wait()
