"""What is joined, as the databases show it: the view behind `isthmus show`. Reads replicas, knows no document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile import names
from isthmus.compile.record import SideRecord
from isthmus.controller import records
from isthmus.controller.world import World
from isthmus.model.facts import Vpc
from isthmus.model.intent import VpcRef
from isthmus.model.rows import LINK_EDGE


@dataclass(frozen=True, slots=True)
class Gateway:
    """A chassis that may carry a site's end; `active`: it does now."""

    chassis: str
    priority: int
    active: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """state  up, down, or unknown where no agent on the chassis says anything."""

    chassis: str
    state: str
    since: str
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    name: str
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attached:
    """One Attachment. Addresses with their prefix lengths, sorted; empty where the row is not there.

    transit  the edge's addresses on the transit switch; empty for a further edge of a site
    edge     the edge's addresses on the link; `router` the VPC router's
    """

    name: str
    site: str
    vpc: str
    subnets: tuple[Subnet, ...]
    transit: tuple[str, ...]
    edge: tuple[str, ...]
    router: tuple[str, ...]
    gateways: tuple[Gateway, ...]
    probes: tuple[Probe, ...]
    reachable: bool
    """The site's databases were read; otherwise only what other sites' rows say is known."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One Interconnect. `switch` is its transit switch, or "" where the interconnect database has none."""

    name: str
    switch: str
    attachments: tuple[Attached, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def topology(world: World) -> list[Shown]:
    """Every Interconnect of this owner that any database in reach tells of, by name."""
    readable = world.readable()
    owned = {n for s in readable.values() for n in s.interconnects()} | set(world.fabric.index.owned)
    found = []
    for name in sorted(n for n in owned if not n.startswith("~")):
        edges = records.edges(name, readable)
        switches = [str(row["name"]) for _, row in world.fabric.owned_rows(name, "Transit_Switch")]
        attached = [_attached(world, name, attachment, edge) for attachment, edge in sorted(edges.items())]
        found.append(Shown(name, switches[0] if switches else "", tuple(attached)))
    return found


def _attached(world: World, interconnect: str, attachment: str, edge: SideRecord) -> Attached:
    site = world.readable().get(edge.site)
    subnets = tuple(Subnet(n, tuple(str(a.network) for a in found)) for n, found in sorted(edge.subnets.items()))
    if site is None:
        return Attached(attachment, edge.site, edge.vpc, subnets, (), (), (), (), (), False)
    vpcs = site.vpcs(VpcRef(id=edge.vpc))
    rows = {key: row for key, row in site.owned_rows(interconnect, "Logical_Router_Port")}

    def networks(what: str) -> tuple[str, ...]:
        row = rows.get(f"{interconnect}/{attachment}/{what}")
        found = row["networks"] if row else ()
        return tuple(sorted(map(str, found))) if isinstance(found, frozenset) else ()

    return Attached(
        name=attachment,
        site=edge.site,
        vpc=vpcs[0].name if vpcs else edge.vpc,
        subnets=subnets,
        transit=networks("transit"),
        edge=networks(LINK_EDGE),
        router=networks("link-vpc") or _link_of(vpcs, f"{interconnect}/{attachment}/link"),
        gateways=tuple(_gateways(world, site, interconnect, attachment)),
        probes=tuple(_probes(world, site, interconnect, attachment)),
        reachable=True,
    )


def _link_of(vpcs: Iterable[Vpc], key: str) -> tuple[str, ...]:
    """Addresses of a router's port on our link where somebody else keeps the router."""
    return tuple(sorted(str(n) for vpc in vpcs for p in vpc.ports if p.owned == key for n in p.networks))


def _gateways(world: World, site: OvnSite, interconnect: str, attachment: str) -> Iterator[Gateway]:
    port = names.of(world.fabric.fabric.owner, interconnect, attachment, "transit")
    active = site.bound_to(f"cr-{port}")
    found = []
    for key, row in site.owned_rows(interconnect, "Gateway_Chassis"):
        if key.startswith(f"{interconnect}/{attachment}/"):
            chassis, priority = str(row["chassis_name"]), row["priority"]
            found.append(Gateway(chassis, priority if isinstance(priority, int) else 0, chassis == active))
    yield from sorted(found, key=lambda g: (-g.priority, g.chassis))


def _probes(world: World, site: OvnSite, interconnect: str, attachment: str) -> Iterator[Probe]:
    """What agents say of ports that are bound to them, of whatever generation."""
    for of, chassis in sorted(records.tags(interconnect, site)):
        if of != attachment:
            continue
        port = names.of(world.fabric.fabric.owner, interconnect, attachment, f"probe.{chassis}")
        private = site.private(chassis)
        ids = private["external_ids"] if private and site.bound_to(port) == chassis else {}
        said = _said(ids.get(f"isthmus:probe:{port}", "")) if isinstance(ids, Mapping) else {}
        lost = said.get("lost", [])
        state, since = str(said.get("state", "unknown")), str(said.get("since", ""))
        yield Probe(chassis, state, since, tuple(map(str, lost)) if isinstance(lost, list) else ())


def _said(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
