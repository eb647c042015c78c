"""`IP` objects and annotations of Pods, written beside the work: what a Pod was given, for people to read.

Nothing waits for them. They come after the ports, few at a time, so that neither `serve` nor the API server has less
time for Pods.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes import write
from isthmus.backends.kubernetes.cluster import Cluster
from isthmus.backends.kubernetes.read import ALLOCATED, OWNER
from isthmus.compile.estate import Held
from isthmus.compile.networks import port_name
from isthmus.controller.beside import Beside
from isthmus.errors import Problem
from isthmus.model.networks import Subnet

log = logging.getLogger(__name__)

BATCH = 8
"""Pods that are written of at the same time."""
PAUSE, LONG_PAUSE = 0.1, 0.25
"""Seconds between two batches; the longer while ports are being written."""
CALM = 1.0
"""Seconds after the last of these."""
RETRY = 5.0
"""Seconds until something that the API server refused is tried again."""


class NotOurs(Exception):
    """Somebody else keeps the networks, or we have not read them again yet; everything is said anew after that."""


Given = Callable[[str], tuple[Held, Subnet] | None]
"""By the key of a Pod, or /NAME of a node, what it has, and its Subnet; asked when it is written, may raise NotOurs."""


class Follower(Beside):
    """Of one cluster."""

    def __init__(self, cluster: Cluster, owner: str, given: Given) -> None:
        super().__init__()
        self._cluster, self._owner, self._given = cluster, owner, given
        self._waiting: dict[str, None] = {}
        self._said: set[str] = set()
        """Codes of problems that were logged: a thousand Pods would say the same a thousand times."""
        self._calm = 0.0

    def say(self, names: Iterable[str]) -> None:
        """Look at what is written of these Pods soon."""
        self._waiting.update(dict.fromkeys(names))
        if self._waiting:
            self._woken.set()

    def give_way(self) -> None:
        """Ports are being written: be slower until no more come."""
        self._calm = time.monotonic() + CALM

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                names = list(islice(self._waiting, BATCH))
                for name in names:
                    del self._waiting[name]
                if any(await asyncio.gather(*map(self._one, names))):
                    await asyncio.sleep(PAUSE if time.monotonic() > self._calm else LONG_PAUSE)

    async def _one(self, name: str) -> bool:
        """True where something had to be written."""
        problems = [await call for call in self._calls(name)]
        for problem in filter(None, problems):
            log.log(logging.DEBUG if problem.code in self._said else logging.WARNING, "%s", problem)
            self._said.add(problem.code)
        # What we have no right to is not asked for over and over: without it there are no annotations.
        if any(problem and problem.code != "Forbidden" for problem in problems):
            asyncio.get_running_loop().call_later(RETRY, self.say, [name])
        return bool(problems)

    def _is_of(self, there: res.Ip, namespace: str, pod: str) -> bool:
        """It is ours, and of this Pod or node: names of the two may be the same."""
        whose = there.spec.namespace, there.spec.pod_name
        return there.metadata.annotations.get(OWNER) == self._owner and whose == (namespace, pod)

    def _calls(self, name: str) -> Iterator[Awaitable[Problem | None]]:
        """What must be written; each is to be awaited before the next is asked for."""
        try:
            given = self._given(name)
        except NotOurs:
            return
        held, subnet = given or (None, None)
        namespace, _, pod = name.partition("/")
        there = self._cluster.ips.objects.get(port_name(namespace, pod))
        wanted = write.ip(held, self._owner) if held else None
        if there is None and wanted is not None:
            yield self._cluster.create(wanted)
        elif there is not None and self._is_of(there, namespace, pod):
            if wanted is None:
                yield self._cluster.delete(res.Ip, there.metadata.name)
            elif not _says(there, wanted):
                yield self._cluster.change(wanted)
        found = self._cluster.pods.objects.get(name)
        if found is not None and (told := _told(found, held, subnet)):
            yield self._cluster.annotate(found, told)


def _says(there: res.Ip, wanted: res.Ip) -> bool:
    """It holds all that it should; what others add to it stays."""
    return there.spec == wanted.spec and wanted.metadata.annotations.items() <= there.metadata.annotations.items()


def _told(pod: res.Pod, held: Held | None, subnet: Subnet | None) -> dict[str, str | None]:
    """Annotations to set, or to take away where what we said is no longer true."""
    there, wanted = pod.metadata.annotations, dict[str, str | None]()
    if held is not None and subnet is not None and held.pod.uid == pod.metadata.uid:
        wanted.update(write.told(held, subnet))
    elif ALLOCATED in there:
        wanted.update(dict.fromkeys(write.GIVEN))
    return {name: value for name, value in wanted.items() if there.get(name) != value}
