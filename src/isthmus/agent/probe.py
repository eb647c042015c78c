"""When to send which echo request, and what the answers mean. Pure: time is passed in, packets are not seen.

A *probe* is one port on one link; its *targets* are the addresses of the far VPC router that must answer. A probe is
`up` while every target answers. Each new generation of rows is proven anew: an answer to a request that was sent
under the last one counts for nothing.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from isthmus.agent.packets import Address

FIRST, FIRST_FOR = 0.02, 2.0
"""Seconds between requests to a target that never answered, for this many seconds: the first packets of a path
are often lost (a tunnel's endpoint is being resolved) and the user waits."""

SEARCH, SEARCH_FOR = 0.2, 30.0
"""Seconds between requests to a target that does not answer, for this many seconds."""

STEADY = 1.0
"""Seconds between requests to a target that answers, or has been silent for long."""

TIMEOUT = 0.9
"""Seconds after which a request counts as lost; less than STEADY, so that the next one finds it overdue."""

LOST_IN_A_ROW = 3
"""So many, and a target is down; so many answers in a row, and one that had been up is up again."""

BATCH, PACE = 64, 0.02
"""At most so many requests per so many seconds, or a site that vanished would keep us busy with asking for it."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address, and the name of the subnet it stands for: `<attachment>/<subnet>`."""

    subnet: str
    address: Address

    def __str__(self) -> str:
        return f"{self.subnet} {self.address}"


@dataclass(frozen=True, slots=True)
class Probe:
    """What to ask. A different `generation`, or other targets, begins anew."""

    name: str
    generation: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Send this now."""

    probe: str
    target: Target
    sequence: int
    cookie: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a probe. `since`: when `state` began, on the clock that was passed in; `lost`: targets that
    do not answer, sorted."""

    generation: str
    state: Literal["up", "down"]
    since: float
    lost: tuple[str, ...]


@dataclass(slots=True)
class Counts:
    """Of one target since the agent began to probe it; they outlive generations. Times in seconds."""

    sent: int = 0
    received: int = 0
    lost: int = 0
    rtt_sum: float = 0.0
    rtt_last: float | None = None


@dataclass(slots=True)
class _Track:
    """One target under one generation."""

    target: Target
    began: float
    cookie: bytes
    counts: Counts
    up: bool | None = None
    answered: bool = False
    """Was up once under this generation."""
    in_a_row: int = 0
    """Answers (> 0) or losses (< 0) since the last change from one to the other."""
    silent_since: float = 0.0
    flying: dict[int, float] = field(default_factory=dict)
    """Sequence -> time sent, in order."""
    live: bool = True

    def interval(self, now: float) -> float:
        if not self.answered and now - self.began < FIRST_FOR:
            return FIRST
        if self.up or now - self.silent_since >= SEARCH_FOR:
            return STEADY
        return SEARCH

    def answer(self, now: float, sent: float) -> None:
        self.counts.received += 1
        self.counts.rtt_last = now - sent
        self.counts.rtt_sum += now - sent
        self.in_a_row = max(self.in_a_row, 0) + 1
        if not self.answered or self.in_a_row >= LOST_IN_A_ROW:
            self.up = self.answered = True

    def expire(self, now: float) -> None:
        """Count what is overdue."""
        while self.flying:
            sequence, sent = next(iter(self.flying.items()))
            if now - sent < TIMEOUT:
                break
            del self.flying[sequence]
            self.counts.lost += 1
            self.in_a_row = min(self.in_a_row, 0) - 1
        fresh = not self.answered and now - self.began < FIRST_FOR
        if self.up is not False and self.in_a_row <= -LOST_IN_A_ROW and not fresh:
            self.up = False
            self.silent_since = now


class Prober:
    """All probes of one chassis.

    changed  called when the verdict on a probe, named, became another
    cookie   makes the bytes by which an answer proves that the request was seen
    """

    def __init__(
        self,
        changed: Callable[[str], None] = lambda _: None,
        cookie: Callable[[], bytes] = lambda: secrets.token_bytes(16),
    ) -> None:
        self._changed = changed
        self._cookie = cookie
        self._probes: dict[str, Probe] = {}
        self._tracks: dict[str, dict[Address, _Track]] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._queue: list[tuple[float, int, str, _Track]] = []
        self._order = count()
        self._sequence = count(1)
        self._not_before = 0.0

    # -- what to probe ------------------------------------------------------------------------------------

    def configure(self, probes: Mapping[str, Probe], now: float) -> None:
        """Probe exactly these from now on. Probes that stay as they are notice nothing."""
        for name in self._probes.keys() - probes.keys():
            self._drop(name)
            del self._probes[name]
        for name, probe in probes.items():
            if self._probes.get(name) != probe:
                old = self._drop(name)
                self._probes[name] = probe
                self._begin(probe, now, old)

    def _drop(self, name: str) -> dict[Address, _Track]:
        tracks = self._tracks.pop(name, {})
        for track in tracks.values():
            track.live = False
        self._verdicts.pop(name, None)
        return tracks

    def _begin(self, probe: Probe, now: float, old: Mapping[Address, _Track]) -> None:
        tracks: dict[Address, _Track] = {}
        for target in probe.targets:
            before = old.get(target.address)
            track = _Track(target, now, self._cookie(), before.counts if before else Counts(), silent_since=now)
            tracks[target.address] = track
            self._enqueue(now, probe.name, track)
        self._tracks[probe.name] = tracks
        self._judge(probe.name, now)

    def _enqueue(self, when: float, name: str, track: _Track) -> None:
        heapq.heappush(self._queue, (when, next(self._order), name, track))

    # -- time and packets ---------------------------------------------------------------------------------

    def wake_at(self) -> float | None:
        """When `due` wants to be called; None while there is nothing to probe."""
        return max(self._queue[0][0], self._not_before) if self._queue else None

    def due(self, now: float) -> list[Request]:
        """Requests to send now. Read every answer that has arrived before calling this, or it counts as lost."""
        if now < self._not_before:
            return []
        requests: list[Request] = []
        while self._queue and self._queue[0][0] <= now and len(requests) < BATCH:
            _, _, name, track = heapq.heappop(self._queue)
            if not track.live:
                continue
            track.expire(now)
            self._judge(name, now)
            sequence = next(self._sequence) & 0xFFFF
            track.flying[sequence] = now
            track.counts.sent += 1
            requests.append(Request(name, track.target, sequence, track.cookie))
            self._enqueue(now + track.interval(now), name, track)
        self._not_before = now + PACE if len(requests) == BATCH else now
        return requests

    def answered(self, name: str, address: Address, sequence: int, payload: bytes, now: float) -> bool:
        """An answer came. False when it answers no request that is out: late, doubled, forged."""
        track = self._tracks.get(name, {}).get(address)
        if track is None or not payload.startswith(track.cookie):
            return False
        sent = track.flying.pop(sequence, None)
        if sent is None:
            return False
        track.answer(now, sent)
        self._judge(name, now)
        return True

    # -- answers ------------------------------------------------------------------------------------------

    def _judge(self, name: str, now: float) -> None:
        states = [track.up for track in self._tracks[name].values()]
        old = self._verdicts.get(name)
        if None in states and False not in states:
            return
        state: Literal["up", "down"] = "down" if False in states else "up"
        lost = tuple(sorted(str(t.target) for t in self._tracks[name].values() if not t.up))
        if old is not None and (old.state, old.lost) == (state, lost):
            return
        since = old.since if old is not None and old.state == state else now
        self._verdicts[name] = Verdict(self._probes[name].generation, state, since, lost)
        self._changed(name)

    def names(self) -> Iterable[str]:
        """Every probe there is now."""
        return self._probes.keys()

    def verdicts(self) -> Mapping[str, Verdict]:
        """Probe -> what is known. A probe is missing until something is known under its generation."""
        return self._verdicts

    def counts(self) -> Iterator[tuple[str, Target, Counts]]:
        """Every target that is probed now."""
        for name, tracks in self._tracks.items():
            for track in tracks.values():
                yield name, track.target, track.counts
