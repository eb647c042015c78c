"""What people read of a cluster's objects, written beside the work: statuses, of which the newest counts, and Events.

Nothing waits for either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.cluster import Cluster
from isthmus.controller.beside import Beside
from isthmus.errors import Problem

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds between two rounds: a Subnet that a thousand Pods move into is told of a few times, not a thousand."""
RETRY = 5.0
"""Seconds until something that the API server refused is tried again."""

Told = Callable[[], Mapping[str, Any] | None]
"""What a status should hold, asked when it is written; None where the object is gone or has it already."""


class Teller(Beside):
    """Of one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._waiting: dict[tuple[type[object], str], Told] = {}
        self._events: list[res.Event] = []
        self._known: dict[res.Involved, Problem] = {}

    def say(self, kind: type[object], name: str, told: Told) -> None:
        """Write a status soon."""
        self._waiting[kind, name] = told
        self._woken.set()

    def problems(self, found: Mapping[res.Involved, Problem]) -> None:
        """Let everybody who looks at an object know what is wrong with it: an Event for each that is new."""
        for involved, problem in found.items():
            if self._known.get(involved) != problem:
                self._events.append(_event(involved, problem))
                self._woken.set()
        self._known = dict(found)

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            events, self._events = self._events, []
            for event in events:
                if problem := await self._cluster.create(event):
                    log.info("an Event was lost: %s", problem)
            waiting, self._waiting = self._waiting, {}
            failed = [place for place, told in waiting.items() if not await self._one(place, told)]
            for place in failed:
                self._waiting.setdefault(place, waiting[place])
            if failed:
                self._woken.set()
            await asyncio.sleep(RETRY if failed else PAUSE)

    async def _one(self, place: tuple[type[object], str], told: Told) -> bool:
        status = told()
        if status is None:
            return True
        problem = await self._cluster.set_status(*place, status)
        if problem is not None:
            log.warning("%s", problem)
        return problem is None


def _event(involved: res.Involved, problem: Problem) -> res.Event:
    """In its object's namespace; of what has none in `default`, where kubectl looks for it."""
    now = _now()
    digest = sha256(f"{involved} {problem.code} {problem.message} {now}".encode()).hexdigest()[:16]
    metadata = res.Metadata(name=f"{involved.name}.{digest}", namespace=involved.namespace or "default")
    return res.Event(
        metadata, "v1", "Event", involved, reason=problem.code, message=problem.advice, type="Warning",
        source=res.Source("isthmus"), first_timestamp=now, last_timestamp=now,
    )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ready(metadata: res.Metadata, status: Mapping[str, Any], problem: Problem | None) -> list[dict[str, Any]]:
    """`Ready` of an object, as Kube-OVN's clients wait for it."""
    return condition("Ready", "Programmed", metadata, status, problem)


def condition(
    kind: str, good: str, metadata: res.Metadata, status: Mapping[str, Any], problem: Problem | None
) -> list[dict[str, Any]]:
    """All conditions of a status with this one as it is now; `good` is its reason where nothing is wrong."""
    there = status.get("conditions") or []
    before: Mapping[str, Any] = next((c for c in there if c.get("type") == kind), {})
    state = "False" if problem else "True"
    found = {
        "type": kind,
        "status": state,
        "reason": problem.code if problem else good,
        "message": problem.advice if problem else "",
        "observedGeneration": metadata.generation,
        "lastTransitionTime": (before.get("lastTransitionTime") if before.get("status") == state else "") or _now(),
    }
    return [*(c for c in there if c.get("type") != kind), found]
