"""All objects of one kind, listed once and then watched; listed again where the server has forgotten what we saw."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, cast

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.core.resource import NamespacedResource

from isthmus.backends.kubernetes.resources import Metadata
from isthmus.errors import Problem

log = logging.getLogger(__name__)

PAGE = 500
"""Objects in one answer of a listing."""
WATCH = 240
"""Seconds after which the server ends a watch, so that a connection that died in silence is not waited for long."""
PATIENCE = WATCH + 30.0
FIRST_RETRY, LAST_RETRY = 0.2, 10.0
"""Seconds between attempts, doubling."""
GONE = 410
"""The server knows nothing any more of the version that a watch began with."""


class _Object(Protocol):
    @property
    def metadata(self) -> Metadata: ...


Found = TypeVar("Found", bound=_Object)


def key(metadata: Metadata) -> str:
    """NAMESPACE/NAME, or NAME of what has no namespace."""
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class Reflector(Generic[Found]):
    """Of one kind; all of them, or those that lightkube's `list` finds with the arguments `where`.

    objects  by key, current while the watch lives
    listed   everything has been listed once
    failure  why there is no watch now, or None
    """

    def __init__(
        self, resource: type[Found], changed: Callable[[str], None], wake: Callable[[], None], **where: Any
    ) -> None:
        self.resource = resource
        self.objects: dict[str, Found] = {}
        self.listed = False
        self.failure: Problem | None = None
        self._changed, self._wake = changed, wake
        self._version = ""
        self._where = ({"namespace": "*"} if issubclass(resource, NamespacedResource) else {}) | where

    async def run(self, client: AsyncClient) -> None:
        """Until cancelled."""
        delay, now = 0.0, asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                if not self._version:
                    await self._list(client)
                elif self.failure is not None:
                    await self._ask(client)
                self._healthy()
                await self._watch(client)
                continue
            except ApiError as error:
                if error.status.code == GONE:
                    self._version = ""
                else:
                    self._failed(refusal(error, self.resource))
            except httpx2.HTTPStatusError as error:
                # What a watch is refused with before it begins.
                if error.response.status_code == GONE:
                    self._version = ""
                else:
                    self._failed(
                        Problem("ApiFailed", f"{_plural(self.resource)}: {error}", remedy="see the server's log")
                    )
            except (httpx2.HTTPError, OSError, ConfigError) as error:
                said = str(error) or type(error).__name__
                remedy = "see that the API server runs, and that the kubeconfig is current"
                self._failed(Problem("Unreachable", f"{_plural(self.resource)}: {said}", remedy=remedy))
            except Exception as error:  # an answer that nobody foresaw: what was seen is not believed any more
                log.exception("%s", _plural(self.resource))
                self._version = ""
                self._failed(Problem("Fault", f"{_plural(self.resource)}: {error!r}", remedy="please report it"))
            delay = pause(delay, now() - began)
            await asyncio.sleep(delay)

    async def _list(self, client: AsyncClient) -> None:
        listing = client.list(cast("Any", self.resource), chunk_size=PAGE, **self._where)
        found = {key(item.metadata): item async for item in listing}
        for name in self.objects.keys() - found.keys():
            self._put(name, None)
        for name, item in found.items():
            self._put(name, item)
        self._version = listing.resourceVersion or ""
        self.listed = True

    async def _ask(self, client: AsyncClient) -> None:
        """Whether it answers again: for one object, since a watch may be silent for long."""
        async for _ in client.list(cast("Any", self.resource), chunk_size=1, **self._where):
            return

    async def _watch(self, client: AsyncClient) -> None:
        """Returns when it has been silent for too long; it is begun again where it was."""
        resource = cast("Any", self.resource)
        watch = client.watch(resource, resource_version=self._version, server_timeout=WATCH, **self._where)
        events = watch.__aiter__()
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    what, item = await anext(events)
            except TimeoutError:
                return
            self._put(key(item.metadata), None if what == "DELETED" else item)
            self._version = item.metadata.resource_version
            self._wake()

    def learn(self, item: Found) -> None:
        """What the server answered to us: the watch will say it too, some time later, or has said more already."""
        known = self.objects.get(key(item.metadata))
        versions = [each.metadata.resource_version for each in (known, item) if each is not None]
        # Comparable as numbers (Kubernetes API concepts, "Resource versions").
        if not all(version.isdigit() for version in versions) or int(versions[0]) <= int(versions[-1]):
            self._put(key(item.metadata), item)

    def forget(self, name: str) -> None:
        """We have deleted it: the watch will say so too."""
        self._put(name, None)

    def _put(self, name: str, item: Found | None) -> None:
        before = self.objects.get(name)
        if item is None:
            self.objects.pop(name, None)
        elif before is not None and before.metadata.resource_version == item.metadata.resource_version:
            return
        else:
            self.objects[name] = item
        self._changed(name)

    def _healthy(self) -> None:
        self.failure = None
        self._wake()

    def _failed(self, problem: Problem) -> None:
        if problem != self.failure:
            log.warning("%s", problem)
        self.failure = problem
        self._wake()


def pause(before: float, lasted: float) -> float:
    """Seconds until the next attempt, after one that lasted so many and the pause before it. A long one went well.

    >>> [pause(*each) for each in ((0.0, 0.1), (0.2, 0.1), (10.0, 0.1), (10.0, 60.0))]
    [0.2, 0.4, 10.0, 0.2]
    """
    return FIRST_RETRY if lasted > LAST_RETRY or not before else min(before * 2, LAST_RETRY)


def refusal(error: ApiError, resource: type[object]) -> Problem:
    """What the API server said, with what to do."""
    status = error.status
    if status.code in (401, 403):
        return Problem("Forbidden", str(status.message), remedy="apply our ClusterRole, and see whose kubeconfig it is")
    if status.code == 404:
        remedy = "apply our definitions (charts/isthmus/crds)"
        return Problem("NotFound", f"the API server has no {_plural(resource)}", remedy=remedy)
    return Problem("ApiFailed", f"{_plural(resource)}: {status.code} {status.message}", remedy="see the server's log")


def unreachable(what: str, error: Exception) -> Problem:
    """There was no answer to `what`."""
    said = f"{what}: {error or type(error).__name__}"
    return Problem("Unreachable", said, remedy="see that the API server runs")


def _plural(resource: type[object]) -> str:
    return str(resource._api_info.plural)  # type: ignore[attr-defined]
