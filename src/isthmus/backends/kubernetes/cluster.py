"""One cluster: what is watched in it, and the statuses that we write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError, LoadResourceError
from lightkube.types import PatchType

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.reflector import Reflector, refusal
from isthmus.errors import Problem

log = logging.getLogger(__name__)

MANAGER = "isthmus"
"""Field manager of what we write."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a Pod finds its service account."""
TIMEOUT = 15.0
"""Seconds until a request that is no watch must be answered."""


@dataclass
class Changes:
    """Keys of objects that came, went or changed since they were taken last."""

    vpcs: set[str] = field(default_factory=set)
    subnets: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    pods: set[str] = field(default_factory=set)
    statefulsets: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    api: set[str] = field(default_factory=set)


class Cluster:
    """Watched from `start` to `stop`; `wake` is called whenever something changed.

    kubeconfig  None: as the service account of the Pod that we run in
    """

    def __init__(self, kubeconfig: Path | None, context: str, wake: Callable[[], None]) -> None:
        self._kubeconfig, self._context, self._wake = kubeconfig, context, wake
        self._changes = Changes()
        note = self._note
        self.vpcs: Reflector[res.Vpc] = Reflector(res.Vpc, note("vpcs"), wake)
        self.subnets: Reflector[res.Subnet] = Reflector(res.Subnet, note("subnets"), wake)
        self.namespaces: Reflector[res.Namespace] = Reflector(res.Namespace, note("namespaces"), wake)
        self.pods: Reflector[res.Pod] = Reflector(res.Pod, note("pods"), wake)
        self.statefulsets: Reflector[res.StatefulSet] = Reflector(res.StatefulSet, note("statefulsets"), wake)
        self.nodes: Reflector[res.Node] = Reflector(res.Node, note("nodes"), wake)
        # Of all Services the one that leads to the API server.
        only = {"fields": {"metadata.name": "kubernetes"}, "namespace": "default"}
        self.services: Reflector[res.Service] = Reflector(res.Service, note("api"), wake, **only)
        its = {"labels": {"kubernetes.io/service-name": "kubernetes"}, "namespace": "default"}
        self.slices: Reflector[res.EndpointSlice] = Reflector(res.EndpointSlice, note("api"), wake, **its)
        self._client: AsyncClient | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: Problem | None = None

    def _note(self, kind: str) -> Callable[[str], None]:
        return lambda key: getattr(self._changes, kind).add(key)

    def _all(self) -> Iterator[Reflector[Any]]:
        yield from (self.vpcs, self.subnets, self.namespaces, self.pods, self.statefulsets)
        yield from (self.nodes, self.services, self.slices)

    def start(self) -> None:
        try:
            config = _config(self._kubeconfig).get(context_name=self._context or None)
            # Watches are held open: nothing bounds their number but the kinds.
            self._client = AsyncClient(config, timeout=httpx2.Timeout(TIMEOUT), trust_env=False, field_manager=MANAGER)
        except (ConfigError, LoadResourceError, OSError, KeyError, ValueError) as error:
            said = f"{self._kubeconfig or 'the service account of a Pod'}: {error or type(error).__name__}"
            remedy = "mend spec.kubernetes of the Site; without a kubeconfig run in a Pod of the cluster"
            self._failure = Problem("BadKubeconfig", said, remedy=remedy)
            return
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


def _config(kubeconfig: Path | None) -> KubeConfig:
    """A service account's token is read again when it has been renewed. Raises ConfigError, KeyError."""
    return KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account(ACCOUNT)
