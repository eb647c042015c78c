"""Marked packets between endpoints, counted at the receiver's own interface.

One process does all: a socket belongs to the namespace it was made in, so a matrix of N x N endpoints needs no process
in any namespace, and endpoints of two tenants with one address are told apart by their sockets.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from secrets import randbits
from typing import TYPE_CHECKING

from isthmus.errors import Problem, WorldError
from isthmus.lab import packets
from isthmus.lab.layout import Machine
from isthmus.lab.namespaces import inside
from isthmus.lab.packets import Kind, Mark, Protocol

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab

Pair = tuple[str, str]

_ETH_P_ALL = 3
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_TIMESTAMPNS = 35
_RCVBUFFORCE = 33


@dataclass(frozen=True, slots=True)
class Heard:
    """A marked packet as an endpoint's interface saw it: `at` in nanoseconds since the epoch, by the kernel."""

    endpoint: str
    mark: Mark
    kind: Kind
    at: int


class Ears:
    """Listens at interfaces of endpoints, or of hosts, for marked packets."""

    def __init__(self, lab: Lab, places: Iterable[str], link: str = "eth0") -> None:
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._poll = select.epoll()
        for place in places:
            with inside(lab.state.path(place)):
                ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
                ear.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
                ear.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
                ear.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 4 << 20)
                ear.bind((link, _ETH_P_ALL))
            self._sockets[ear.fileno()] = (place, ear)
            self._poll.register(ear, select.EPOLLIN)

    def hear(self, timeout: float) -> Iterator[Heard]:
        """What came within `timeout` seconds or is there already; returns after the first that had to be awaited."""
        for number, _ in self._poll.poll(timeout):
            place, ear = self._sockets[number]
            while True:
                try:
                    frame, ancillary, _, _ = ear.recvmsg(2048, 64)
                except BlockingIOError:
                    break
                if mark := packets.decode(frame):
                    yield Heard(place, mark, packets.kind(frame), _stamp(ancillary))

    def close(self) -> None:
        self._poll.close()
        for _, ear in self._sockets.values():
            ear.close()


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    for _, kind, data in ancillary:
        if kind == _TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


class Mouths:
    """Sends from endpoints as their own kernel would: routes, neighbours and addresses are the endpoint's."""

    def __init__(self, lab: Lab, protocol: Protocol, size: int = 0) -> None:
        self._lab = lab
        self._protocol = protocol
        self._size = size
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._sinks: dict[tuple[str, int], socket.socket] = {}

    def _socket(self, place: str, version: int) -> socket.socket:
        if (place, version) not in self._sockets:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            with inside(self._lab.state.path(place)):
                if self._protocol == "udp":
                    mouth = socket.socket(family, socket.SOCK_DGRAM)
                else:
                    number = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
                    mouth = socket.socket(family, socket.SOCK_RAW, number)
                    # It hears everything that it does not ask for: keep its queue small.
                    mouth.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            self._sockets[place, version] = mouth
        return self._sockets[place, version]

    def sink(self, place: str, version: int, port: int = packets.PORT) -> None:
        """Something that listens at the UDP port, so that the receiver's kernel answers no error."""
        if self._protocol != "udp" or (place, version) in self._sinks:
            return
        with inside(self._lab.state.path(place)):
            sink = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sink.bind(("", port))
        self._sinks[place, version] = sink

    def say(self, source: str, address: packets.Address, mark: Mark, port: int = packets.PORT) -> bool:
        """Send one packet; False where the endpoint's own kernel has no way to it."""
        payload = mark.encode().ljust(self._size, b"\0")
        if self._protocol == "icmp":
            rest = struct.pack("!HH", mark.run & 0xFFFF, mark.sequence & 0xFFFF)
            kind = 8 if address.version == 4 else 128
            # The kernel fills in ICMPv6's checksum, not ICMP's.
            payload = packets.icmp(address, address, kind, 0, rest, payload)
            port = 0
        try:
            self._socket(source, address.version).sendto(payload, (str(address), port))
        except OSError:
            return False
        return True

    def close(self) -> None:
        for each in (*self._sockets.values(), *self._sinks.values()):
            each.close()


@dataclass(frozen=True, slots=True)
class Count:
    """Packets of one ordered pair; `replies`: echo replies back at the sender; times in nanoseconds since the epoch."""

    sent: int
    received: int
    replies: int = 0
    first: int | None = None
    last: int | None = None

    def __iter__(self) -> Iterator[int]:
        return iter((self.sent, self.received))


@dataclass(slots=True)
class Matrix(Mapping[Pair, Count]):
    """Counts by ordered pair.

    strays   (source, target, seen at) of marked packets that reached an endpoint of another tenant than the source's
             that they were not sent to
    """

    counts: dict[Pair, Count]
    strays: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __getitem__(self, pair: Pair) -> Count:
        return self.counts[pair]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def open(self) -> set[Pair]:
        """Pairs of which at least one packet arrived."""
        return {pair for pair, count in self.counts.items() if count.received}


def pairs(machines: Iterable[Machine], version: int = 4) -> list[Pair]:
    """All ordered pairs of endpoints with addresses of that IP version that differ."""
    having = [m for m in machines if m.address(version)]
    return [(a.name, b.name) for a in having for b in having if a is not b and a.address(version) != b.address(version)]


def matrix(
    lab: Lab,
    wanted: Sequence[Pair],
    *,
    count: int = 3,
    interval: float = 0.02,
    protocol: Protocol = "udp",
    version: int = 4,
    settle: float = 0.3,
    port: int = packets.PORT,
    addresses: Mapping[str, packets.Address] | None = None,
) -> Matrix:
    """Send `count` packets for each ordered pair of endpoint names, and count them at the receivers.

    interval    seconds between two packets of a pair, at least
    settle      seconds without any arrival after which nothing more is awaited; a full house ends it at once
    addresses   where to send instead of the receiver's own address, by endpoint name
    Raises WorldError where an endpoint has no address of that IP version.
    """
    machines = {m.name: m for m in lab.machines}
    names = list(dict.fromkeys(name for pair in wanted for name in pair))
    numbers = {name: n for n, name in enumerate(names)}
    targets = {name: (addresses or {}).get(name) or _address(machines[name], version) for _, name in wanted}
    run = randbits(32)
    ears, mouths = Ears(lab, names), Mouths(lab, protocol)
    tally = _Tally(names, [machines[name].tenant for name in names], run, protocol == "icmp")
    try:
        for name in targets:
            mouths.sink(name, version, port)
        for sequence in range(count):
            begin = time.monotonic()
            for at, (source, target) in enumerate(wanted):
                mark = Mark(run, numbers[source], numbers[target], sequence, time.time_ns())
                tally.sent[source, target] += mouths.say(source, targets[target], mark, port)
                if at % 8 == 7:
                    tally.take(ears.hear(0))
            while (left := begin + interval - time.monotonic()) > 0 and not tally.complete(wanted):
                tally.take(ears.hear(left))
        deadline = time.monotonic() + settle
        while (left := deadline - time.monotonic()) > 0 and not tally.complete(wanted):
            if tally.take(ears.hear(left)):
                deadline = time.monotonic() + settle
    finally:
        ears.close()
        mouths.close()
    return tally.result(wanted)


def _address(machine: Machine, version: int) -> packets.Address:
    if address := machine.address(version):
        return address
    raise WorldError(Problem("NoAddress", f"endpoint {machine.name!r} has no IPv{version} address"))


class _Tally:
    """Counts while they grow."""

    def __init__(self, names: list[str], tenants: list[str | None], run: int, echoes: bool) -> None:
        self._names, self._run, self._echoes = names, run, echoes
        self._tenants = dict(zip(names, tenants, strict=True))
        self.sent: Counter[Pair] = Counter()
        self.received: Counter[Pair] = Counter()
        self.replies: Counter[Pair] = Counter()
        self.strays: Counter[tuple[str, str, str]] = Counter()
        self.first: dict[Pair, int] = {}
        self.last: dict[Pair, int] = {}

    def take(self, heard: Iterable[Heard]) -> int:
        """Count; how many were of this run."""
        taken = 0
        for each in heard:
            if each.mark.run != self._run:
                continue
            taken += 1
            pair = self._names[each.mark.source], self._names[each.mark.target]
            if each.kind == "sent" and each.endpoint == pair[1]:
                self.received[pair] += 1
                self.first.setdefault(pair, each.at)
                self.last[pair] = each.at
            elif each.kind == "reply" and each.endpoint == pair[0]:
                self.replies[pair] += 1
            elif each.kind == "sent" and self._tenants[each.endpoint] != self._tenants[pair[0]]:
                self.strays[(*pair, each.endpoint)] += 1
        return taken

    def complete(self, wanted: Iterable[Pair]) -> bool:
        """Whether all that was sent has arrived, and was answered where it is."""
        total = self.sent.total()
        if self.received.total() < total or (self._echoes and self.replies.total() < total):
            return False
        return all(self.received[p] >= self.sent[p] for p in wanted)

    def result(self, wanted: Iterable[Pair]) -> Matrix:
        counts = {
            p: Count(self.sent[p], self.received[p], self.replies[p], self.first.get(p), self.last.get(p))
            for p in wanted
        }
        return Matrix(counts, self.strays)


@dataclass(frozen=True, slots=True)
class Report:
    """What a stream saw. Times in nanoseconds since the epoch.

    lost        (sequence, when it was sent) of each packet that never came
    first, last when the first and the last packet that came were received
    arrivals    sequence -> when received
    """

    source: str
    target: str
    sent: int
    received: int
    lost: tuple[tuple[int, int], ...]
    first: int | None
    last: int | None
    arrivals: Mapping[int, int]
    departures: Mapping[int, int]

    @property
    def longest_gap(self) -> float:
        """Seconds between two arrivals that follow each other, at most."""
        times = sorted(self.arrivals.values())
        return max((b - a for a, b in pairwise(times)), default=0) / 1e9


class Streams:
    """Steady packets for several pairs, from a thread of its own, until stopped.

    interval   seconds between two packets of a pair
    As a context manager it starts at once; `stop()` gives a Report for each pair.
    """

    def __init__(
        self,
        lab: Lab,
        wanted: Sequence[Pair],
        *,
        interval: float = 0.01,
        protocol: Protocol = "udp",
        version: int = 4,
        size: int = 0,
    ) -> None:
        machines = {m.name: m for m in lab.machines}
        self.pairs = list(wanted)
        self._targets = {pair: _address(machines[pair[1]], version) for pair in self.pairs}
        self._interval = interval
        self._run = randbits(32)
        self._ears = Ears(lab, dict.fromkeys(target for _, target in self.pairs))
        self._mouths = Mouths(lab, protocol, size)
        for _, target in self.pairs:
            self._mouths.sink(target, version)
        self.departures: dict[Pair, dict[int, int]] = {pair: {} for pair in self.pairs}
        self.arrivals: dict[Pair, dict[int, int]] = {pair: {} for pair in self.pairs}
        self._end = threading.Event()
        self._settle = 0.5
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        sequence, due = 0, time.monotonic()
        while not self._end.is_set():
            for number, pair in enumerate(self.pairs):
                mark = Mark(self._run, number, number, sequence, now := time.time_ns())
                if self._mouths.say(pair[0], self._targets[pair], mark):
                    self.departures[pair][sequence] = now
            sequence, due = sequence + 1, due + self._interval
            while (left := due - time.monotonic()) > 0:
                self._listen(left)
        deadline = time.monotonic() + self._settle
        while (left := deadline - time.monotonic()) > 0 and not self._complete():
            self._listen(left)

    def _listen(self, timeout: float) -> None:
        for heard in self._ears.hear(timeout):
            if heard.mark.run != self._run or heard.kind != "sent":
                continue
            pair = self.pairs[heard.mark.source]
            if heard.endpoint == pair[1]:
                with self._arrived:
                    self.arrivals[pair].setdefault(heard.mark.sequence, heard.at)
                    self._arrived.notify_all()

    def _complete(self) -> bool:
        return all(len(self.arrivals[p]) == len(self.departures[p]) for p in self.pairs)

    def wait(self, pair: Pair | None = None, timeout: float = 10.0) -> int:
        """When the pair's (all pairs': the latest) first packet was received. Raises TimeoutError."""
        wanted = self.pairs if pair is None else [pair]
        with self._arrived:
            if not self._arrived.wait_for(lambda: all(self.arrivals[p] for p in wanted), timeout):
                missing = [p for p in wanted if not self.arrivals[p]]
                raise TimeoutError(f"no packet in {timeout} s: {missing}")
            return max(min(self.arrivals[p].values()) for p in wanted)

    def stop(self, settle: float = 0.5) -> dict[Pair, Report]:
        """Stop sending, wait at most `settle` seconds for what is under way, and report."""
        if self._thread.is_alive():
            self._settle = settle
            self._end.set()
            self._thread.join()
            self._ears.close()
            self._mouths.close()
        return {pair: self._report(pair) for pair in self.pairs}

    def _report(self, pair: Pair) -> Report:
        sent, came = self.departures[pair], self.arrivals[pair]
        times = came.values()
        return Report(
            *pair,
            sent=len(sent),
            received=len(came),
            lost=tuple((n, at) for n, at in sent.items() if n not in came),
            first=min(times, default=None),
            last=max(times, default=None),
            arrivals=came,
            departures=sent,
        )


class Stream(Streams):
    """`Streams` of one pair; `report()` stops it."""

    def __init__(
        self,
        lab: Lab,
        source: str,
        target: str,
        *,
        interval: float = 0.01,
        protocol: Protocol = "udp",
        version: int = 4,
    ) -> None:
        super().__init__(lab, [(source, target)], interval=interval, protocol=protocol, version=version)

    def report(self, settle: float = 0.5) -> Report:
        return next(iter(self.stop(settle).values()))


class Wire:
    """Raw frames on a link of an endpoint or host: sends anything, hears everything."""

    def __init__(self, lab: Lab, place: str, link: str = "eth0") -> None:
        with inside(lab.state.path(place)):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 4 << 20)
            self._socket.bind((link, _ETH_P_ALL))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """Put a whole Ethernet frame on the link."""
        self._socket.send(frame)

    def receive(self, timeout: float) -> bytes | None:
        """The next frame that arrives, or None after `timeout` seconds."""
        self._socket.settimeout(timeout)
        try:
            return self._socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return None

    def frames(self, seconds: float) -> Iterator[bytes]:
        """All frames that arrive within `seconds`."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if (frame := self.receive(left)) is not None:
                yield frame
