"""Everything one Fabric joins: its databases and its sites', and when they are complete enough to act on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

from isthmus.backends.openstack.site import OpenStackSite
from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.fabric import FabricStore
from isthmus.backends.ovsdb.site import OvnSite
from isthmus.errors import Problem, WorldError
from isthmus.model.intent import Fabric, Site

LISTING = 5.0
"""Seconds of silence after which a database that had begun to answer counts as out of reach."""


def _cluster() -> type[OvnSite]:
    try:
        from isthmus.backends.kubernetes.site import ClusterSite  # noqa: PLC0415  # its client is an extra
    except ImportError as error:
        raise not_installed(error) from error
    return ClusterSite


def _kube_ovn() -> type[OvnSite]:
    try:
        from isthmus.backends.kubernetes.kube_ovn import KubeOvnSite  # noqa: PLC0415  # its client is an extra
    except ImportError as error:
        raise not_installed(error) from error
    return KubeOvnSite


BACKENDS: Mapping[str, Callable[[], type[OvnSite]]] = {
    "ovn": lambda: OvnSite,
    "openstack": lambda: OpenStackSite,
    "isthmus": _cluster,
    "kube-ovn": _kube_ovn,
}
"""Type of a site, or who keeps a cluster's networks -> what reads and writes it for Interconnects.

Vpcs and Subnets of a cluster whose networks are ours are rows like others, but for Subnets that Attachments define.
"""


def backend(site: Site) -> type[OvnSite]:
    """Raises WorldError where what speaks to a cluster is not installed."""
    return BACKENDS[site.plugin if site.type == "kubernetes" else site.type]()


def not_installed(error: ImportError) -> WorldError:
    remedy = "in a clone of Isthmus: pip install '.[kubernetes]'"
    return WorldError(Problem("NotInstalled", f"sites of type kubernetes need {error.name}", remedy=remedy))


class World:
    """Replicas of a Fabric and its sites; `woken` is set whenever one of them changed."""

    def __init__(self, fabric: Fabric, sites: Iterable[Site], *, writes: bool) -> None:
        self.woken = asyncio.Event()
        self.writes = writes
        self.fabric = FabricStore(fabric, self.woken.set, writes=writes)
        self.sites = {s.name: backend(s)(s, fabric.owner, self.woken.set, writes=writes) for s in sites}
        self._heard: set[str] = set()
        self._lost: dict[str, float] = {}

    def start(self) -> None:
        self.fabric.start()
        for site in self.sites.values():
            site.start()

    async def stop(self) -> None:
        await asyncio.gather(self.fabric.stop(), *(s.stop() for s in self.sites.values()))

    def wake_in(self, seconds: float) -> None:
        """Have a pass then, whatever changes until then."""
        asyncio.get_running_loop().call_later(seconds, self.woken.set)

    def troubles(self) -> dict[str, Problem]:
        """What cannot be worked on now: site name, or "" for the Fabric -> why."""
        found = {name: problem for name, site in self.sites.items() if (problem := site.trouble)}
        if problem := self.fabric.trouble:
            found[""] = problem
        return found

    def interrupted(self, now: float) -> dict[str, float]:
        """What was in reach when this was asked before and is not now: site, or "" for the Fabric -> since when."""
        troubles = self.troubles()
        self._heard |= {*self.sites, ""} - troubles.keys()
        self._lost = {name: self._lost.get(name, now) for name in troubles if name in self._heard}
        return self._lost

    @property
    def asked(self) -> list[str]:
        """Sites whose API has not given its first answer, and may still."""
        return [name for name, site in self.sites.items() if site.asking]

    def readable(self) -> dict[str, OvnSite]:
        return {name: site for name, site in self.sites.items() if site.trouble is None}

    async def settle(self, timeout: float, *, patient: bool = True) -> dict[str, Problem]:
        """Wait until every database has been listed or has failed; returns the troubles that remain.

        timeout  seconds; what is silent by then counts as out of reach. What has begun to answer gets more: a large
                 database takes its time
        patient  wait for the first answer of an API as well
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            self.woken.clear()
            troubles = self.troubles()
            asked = patient and bool(self.asked)
            undecided = asked or any(p.code == "NotListed" for p in troubles.values())
            heard = loop.time() if asked else max((c.heard for c in self._clients() if not c.synced), default=0.0)
            left = max(deadline, heard + LISTING) - loop.time()
            if not undecided or left <= 0:
                return troubles
            await wait_for(self.woken, left)

    def _clients(self) -> Iterator[Client]:
        for store in (self.fabric, *self.sites.values()):
            yield from (store.client, store.sb)

    def take_locks(self) -> list[str]:
        """Stand in line for the lock of every database in reach; those that somebody else has, as a person names them.

        They are held in one order, the Fabric's first, then the sites' by name: what comes after one that is missing is
        given back. Else two of us would each hold what the other waits for.
        """
        if not self.writes:
            return []
        missing: list[str] = []
        stores = [(f"fabric {self.fabric.fabric.name!r}", self.fabric.client)]
        stores += [(f"site {name!r}", site.client) for name, site in sorted(self.sites.items())]
        for name, client in stores:
            if not client.synced:
                continue
            if missing:
                client.yield_lock()
                continue
            client.ask_for_lock()
            if not client.has_lock:
                missing.append(name)
        return missing


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait at most so long; True if the event was set."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return False
    return True
