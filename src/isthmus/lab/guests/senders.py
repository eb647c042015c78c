"""Guests that send: each is told once what to send, and asked once what it has sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from isthmus.lab.guests.channel import Channel

Target = tuple[int, int, str]
"""Source and target as the mark has them, and the address to send to."""
Sent = list[tuple[int, int]]
"""(sequence, nanoseconds since the epoch) of each packet that left, by this machine's clock to some milliseconds."""

SLOWEST = 0.1
"""Seconds between two packets of a steady stream, at least: the guest's processor is emulated."""
LINE = 8
"""Guests that are spoken to at once."""

Result = TypeVar("Result")


class Senders:
    """Packets from several guests, `interval` seconds apart: `count` of each, or until `stop` where that is None.

    channels  guest -> the way into it
    targets   guest -> what it sends to
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        targets: Mapping[str, list[Target]],
        *,
        run: int,
        protocol: str,
        port: int,
        interval: float,
        count: int | None,
        size: int = 0,
    ) -> None:
        self._channels = {name: channels[name] for name in targets}
        self._targets, self._run = targets, run
        self._ahead: dict[str, int] = {}
        self._options: dict[str, Any] = {"protocol": protocol, "port": port, "count": count, "size": size}
        self._options["interval"] = interval if count is not None else max(interval, SLOWEST)

    def start(self) -> None:
        """Let all of them begin. Raises WorldError."""
        self._each(self._begin)

    def stop(self) -> dict[tuple[int, int], Sent]:
        """(source, target) of the marks -> what left. Waits for those that have a count. Raises WorldError."""
        found: dict[tuple[int, int], Sent] = {}
        for name, sent in self._each(self._end):
            for (source, target, _), packets in zip(self._targets[name], sent, strict=True):
                found[source, target] = [(sequence, at + self._ahead[name]) for sequence, at in packets]
        return found

    def _begin(self, name: str) -> None:
        targets = [list(target) for target in self._targets[name]]
        begin = time.time_ns()
        clock = self._channels[name].call("isthmus-send", run=self._run, targets=targets, **self._options)["clock"]
        # The guest has a clock of its own, and looked at it between then and now.
        self._ahead[name] = (begin + time.time_ns()) // 2 - clock

    def _end(self, name: str) -> list[Sent]:
        channel = self._channels[name]
        while self._options["count"] is not None and channel.call("isthmus-sent", run=self._run)["running"]:
            time.sleep(self._options["interval"])
        return list(channel.call("isthmus-sent", run=self._run, stop=True)["sent"])

    def _each(self, work: Callable[[str], Result]) -> list[tuple[str, Result]]:
        names = list(self._channels)
        with ThreadPoolExecutor(LINE) as pool:
            return list(zip(names, pool.map(work, names), strict=True))
