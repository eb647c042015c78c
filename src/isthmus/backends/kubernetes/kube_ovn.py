"""A cluster whose networks Kube-OVN keeps: OVN's databases as any site's, and its `Vpc`s by the API server.

What its controller would remove is not written (docs/kube-ovn.md, ADR 0028). Routes and policies of a VPC router are
elements of its `Vpc`, and count as there when Kube-OVN has made rows of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx2
from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType

from isthmus.backends.changes import Change, Owner
from isthmus.backends.described import Described
from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.apisite import ApiSite
from isthmus.backends.kubernetes.elements import Seen, described, diff, edit, plain, seen
from isthmus.backends.kubernetes.reflector import Reflector, refusal, unreachable
from isthmus.compile.vpc_kubeovn import POLICIES, ROUTES
from isthmus.errors import Problem, Unreachable, WorldError
from isthmus.model.facts import Vpc
from isthmus.model.intent import Site, VpcRef
from isthmus.model.rows import Row

Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]

CHANGED, TRIES = (409, 422), 20
"""HTTP's answers where a `Vpc` has changed since it was read, and how often it is read again.

The second where not even the places of the patch are there: it is tried before versions are compared. Of a `Vpc` that
has not changed it says that the patch is wrong.
"""

CONTROLLER = "kube-ovn-controller"
"""Kube-OVN's Deployment."""

SPARES = "--enable-external-vpc=true"
"""With this argument its garbage collection leaves switches, routers and ports of others alone (`gc.go`)."""


class KubeOvnSite(ApiSite):
    """Writes elements of `kubernetes/SITE` by itself and in its time."""

    def __init__(self, site: Site, owner: str, wake: Callable[[], None], *, writes: bool) -> None:
        super().__init__(site, owner, wake, writes=writes)
        self._vpcs = Reflector(res.VpcObject, self._changed, wake)
        self._controllers = Reflector(res.Deployment, self._heard, wake, fields={"metadata.name": CONTROLLER})
        self._seen: dict[str, Seen] = {}
        self._in: dict[str, set[str]] = defaultdict(set)
        """Interconnect -> Vpcs that have elements of it."""
        self._versions: dict[str, int] = defaultdict(int)
        """Vpc -> raised when what is seen of it changes."""
        self._known: dict[str, tuple[int, frozenset[tuple[str, str]]]] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # -- life -----------------------------------------------------------------------------------------------

    def _watched(self) -> Sequence[Reflector[Any]]:
        return self._vpcs, self._controllers

    @property
    def trouble(self) -> Problem | None:
        if problem := super().trouble:
            return problem
        found = self._failure or self._vpcs.failure or self._controllers.failure
        if found is None and self._listed:
            return None
        found = found or Problem("NotListed", "its Vpcs are not listed yet")
        origin, message = self.site.origin, f"site {self.site.name!r}: {found.message}"
        return Problem(found.code, message, origin.file, origin.document, "", found.remedy)

    @property
    def _listed(self) -> bool:
        return self._vpcs.listed and self._controllers.listed

    @property
    def asking(self) -> bool:  # type: ignore[override]
        failed = self._failure or self._vpcs.failure or self._controllers.failure
        return not self._listed and failed is None and super().trouble is None and self._patient

    def _heard(self, name: str) -> None:
        self._generation += 1

    def _changed(self, name: str) -> None:
        """A status that somebody writes is no change of what we look at."""
        found, before = self._vpcs.objects.get(name), self._seen.pop(name, None)
        now = seen(found, self._owner_name) if found else None
        if now is not None:
            self._seen[name] = now
        if now == before:
            return
        for interconnect in before.interconnects if before else ():
            self._in[interconnect].discard(name)
        for interconnect in now.interconnects if now else ():
            self._in[interconnect].add(name)
        self._versions[name] += 1
        self._generation += 1

    # -- what a pass asks -------------------------------------------------------------------------------------

    @property
    def version(self) -> object:
        return super().version, self._generation, self._requests.version

    def owned_version(self, interconnect: str) -> object:
        mine = sorted(self._in.get(interconnect, ()))
        routers = tuple(self.index.version.get(uuid, 0) for name in mine for uuid in self._routers(name))
        return super().owned_version(interconnect), tuple((name, self._versions[name]) for name in mine), routers

    def interconnects(self) -> set[str]:
        return super().interconnects() | {name for name, vpcs in self._in.items() if vpcs}

    def changes(self, interconnect: str, desired: Mapping[str, Sequence[Row]], owner: Owner) -> dict[str, list[Change]]:
        found = super().changes(interconnect, desired, owner)
        rows = desired.get(self.outside, ())
        names = {*self._in.get(interconnect, ()), *(str(row.parent.name) for row in rows if row.parent)}
        vpcs = {name: self._seen[name] for name in sorted(names) if name in self._seen}
        if work := diff(interconnect, rows, vpcs, self._stands):
            found[self.outside] = work
        return found

    def _stands(self, vpc: str, field: str, element: str) -> bool:
        """Kube-OVN has made a row of it."""
        return any((field, element) in self._rows_of(uuid) for uuid in self._routers(vpc))

    def _routers(self, vpc: str) -> set[str]:
        return self.index.named.get(("Logical_Router", vpc), set())

    def _rows_of(self, router: str) -> frozenset[tuple[str, str]]:
        """Routes and policies of a router, as elements."""
        version = self.index.version.get(router, 0)
        if self._known.get(router, (-1,))[0] != version:
            self._known[router] = version, frozenset(_as_elements(self.client.rows, router))
        return self._known[router][1]

    # -- SiteFacts --------------------------------------------------------------------------------------------

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        """A router of Kube-OVN's whose `Vpc` is not there, or goes, is about to go."""
        found = []
        for vpc in super().vpcs(ref):
            known = self._seen.get(vpc.name)
            if vpc.keeper == "ovn":
                found.append(vpc)
            elif known is not None and not known.leaves:
                found.append(replace(vpc, default=True) if known.default else vpc)
        return tuple(found)

    def objection(self, ref: VpcRef) -> Problem | None:
        """Kube-OVN's controller would remove our switches and routers when it starts.

        What it was started with is known only where it runs in its Deployment.
        """
        for name, found in self._controllers.objects.items():
            words = [w for c in found.spec.template.spec.containers for w in (*c.command, *c.args)]
            if SPARES not in words:
                said = f"site {self.site.name!r}: Deployment {name} runs without {SPARES}: it removes what others make"
                return Problem("ForeignRowsRemoved", said, remedy="set it (func.ENABLE_EXTERNAL_VPC of its chart)")
        return None

    # -- writing ----------------------------------------------------------------------------------------------

    def described(self) -> tuple[Described, ...]:
        return tuple(described(self._seen))

    async def _work(self, changes: Sequence[Change]) -> None:
        by: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            assert change.parent is not None and change.parent.name is not None
            by[change.parent.name].append(change)
        for vpc, work in sorted(by.items()):
            async with self._turns[vpc]:
                await self._edit(vpc, work)

    async def _edit(self, vpc: str, changes: list[Change]) -> None:
        """Change our elements in a version of the object that nobody has changed meanwhile. Raises WorldError."""
        assert self._api is not None
        resource: Any = res.VpcObject
        refused: tuple[str, ApiError] | None = None
        try:
            for _ in range(TRIES):
                found = await self._api.get(resource, vpc)
                if refused and refused[0] == found.metadata.resource_version:
                    raise refused[1]
                work = edit(found, self._owner_name, changes)
                if not work:
                    # The watch has not told of it yet, or somebody else was faster.
                    self._vpcs.learn(found)
                    return
                self._insist(f"Vpc {vpc}: ")
                begun = time.monotonic()
                try:
                    made = await self._api.patch(resource, vpc, work, patch_type=PatchType.JSON)
                except ApiError as error:
                    if error.status.code not in CHANGED:
                        raise
                    refused = found.metadata.resource_version, error
                    continue
                what = f"PATCH vpcs/{vpc}: {', '.join(f'{c.op} {c.table} {c.key}' for c in changes)}"
                self._requests.note(what, made.metadata.resource_version, begun)
                self._vpcs.learn(made)
                return
        except ApiError as error:
            if error.status.code == 404:
                return
            raise WorldError(refusal(error, resource)) from error
        except (httpx2.HTTPError, OSError) as error:
            raise Unreachable(unreachable(f"Vpc {vpc}", error)) from error
        said = f"Vpc {vpc} was changed by others {TRIES} times between our reading and our writing"
        raise WorldError(Problem("Busy", said, remedy="see who changes it so often"))


def _as_elements(rows: Rows, router: str) -> Iterator[tuple[str, str]]:
    """What Kube-OVN makes of elements, read back (its `vpc.go`, `diffStaticRoute` and `diffPolicyRouteWithLogical`)."""
    row = rows["Logical_Router"].get(router, {"static_routes": (), "policies": ()})
    routes, policies = rows["Logical_Router_Static_Route"], rows["Logical_Router_Policy"]
    for one in (routes[u] for u in row["static_routes"] if u in routes):
        policy = "policySrc" if one["policy"] == "src-ip" else "policyDst"
        element = {"cidr": one["ip_prefix"], "nextHopIP": one["nexthop"], "policy": policy}
        yield ROUTES, plain(ROUTES, element | {"routeTable": one["route_table"]})
    for one in (policies[u] for u in row["policies"] if u in policies):
        yield POLICIES, plain(POLICIES, {c: one[c] for c in ("priority", "match", "action")})
