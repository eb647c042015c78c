"""Ctrl-C, SIGTERM and SIGHUP while a lab is built or played with: noted, and answered where that is safe.

A KeyboardInterrupt may come between any two lines: after a directory is made and before the `try` that would remove
it, in the start of a thread that nobody waits for then, or in a library that swallows it (pydantic's serializer makes
it a warning). So none comes: the work has a thread of its own, and the main thread waits for it and for signals.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK = 0.05
"""Seconds between two looks whether a signal came."""

Result = TypeVar("Result")


class Interrupts:
    """The signals of one `noted`."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self.came = True

    def watch(self, work: Callable[[], Result], stop: Callable[[], object]) -> Result:
        """What `work()` returns, from a thread. Raises what it raises; KeyboardInterrupt, when a signal came.

        stop  makes the work fail soon; called again and again until it has, as it may begin what can be stopped later
        """
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(work)
            while wait([future], LOOK).not_done:
                if self.came:
                    stop()
        if self.came:
            raise KeyboardInterrupt
        return future.result()


@contextmanager
def noted() -> Iterator[Interrupts]:
    """Signals interrupt nothing inside, neither what is watched nor the cleaning up after it.

    What comes after the last `watch` is too late and forgotten. An inner `noted` is the outer one.
    """
    before = {n: h for n in ENDINGS if (h := signal.getsignal(n)) not in (None, signal.SIG_IGN)}
    outer = next((h for h in before.values() if isinstance(h, Interrupts)), None)
    if outer or threading.current_thread() is not threading.main_thread():
        yield outer or Interrupts()
        return
    inner = Interrupts()
    try:
        for number in before:
            signal.signal(number, inner)
        yield inner
    finally:
        # SIGINT is the last: its usual handler raises, and then nothing is left to be done.
        for number, handler in reversed(before.items()):
            signal.signal(number, handler)
