"""One cluster: what is watched in it, and the statuses that we write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.connect import connect
from isthmus.backends.kubernetes.reflector import Reflector, refusal
from isthmus.errors import Problem

log = logging.getLogger(__name__)


@dataclass
class Changes:
    """Keys of objects that came, went or changed since they were taken last."""

    vpcs: set[str] = field(default_factory=set)
    subnets: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    pods: set[str] = field(default_factory=set)
    statefulsets: set[str] = field(default_factory=set)


class Cluster:
    """Watched from `start` to `stop`; `wake` is called whenever something changed."""

    def __init__(self, kubeconfig: Path, context: str, wake: Callable[[], None]) -> None:
        self._kubeconfig, self._context, self._wake = kubeconfig, context, wake
        self._changes = Changes()
        note = self._note
        self.vpcs: Reflector[res.Vpc] = Reflector(res.Vpc, note("vpcs"), wake)
        self.subnets: Reflector[res.Subnet] = Reflector(res.Subnet, note("subnets"), wake)
        self.namespaces: Reflector[res.Namespace] = Reflector(res.Namespace, note("namespaces"), wake)
        self.pods: Reflector[res.Pod] = Reflector(res.Pod, note("pods"), wake)
        self.statefulsets: Reflector[res.StatefulSet] = Reflector(res.StatefulSet, note("statefulsets"), wake)
        self._client: AsyncClient | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: Problem | None = None

    def _note(self, kind: str) -> Callable[[str], None]:
        return lambda key: getattr(self._changes, kind).add(key)

    def _all(self) -> Iterator[Reflector[Any]]:
        yield from (self.vpcs, self.subnets, self.namespaces, self.pods, self.statefulsets)

    def start(self) -> None:
        client = connect(self._kubeconfig, self._context)
        if isinstance(client, Problem):
            self._failure = client
            return
        self._client = client
        self._tasks = [asyncio.create_task(each.run(self._client)) for each in self._all()]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    @property
    def listed(self) -> bool:
        """Every kind has been listed once: what is not here is not there."""
        return all(each.listed for each in self._all())

    @property
    def trouble(self) -> Problem | None:
        """Why what is known may be old, or None."""
        if self._failure:
            return self._failure
        return next((each.failure for each in self._all() if each.failure), None)

    def take(self) -> Changes:
        """What has changed since the last call."""
        taken, self._changes = self._changes, Changes()
        return taken

    async def set_status(self, kind: type[object], name: str, status: Mapping[str, Any]) -> Problem | None:
        """Merge into the status of an object; what went wrong, or None. An object that is gone is no problem."""
        assert self._client is not None
        resource: Any = res.VPC_STATUS if kind is res.Vpc else res.SUBNET_STATUS
        try:
            await self._client.patch(resource, name, {"status": status}, patch_type=PatchType.MERGE)
        except ApiError as error:
            return None if error.status.code == 404 else refusal(error, kind)
        except (httpx2.HTTPError, OSError) as error:
            said = f"{kind.__name__} {name}: {error or type(error).__name__}"
            return Problem("Unreachable", said, remedy="see that the API server runs")
        return None

    async def create(self, made: res.Vpc | res.Subnet | res.Event) -> Problem | None:
        """Make an object; one that is there stays as it is."""
        assert self._client is not None
        try:
            await self._client.create(made)
        except ApiError as error:
            return None if error.status.code == 409 else refusal(error, type(made))
        except (httpx2.HTTPError, OSError) as error:
            said = f"{type(made).__name__} {made.metadata.name}: {error or type(error).__name__}"
            return Problem("Unreachable", said, remedy="see that the API server runs")
        return None
