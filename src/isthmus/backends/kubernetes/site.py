"""A cluster whose networks are ours, for Interconnects: OVN's databases as any site's, and Subnets that they define.

An object of ours carries our marks as annotations. The API server is no part of the site otherwise: while it is away
nothing is defined or removed, and all else goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightkube.types import PatchType

from isthmus.backends.changes import Change, Owner
from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.apisite import ApiSite
from isthmus.backends.kubernetes.cluster import CONFLICT, MISSING
from isthmus.backends.kubernetes.read import annotation
from isthmus.backends.kubernetes.reflector import Reflector
from isthmus.compile.vpc_cluster import SUBNET
from isthmus.errors import Problem
from isthmus.model.facts import Switch, Vpc
from isthmus.model.intent import Site, VpcRef
from isthmus.model.rows import KEY, OWNER, Row


class ClusterSite(ApiSite):
    """Writes Subnets of `kubernetes/SITE` by itself and in its time."""

    def __init__(self, site: Site, owner: str, wake: Callable[[], None], *, writes: bool) -> None:
        super().__init__(site, owner, wake, writes=writes)
        self._subnets: Reflector[res.Subnet] = Reflector(res.Subnet, self._changed, wake)
        self._mine: dict[str, str] = {}
        """Name of a Subnet that an Attachment defined -> its key."""
        self._defining: set[str] = set()
        """Interconnects that define Subnets."""

    # -- life -----------------------------------------------------------------------------------------------

    def _watched(self) -> Sequence[Reflector[Any]]:
        return (self._subnets,)

    @property
    def unheard(self) -> Problem | None:  # type: ignore[override]
        """Why Subnets cannot be told now, or None."""
        found = self._failure or self._subnets.failure
        if found is None and not self._subnets.listed:
            found = Problem("NotListed", "Subnets are not listed yet")
        return replace(found, message=f"site {self.site.name!r}: {found.message}") if found else None

    @property
    def asking(self) -> bool:  # type: ignore[override]
        away = self.unheard
        return away is not None and away.code == "NotListed" and self._patient

    def _changed(self, name: str) -> None:
        found = self._subnets.objects.get(name)
        marks = found.metadata.annotations if found else {}
        if marks.get(annotation(OWNER)) == self._owner_name:
            self._mine[name] = marks.get(annotation(KEY), "")
        else:
            self._mine.pop(name, None)
        self._generation += 1

    # -- what a pass asks -------------------------------------------------------------------------------------

    @property
    def version(self) -> object:
        return super().version, self._generation, self._requests.version, self.unheard is None

    def owned_version(self, interconnect: str) -> object:
        mine = [(name, self._facts.in_use(name), self._stands(name)) for name, _ in self._of(interconnect)]
        return super().owned_version(interconnect), self._generation, tuple(mine), self.unheard is None

    def interconnects(self) -> set[str]:
        return super().interconnects() | {key.partition("/")[0] for key in self._mine.values()}

    def changes(self, interconnect: str, desired: Mapping[str, Sequence[Row]], owner: Owner) -> dict[str, list[Change]]:
        found = super().changes(interconnect, desired, owner)
        wanted = desired.get(self.outside, ())
        (self._defining.add if wanted else self._defining.discard)(interconnect)
        if work := list(self._compare(interconnect, wanted, owner)):
            found[self.outside] = work
        return found

    def _of(self, interconnect: str) -> Iterator[tuple[str, str]]:
        return ((name, key) for name, key in self._mine.items() if key.partition("/")[0] == interconnect)

    def _compare(self, interconnect: str, desired: Sequence[Row], owner: Owner) -> Iterator[Change]:
        """What is not there yet is deferred when it is OVN that lacks it; what has Pods inside stays."""
        for row in desired:
            name = str(row.columns["name"])
            there = self._subnets.objects.get(name)
            if there is None:
                marks = {annotation(mark): text for mark, text in owner.marks(row).items()}
                yield Change("add", SUBNET, row.key, None, {**row.columns, "annotations": marks})
            elif self._mine.get(name) == row.key:
                spec = {"cidrBlock": there.spec.cidr_block, "gateway": there.spec.gateway}
                changed = {c: row.columns[c] for c, text in spec.items() if row.columns[c] != text}
                if changed or not self._stands(name):
                    yield Change("change", SUBNET, row.key, there.metadata.uid, changed, deferred=not changed)
        wanted = {row.key for row in desired}
        for name, key in sorted(self._of(interconnect)):
            if key not in wanted and not self._facts.in_use(name) and self.unheard is None:
                yield Change("remove", SUBNET, key, self._subnets.objects[name].metadata.uid, {})

    def _stands(self, name: str) -> bool:
        """The VPC's router has a port in every network of a Subnet."""
        found = self._subnets.objects.get(name)
        routers = self._facts.vpcs(VpcRef(name=found.spec.vpc)) if found else ()
        there = {str(p) for r in routers for port in r.ports if port.switch_name == name for p in port.prefixes}
        return found is not None and set(found.spec.cidr_block.split(",")) <= there

    # -- SiteFacts --------------------------------------------------------------------------------------------

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        return tuple(self._as_ours(vpc) if vpc.keeper == "ovn" else vpc for vpc in super().vpcs(ref))

    def _as_ours(self, vpc: Vpc) -> Vpc:
        ports = (
            replace(p, owned=f"{self._mine[p.switch_name]}/gateway") if p.switch_name in self._mine else p
            for p in vpc.ports
        )
        return replace(vpc, ports=tuple(ports), keeper="isthmus")

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        """Also those that OVN does not have yet."""
        key = self._mine.get(name)
        found = tuple(replace(s, owned=key or s.owned) for s in super().switches(name, vpc))
        coming = not found and name in self._subnets.objects
        return (Switch("", name, frozenset(), key),) if coming else found

    # -- writing ----------------------------------------------------------------------------------------------

    def call(self, interconnect: str, changes: Sequence[Change]) -> bool:
        return self.unheard is None and super().call(interconnect, changes)

    def refusal(self, interconnect: str) -> Problem | None:
        """While the API server is away, also why nothing can be asked for."""
        away = self.unheard if interconnect in self._defining else None
        return away or super().refusal(interconnect)

    async def _work(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._insist()
            await self._send(change)

    async def _send(self, change: Change) -> None:
        """One change. What somebody has done meanwhile shows in the next pass. Raises WorldError."""
        assert self._api is not None
        name = change.key.rpartition("/subnet/")[2]
        kind: Any = res.Subnet
        if change.op == "remove":
            await self._requests.send(f"DELETE subnets/{name}", kind, self._api.delete(kind, name), MISSING)
            self._subnets.forget(name)
            return
        columns = change.columns
        marks = columns.get("annotations", {})
        metadata = res.Metadata(name=name, annotations=dict(marks) if isinstance(marks, Mapping) else {})
        words = {c: str(columns.get(c, "")) for c in ("cidrBlock", "vpc", "gateway")}
        spec = res.SubnetSpec(cidr_block=words["cidrBlock"], vpc=words["vpc"], gateway=words["gateway"])
        made = res.Subnet(metadata, res.API_VERSION, "Subnet", spec)
        if change.op == "add":
            answer = await self._requests.send(f"POST subnets/{name}", kind, self._api.create(made), CONFLICT)
        else:
            request = self._api.patch(kind, name, made, patch_type=PatchType.MERGE)
            answer = await self._requests.send(f"PATCH subnets/{name}", kind, request, MISSING)
        if answer is not None:
            self._subnets.learn(answer)
