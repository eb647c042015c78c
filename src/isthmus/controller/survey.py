"""What stands, read whole: every row of every site, and what the documents want of it. Writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from isthmus.backends.changes import Change
from isthmus.backends.described import Described
from isthmus.backends.openstack.api import Api
from isthmus.backends.openstack.listing import project_names
from isthmus.backends.openstack.site import OpenStackSite
from isthmus.backends.ovsdb.fetch import fetch
from isthmus.compile.record import SideRecord
from isthmus.controller.conditions import answers
from isthmus.controller.entry import Entry
from isthmus.controller.estates import Watched
from isthmus.controller.once import CONNECT, scope
from isthmus.controller.planner import Planner
from isthmus.controller.world import World
from isthmus.errors import Problem, WorldError
from isthmus.model.facts import Subnet, Vpc
from isthmus.model.intent import Attachment, Configuration, Fabric, Prefix, Site, VpcRef
from isthmus.model.rows import IC_NB, Snapshot, nb
from isthmus.verify.admission import Gate
from isthmus.verify.cluster import Networks
from isthmus.verify.compare import Live
from isthmus.verify.expect import Expectation, expect
from isthmus.verify.place import Place

Key = tuple[str, str]
"""(Interconnect, Attachment)."""


@dataclass
class Rows:
    """Every row of the databases in reach.

    sites     site -> its northbound rows
    fabrics   name of the interconnect database in plans -> its rows
    problems  what is out of reach, by database
    """

    sites: dict[str, Snapshot] = field(default_factory=dict)
    fabrics: dict[str, Snapshot] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)

    @property
    def databases(self) -> dict[str, Snapshot]:
        """By the names that plans use."""
        return {nb(name): rows for name, rows in self.sites.items()} | self.fabrics


async def read(configuration: Configuration, timeout: float) -> Rows:
    """All databases at once; what does not answer within `timeout` seconds is a problem, not the end."""
    found = Rows()
    everything: list[Site | Fabric] = [*configuration.sites, *configuration.fabrics]
    answered = await asyncio.gather(*(_fetch(each, timeout) for each in everything))
    for each, answer in zip(everything, answered, strict=True):
        name = fabric_name(configuration, each) if isinstance(each, Fabric) else nb(each.name)
        if isinstance(answer, Problem):
            found.problems[name] = answer
        elif isinstance(each, Site):
            found.sites[each.name] = answer
        else:
            found.fabrics[name] = answer
    return found


def projects(configuration: Configuration, sites: Collection[str]) -> dict[str, Mapping[str, str]]:
    """Of these sites, where they have projects: id -> name, as far as our user may list them. Raises WorldError."""
    clouds = {s.name: s.cloud for s in configuration.sites if s.cloud and s.name in sites}
    return {site: project_names(Api(cloud)) or {} for site, cloud in clouds.items()}


def fabric_name(configuration: Configuration, fabric: Fabric) -> str:
    """Of the interconnect database: where there are several Fabrics, with its Fabric's name."""
    return IC_NB if len(configuration.fabrics) == 1 else f"{IC_NB}/{fabric.name}"


async def _fetch(each: Site | Fabric, timeout: float) -> Snapshot | Problem:
    kind, database = ("site", "OVN_Northbound") if isinstance(each, Site) else ("fabric", "OVN_IC_Northbound")
    try:
        return await fetch(each.northbound, database, min(CONNECT, timeout))
    except WorldError as error:
        why = error.problems[0]
        message = f"{kind} {each.name!r}: {why.message}"
        return Problem(why.code, message, each.origin.file, each.origin.document, "", why.remedy)


@dataclass
class Wanted:
    """What the documents want, resolved against the facts of the sites in reach.

    listed    Attachment -> subnets that it lists; what a listed name meant when it was applied, where it is gone since
    vpcs      Attachment -> its VPC router; also of Interconnects that only rows tell of
    invalid   what is wrong with the documents, given the facts
    troubles  what is out of reach, or another's, by northbound or interconnect database
    missing   Interconnect -> database -> what `apply` would change
    probed    what agents say
    gates     what Attachments at sites of type `openstack` say of security groups
    """

    listed: dict[Key, tuple[Subnet, ...]] = field(default_factory=dict)
    vpcs: dict[Key, Vpc] = field(default_factory=dict)
    invalid: list[Problem] = field(default_factory=list)
    troubles: dict[str, Problem] = field(default_factory=dict)
    missing: dict[str, Mapping[str, list[Change]]] = field(default_factory=dict)
    probed: list[tuple[Key, Key, Subnet, bool]] = field(default_factory=list)
    """From an Attachment, to an Attachment's subnet: whether echo requests are answered."""
    gates: list[Gate] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    """Security group's id -> its name."""
    objects: dict[str, tuple[Described, ...]] = field(default_factory=dict)
    """An API by its name in plans -> our objects there."""
    networks: list[Networks] = field(default_factory=list)
    """Of clusters: what their objects say of their own networks."""


async def resolve(configuration: Configuration, timeout: float) -> Wanted:
    """Ask the planner what the documents mean here; drift and refused documents do not stop it."""
    found = Wanted()
    for fabric in configuration.fabrics:
        # `cut`: an Interconnect with a site out of reach is worked on all the same.
        planner = Planner(World(fabric, configuration.sites, writes=False), cut=True)
        planner.world.start()
        try:
            troubles = await planner.world.settle(min(CONNECT, timeout))
            planner.run(scope(configuration, fabric, prune=True).wanted, None)
            found.invalid += [p for e in planner.entries.values() for p in e.problems]
            for name, problem in troubles.items():
                found.troubles[nb(name) if name else fabric_name(configuration, fabric)] = problem
            if planner.foreign_claim:
                found.troubles[fabric_name(configuration, fabric)] = planner.foreign_claim
            for entry in planner.entries.values():
                _add(found, entry, planner)
            for site in planner.world.readable().values():
                if site.outside:
                    found.objects[site.outside] = site.described()
                if isinstance(site, OpenStackSite):
                    found.groups |= site.group_names()
        finally:
            await planner.world.stop()
    return found


def _add(found: Wanted, entry: Entry, planner: Planner) -> None:
    recorded = planner.ledger.edges(entry.name)
    readable = planner.world.readable()
    sides = {s.name: s for s in entry.sides if s.site in readable}
    found.missing[entry.name] = entry.changes
    for attachment in entry.intent.attachments if entry.intent else ():
        if attachment.site in readable:
            side = sides.get(attachment.name)
            subnets = side.subnets if side else ()
            gone = _gone(attachment, {s.name for s in subnets}, recorded.get(attachment.name))
            found.listed[entry.name, attachment.name] = (*subnets, *gone)
    for name, side in sides.items():
        found.vpcs[entry.name, name] = side.vpc
    for name, record in recorded.items():
        if name not in sides and record.site in readable:
            for vpc in readable[record.site].vpcs(VpcRef(id=record.vpc)):
                found.vpcs[entry.name, name] = vpc
    found.probed += _probed(entry, planner)
    for name, side in sides.items():
        site = readable[side.site]
        if isinstance(site, OpenStackSite):
            rules, peers = site.admission(entry.name, name)
            away = _away(entry, name)
            found.gates.append(Gate(entry.name, name, side.site, side.security_groups, rules, peers, away))


def _away(entry: Entry, attachment: str) -> tuple[Prefix, ...] | None:
    """What the other sides connect, where all of them are known."""
    joined, intent = entry.joined, entry.intent
    if joined is None or intent is None or len(joined.sides) != len(intent.attachments):
        return None
    return tuple(p for s in joined.sides if s.name != attachment for p in s.prefixes)


def _gone(attachment: Attachment, there: set[str], record: SideRecord | None) -> Iterator[Subnet]:
    """Listed by name, applied once, and no more on the router: still wanted, with the range that it had."""
    for name in dict.fromkeys(s.name for s in attachment.subnets):
        if record and name and name not in there and name in record.subnets:
            addresses = record.subnets[name]
            yield Subnet(name, tuple(sorted({a.network for a in addresses}, key=str)), addresses, ())


def _probed(entry: Entry, planner: Planner) -> Iterator[tuple[Key, Key, Subnet, bool]]:
    joined = entry.joined
    for side in joined.sides if joined else ():
        if joined is None or side.site not in planner.world.readable():
            continue
        said = list(answers(joined, side, planner.world.sites[side.site]))
        if not said:
            continue
        # One chassis that hears an answer proves the path; a target is lost when all of them lost it.
        lost = set.intersection(*({str(w) for w in a.get("lost", ())} for a in said))
        for other in joined.others(side):
            for subnet in other.subnets:
                heard = not any(f"{other.name}/{subnet.name} {a.ip}" in lost for a in subnet.addresses)
                yield (entry.name, side.name), (entry.name, other.name), subnet, heard


async def survey(configuration: Configuration, timeout: float, *, objects: bool = False) -> tuple[Rows, Wanted]:
    """Rows, and what is wanted of them; without the sites that either could not read.

    objects  ask clusters too what they want of their own networks
    """
    clusters = [Watched(site) for site in configuration.sites if objects and site.keeps_networks]
    try:
        await asyncio.gather(*(each.begin(timeout) for each in clusters))
        rows, wanted = await asyncio.gather(read(configuration, timeout), resolve(configuration, timeout))
        rows.problems |= wanted.troubles
        rows.sites = {name: found for name, found in rows.sites.items() if nb(name) not in wanted.troubles}
        for each in clusters:
            if trouble := each.trouble:
                rows.problems[each.name] = trouble
            elif (here := rows.sites.get(each.site.name)) and (networks := each.networks(here)):
                wanted.networks.append(networks)
    finally:
        await asyncio.gather(*(each.end() for each in clusters))
    return rows, wanted


def expectation(configuration: Configuration, wanted: Wanted, sites: Iterable[str]) -> Expectation:
    """The expected matrix of the places at these sites."""
    return expect(configuration, wanted.listed, wanted.vpcs, wanted.networks).at(set(sites))


def probes(wanted: Wanted, expected: Expectation) -> Live:
    """What agents say, as an answer for each pair of subnets that they cover."""
    by_key: dict[tuple[Key, str], Place] = {}
    for place, memberships in expected.memberships.items():
        for key in memberships:
            by_key[key, place.name] = place
    found: dict[tuple[Place, Place], bool] = {}
    for source, target, subnet, heard in wanted.probed:
        end = by_key.get((target, subnet.name))
        for (key, _), start in by_key.items():
            if key == source and end is not None and {a.version for a in subnet.addresses} & _families(start):
                found[start, end] = found.get((start, end), True) and heard
    return found


def _families(place: Place) -> set[int]:
    return {p.version for p in place.prefixes}
