"""A site whose OVN is as any other's, and part of what Interconnects want there is asked of a cluster's API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from lightkube import AsyncClient

from isthmus.backends.changes import Call, Change
from isthmus.backends.kubernetes.connect import connect
from isthmus.backends.kubernetes.reflector import Reflector
from isthmus.backends.kubernetes.requests import Requests
from isthmus.backends.ovsdb.site import OvnSite
from isthmus.errors import Conflict, Problem
from isthmus.model.intent import Site
from isthmus.model.rows import kubernetes

FIRST_LISTING = 5.0
"""Seconds in which the first listing is waited for."""


class ApiSite(OvnSite):
    """Writes what `_work` makes of changes by itself and in its time."""

    def __init__(self, site: Site, owner: str, wake: Callable[[], None], *, writes: bool) -> None:
        super().__init__(site, owner, wake, writes=writes)
        self._wake, self._owner_name = wake, owner
        self._requests = Requests(self._work, self._worked)
        self._api: AsyncClient | None = None
        self._failure: Problem | None = None
        """Why there is no client."""
        self._generation = 0
        """Raised when something that the API server told has changed, or requests were done."""
        self._watching: list[asyncio.Task[None]] = []
        self._closing = False
        self._patient_until = 0.0

    # -- life -----------------------------------------------------------------------------------------------

    def _watched(self) -> Sequence[Reflector[Any]]:
        """What of the cluster is watched."""
        raise NotImplementedError

    @property
    def _patient(self) -> bool:
        """The first listing may still be waited for."""
        return asyncio.get_running_loop().time() < self._patient_until

    def start(self) -> None:
        super().start()
        self._patient_until = asyncio.get_running_loop().time() + FIRST_LISTING
        api = connect(self.site.kubeconfig, self.site.context)
        if isinstance(api, Problem):
            self._failure = api
            return
        self._api = api
        self._watching = [asyncio.create_task(each.run(api)) for each in self._watched()]

    async def stop(self) -> None:
        """Requests under way are awaited; none further are begun."""
        self._closing = True
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._requests.stop()
        if self._api is not None:
            await self._api.close()
        await super().stop()

    # -- writing ----------------------------------------------------------------------------------------------

    @property
    def outside(self) -> str:  # type: ignore[override]
        return kubernetes(self.site.name)

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(self._requests.recent)

    @property
    def accepted(self) -> int:
        return self._requests.accepted

    def call(self, interconnect: str, changes: Sequence[Change]) -> bool:
        return self._requests.begin(interconnect, changes)

    def refusal(self, interconnect: str) -> Problem | None:
        return self._requests.refusal(interconnect)

    def called(self, interconnect: str) -> bool:
        return interconnect in self._requests.called

    async def _work(self, changes: Sequence[Change]) -> None:
        """Make all changes of one Interconnect. Raises WorldError."""
        raise NotImplementedError

    def _worked(self) -> None:
        self._generation += 1
        self._wake()

    def _insist(self, what: str = "") -> None:
        """Raises Conflict where nothing may be sent any more."""
        if not self.client.has_lock or self._closing:
            raise Conflict(Problem("Conflict", f"{what}not sent: we are stopping, or lost the lock"))
