"""Clusters' objects read for `verify`: what they say of their own networks. Writes nothing.

Rows are read while the objects are watched: nothing is said of a Pod that came or went meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from isthmus.backends.kubernetes import read
from isthmus.backends.kubernetes.cluster import Cluster
from isthmus.backends.ovsdb.facts import KUBE_OVN
from isthmus.compile import bindings
from isthmus.compile import nodes as ways
from isthmus.compile.networks import port_name, router_port
from isthmus.errors import Problem
from isthmus.model.intent import Site
from isthmus.model.networks import NODES_SUBNET, Api, Namespace, Pod, Subnet, Vpc
from isthmus.model.rows import Snapshot
from isthmus.verify.cluster import Home, Networks, Resident, Way
from isthmus.verify.place import Place


@dataclass(frozen=True)
class Objects:
    """By name; `api` is the Service `default/kubernetes`."""

    vpcs: Mapping[str, Vpc]
    subnets: Mapping[str, Subnet]
    namespaces: Mapping[str, Namespace]
    api: Api


@dataclass(frozen=True)
class Crowd:
    """Who wants a port at one moment: Pods by NAMESPACE/NAME, and names of nodes."""

    pods: Mapping[str, Pod]
    nodes: frozenset[str]


class Watched:
    """The objects of a Site, from `begin` to `end`."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._woken = asyncio.Event()
        self._cluster = Cluster(site.kubeconfig, site.context, self._woken.set)
        self._before = Crowd({}, frozenset())

    @property
    def name(self) -> str:
        """As problems name it."""
        return f"kubernetes/{self.site.name}"

    async def begin(self, timeout: float) -> None:
        """Returns when everything is listed, or cannot be within so many seconds: see `trouble`."""
        self._cluster.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._cluster.listed and not self._cluster.trouble:
                    await self._woken.wait()
                    self._woken.clear()
        self._before = self._crowd()

    async def end(self) -> None:
        await self._cluster.stop()

    @property
    def trouble(self) -> Problem | None:
        """Why nothing can be said of its networks, or None."""
        problem = self._cluster.trouble
        if problem is None and not self._cluster.listed:
            problem = Problem("NotListed", "no answer from the API server", remedy="see that it runs")
        if problem is None:
            return None
        return Problem(problem.code, f"site {self.site.name!r}: {problem.message}", remedy=problem.remedy)

    def networks(self, rows: Snapshot) -> Networks | None:
        """What the objects want of its rows, which were read meanwhile. None where somebody else keeps its networks."""
        routers = rows.get("Logical_Router", {}).values()
        if any(_vendor(row.get("external_ids")) == KUBE_OVN for row in routers):
            return None
        cluster = self._cluster
        vpcs = {name: read.vpc(found) for name, found in cluster.vpcs.objects.items()}
        subnets = {name: read.subnet(found) for name, found in cluster.subnets.objects.items()}
        objects = Objects(
            {n: v for n, v in vpcs.items() if isinstance(v, Vpc)},
            {n: s for n, s in subnets.items() if isinstance(s, Subnet)},
            {n: read.namespace(found) for n, found in cluster.namespaces.objects.items()},
            read.api(cluster.services.objects.values(), cluster.slices.objects.values()),
        )
        return networks(self.site.name, rows, objects, self._before, self._crowd())

    def _crowd(self) -> Crowd:
        pods = {name: pod for name, found in self._cluster.pods.objects.items() if (pod := read.pod(found))}
        return Crowd(pods, frozenset(self._cluster.nodes.objects))


def networks(site: str, rows: Snapshot, objects: Objects, before: Crowd, after: Crowd) -> Networks:
    """before, after: when reading of `rows` began, and when it was done."""
    switches = {str(row.get("name")) for row in rows.get("Logical_Switch", {}).values()}
    # Of two Subnets that overlap the one that stands stays.
    standing = {name: subnet for name, subnet in objects.subnets.items() if name in switches}
    known = bindings.networks(objects.vpcs, objects.subnets, standing)
    routers = {str(row.get("name")): uuid for uuid, row in rows.get("Logical_Router", {}).items()}
    here = {name: pod for name, pod in after.pods.items() if pod.told and before.pods.get(name) == pod}
    ports = {port_name(p.namespace, p.name) for crowd in (before, after) for p in crowd.pods.values()}
    ports |= {port_name("", node) for node in before.nodes | after.nodes}
    return Networks(
        site=site,
        homes=tuple(_home(site, routers, known.subnets[name]) for name in sorted(known.subnets)),
        residents=tuple(_resident(here[name], objects.namespaces, known) for name in sorted(here)),
        routes={name: (*vpc.routes, *ways.routes(vpc, objects.api)) for name, vpc in known.vpcs.items()},
        moving=frozenset(ports),
        way=_way(known, before.nodes & after.nodes),
    )


def _way(known: bindings.Networks, nodes: frozenset[str]) -> Way:
    return Way(
        doors={name: ways.door_name(name) for name in known.vpcs},
        addresses=frozenset((a.version, int(a.ip)) for a in ways.NODE),
        nodes={name: port_name("", name) for name in nodes} if NODES_SUBNET in known.subnets else {},
        home=NODES_SUBNET,
    )


def _home(site: str, routers: Mapping[str, str], subnet: Subnet) -> Home:
    router = routers.get(subnet.vpc, subnet.vpc)
    prefixes = tuple(sorted(subnet.prefixes, key=lambda p: p.version))
    place = Place(site, router, subnet.name, (router_port(subnet.vpc, subnet.name),), prefixes)
    return Home(subnet.vpc, place, subnet.gateways)


def _resident(pod: Pod, namespaces: Mapping[str, Namespace], known: bindings.Networks) -> Resident:
    return Resident(
        name=f"{pod.namespace}/{pod.name}",
        port=port_name(pod.namespace, pod.name),
        node=pod.node,
        addresses=frozenset((a.version, int(a)) for a in pod.told),
        subnets=frozenset(_open_to(namespaces.get(pod.namespace), known)),
    )


def _open_to(namespace: Namespace | None, known: bindings.Networks) -> Iterator[str]:
    for name, subnet in known.subnets.items():
        if namespace is not None and bindings.may(namespace, subnet, known.vpcs[subnet.vpc]):
            yield name


def _vendor(marks: object) -> str:
    return str(marks.get("vendor", "")) if isinstance(marks, Mapping) else ""
