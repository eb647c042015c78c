"""One cluster: what is watched in it, and what we write: statuses, Events, annotations of Pods, `IP` objects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.connect import connect
from isthmus.backends.kubernetes.reflector import Reflector, refusal, unreachable
from isthmus.errors import Problem

log = logging.getLogger(__name__)

MISSING, CONFLICT, UNPROCESSABLE = 404, 409, 422
REPLACED = (MISSING, CONFLICT, UNPROCESSABLE)
"""What the server answers to a patch that names the uid of an object that is no more."""


@dataclass
class Changes:
    """Keys of objects that came, went or changed since they were taken last."""

    vpcs: set[str] = field(default_factory=set)
    subnets: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    pods: set[str] = field(default_factory=set)
    statefulsets: set[str] = field(default_factory=set)
    ips: set[str] = field(default_factory=set)
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
        self.ips: Reflector[res.Ip] = Reflector(res.Ip, note("ips"), wake)
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
        yield from (self.ips, self.nodes, self.services, self.slices)

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
        resource = res.VPC_STATUS if kind is res.Vpc else res.SUBNET_STATUS
        return await self._call("patch", kind, name, resource, name, {"status": status}, patch_type=PatchType.MERGE)

    async def annotate(self, pod: res.Pod, annotations: Mapping[str, str | None]) -> Problem | None:
        """Set annotations of a Pod, None taking one away; nothing where another Pod has its name by now.

        By way of its status, so that nobody needs the right to change what Pods run.
        """
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid, "annotations": annotations}}
        merge: dict[str, Any] = {"namespace": meta.namespace, "patch_type": PatchType.MERGE}
        return await self._call("patch", res.Pod, meta.name, res.POD_STATUS, meta.name, patch, fine=REPLACED, **merge)

    async def create(self, made: res.Vpc | res.Subnet | res.Ip | res.Event) -> Problem | None:
        """Make an object; one that is there stays as it is."""
        return await self._call("create", type(made), made.metadata.name, made, fine=(CONFLICT,))

    async def change(self, made: res.Ip) -> Problem | None:
        """Have an object of ours say what it should; one that is gone is no problem."""
        name, kind = made.metadata.name, type(made)
        # All fields: one that is left out of a merge stays as it was.
        spec = {each.encode_name: getattr(made.spec, each.name) for each in msgspec.structs.fields(made.spec)}
        patch = {"metadata": {"annotations": made.metadata.annotations}, "spec": spec}
        return await self._call("patch", kind, name, kind, name, patch, patch_type=PatchType.MERGE)

    async def delete(self, kind: type[res.Ip], name: str) -> Problem | None:
        """Take an object away; one that is gone is no problem."""
        return await self._call("delete", kind, name, kind, name)

    async def _call(
        self, verb: str, kind: type[object], name: str, *words: Any, fine: Collection[int] = (MISSING,), **more: Any
    ) -> Problem | None:
        """One call of the client; answers with a code of `fine` are no problem."""
        assert self._client is not None
        try:
            await getattr(self._client, verb)(*words, **more)
        except ApiError as error:
            return None if error.status.code in fine else refusal(error, kind)
        except (httpx2.HTTPError, OSError) as error:
            return unreachable(f"{kind.__name__} {name}", error)
        return None
