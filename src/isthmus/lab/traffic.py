"""Marked packets between endpoints, counted at the receiver's own interface.

One process does all: a socket belongs to the namespace it was made in, so a matrix of N x N endpoints needs no process
in any namespace, and endpoints of two tenants with one address are told apart by their sockets. Only guests send by
themselves: each is told once what to send.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from secrets import randbits
from typing import TYPE_CHECKING, Any

from isthmus.agent.namespaces import inside
from isthmus.errors import Problem, WorldError
from isthmus.lab import packets
from isthmus.lab.ears import ETH_P_ALL, IGNORE_OUTGOING, RCVBUFFORCE, SOL_PACKET, Ears, Heard
from isthmus.lab.guests.senders import Senders, Target
from isthmus.lab.layout import Machine
from isthmus.lab.mouths import Mouths
from isthmus.lab.packets import Mark, Protocol

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab

Pair = tuple[str, str]


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
    senders = _senders(
        lab,
        [(pair, numbers[pair[0]], numbers[pair[1]], targets[pair[1]]) for pair in wanted],
        run=run,
        protocol=protocol,
        port=port,
        interval=interval,
        count=count,
    )
    near = [pair for pair in wanted if pair[0] not in lab.channels]
    tally = _Tally(names, [machines[name].tenant for name in names], run, protocol == "icmp")
    try:
        for name in targets:
            mouths.sink(name, version, port)
        senders.start()
        for sequence in range(count):
            begin = time.monotonic()
            for at, (source, target) in enumerate(near):
                mark = Mark(run, numbers[source], numbers[target], sequence, time.time_ns())
                tally.sent[source, target] += mouths.say(source, targets[target], mark, port)
                if at % 8 == 7:
                    tally.take(ears.hear(0))
            while (left := begin + interval - time.monotonic()) > 0 and not tally.complete(near):
                tally.take(ears.hear(left))
        for (one, other), sent in senders.stop().items():
            tally.sent[names[one], names[other]] += len(sent)
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


def _senders(lab: Lab, wanted: Iterable[tuple[Pair, int, int, packets.Address]], **options: Any) -> Senders:
    """The guests among the sources; each with its pair, the mark's source and target, and where to send."""
    channels = lab.channels
    targets: dict[str, list[Target]] = {}
    for (name, _), source, target, address in wanted:
        if name in channels:
            targets.setdefault(name, []).append((source, target, str(address)))
    return Senders(channels, targets, **options)


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

    interval   seconds between two packets of a pair; guests take at least `senders.SLOWEST`
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
        self._senders = _senders(
            lab,
            [(pair, number, number, self._targets[pair]) for number, pair in enumerate(self.pairs)],
            run=self._run,
            protocol=protocol,
            port=packets.PORT,
            interval=interval,
            count=None,
            size=size,
        )
        self._near = [(number, pair) for number, pair in enumerate(self.pairs) if pair[0] not in lab.channels]
        self.departures: dict[Pair, dict[int, int]] = {pair: {} for pair in self.pairs}
        self.arrivals: dict[Pair, dict[int, int]] = {pair: {} for pair in self.pairs}
        self._end = threading.Event()
        self._settle = 0.5
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()
        self._senders.start()

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self) -> None:
        sequence, due = 0, time.monotonic()
        while not self._end.is_set():
            for number, pair in self._near:
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
            try:
                for (number, _), sent in self._senders.stop().items():
                    self.departures[self.pairs[number]] = dict(sent)
            finally:
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
            self._socket.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 4 << 20)
            self._socket.bind((link, ETH_P_ALL))

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
