"""Hearing marked packets where they arrive: at an endpoint's interface, at a guest's tap, at a host's link."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isthmus.agent.namespaces import inside
from isthmus.lab import packets
from isthmus.lab.packets import Kind, Mark

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab

ETH_P_ALL = 3
SOL_PACKET, IGNORE_OUTGOING, OUTGOING = 263, 23, 4
RCVBUFFORCE = 33
_TIMESTAMPNS = 35


@dataclass(frozen=True, slots=True)
class Heard:
    """A marked packet as an endpoint's interface, or a guest's tap, saw it.

    at  nanoseconds since the epoch, by the kernel
    """

    endpoint: str
    mark: Mark
    kind: Kind
    at: int


class Ear:
    """One socket: what comes to an endpoint's link; or what goes to a guest, by the host's end of its link.

    A guest that is started anew has a new link of the old name.
    """

    def __init__(self, lab: Lab, place: str, link: str) -> None:
        tap = lab.taps.get(place)
        where, self._link = tap or (place, link)
        self.place, self.guest, self._lost = place, tap is not None, False
        with inside(lab.state.path(where)):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(SOL_PACKET, IGNORE_OUTGOING, not self.guest)
        self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 4 << 20)
        try:
            self._socket.bind((self._link, ETH_P_ALL))
        except OSError:
            if not self.guest:
                self._socket.close()
                raise
            self._lost = True

    def fileno(self) -> int:
        return self._socket.fileno()

    def find(self) -> None:
        """Look for the link of a guest again, where it has gone."""
        if self._lost:
            with suppress(OSError):
                self._socket.bind((self._link, ETH_P_ALL))
                self._lost = False

    def frames(self) -> Iterator[tuple[bytes, int]]:
        """Frames that are there, each with its time."""
        while True:
            try:
                frame, ancillary, _, address = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError:  # the link is gone
                self._lost = True
                return
            if not self.guest or address[2] == OUTGOING:
                yield frame, _stamp(ancillary)

    def close(self) -> None:
        self._socket.close()


class Ears:
    """Listens at endpoints, or at links of hosts, for marked packets."""

    def __init__(self, lab: Lab, places: Iterable[str], link: str = "eth0") -> None:
        self._ears = {ear.fileno(): ear for ear in (Ear(lab, place, link) for place in places)}
        self._guests = [ear for ear in self._ears.values() if ear.guest]
        self._poll = select.epoll()
        for number in self._ears:
            self._poll.register(number, select.EPOLLIN)

    def hear(self, timeout: float) -> Iterator[Heard]:
        """What came within `timeout` seconds or is there already; returns after the first that had to be awaited."""
        for ear in self._guests:
            ear.find()
        for number, _ in self._poll.poll(timeout):
            ear = self._ears[number]
            for frame, at in ear.frames():
                if mark := packets.decode(frame):
                    yield Heard(ear.place, mark, packets.kind(frame), at)

    def close(self) -> None:
        self._poll.close()
        for ear in self._ears.values():
            ear.close()


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    for _, kind, data in ancillary:
        if kind == _TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()
