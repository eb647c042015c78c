"""One pass: intent and replicas -> what must be written. Pure reading; what woke us does not matter and is not known.

An Interconnect is compiled again only when something that its compilation looked at has changed: the key of that memo
is made of the very objects and version numbers that were looked at, so there is nothing to invalidate (ADR 0002).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from isthmus.backends.changes import Change, Owner, is_subnet
from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile import names, overlap, transit
from isthmus.compile.overlap import VpcKey
from isthmus.compile.probes import SITE, trunk_rows
from isthmus.compile.record import SideRecord
from isthmus.compile.resolve import NOT_YET, resolve
from isthmus.compile.rows import rows
from isthmus.compile.view import Joined, Side
from isthmus.controller import records, refusals
from isthmus.controller.entry import Entry
from isthmus.controller.ledger import Ledger
from isthmus.controller.nudges import Nudges
from isthmus.controller.world import World
from isthmus.errors import Problem, WorldError
from isthmus.model.intent import Attachment, Interconnect, Prefix
from isthmus.model.rows import IC_NB, Row, nb


class Planner:
    """Holds the entries; `run` brings them up to date with the world.

    adopt  take over rows of another installation of the same owner
    cut    of an Interconnect with a site out of reach, withdraw at the others what is no longer listed
    """

    def __init__(self, world: World, *, adopt: bool = False, cut: bool = True) -> None:
        self.world = world
        self.entries: dict[str, Entry] = {}
        self.shared: dict[str, list[Change]] = {}
        self.claims: dict[VpcKey, dict[str, frozenset[Prefix]]] = defaultdict(dict)
        self._claims_version: dict[VpcKey, int] = defaultdict(int)
        self._claimed: dict[str, set[VpcKey]] = defaultdict(set)
        self.ledger = Ledger()
        self.nudges = Nudges(world)
        self._invalid: Mapping[str, tuple[Problem, ...]] = {}
        self._readable: Mapping[str, OvnSite] = {}
        self._last_epoch: object = None
        self._same = self._touched = False
        self._absent_since: dict[tuple[str, str], int] = {}
        self._adopt = adopt
        self._cut = cut
        self.installation = self._fresh = os.urandom(8).hex()
        self.foreign_claim: Problem | None = None

    # -- one pass -------------------------------------------------------------------------------------------

    def run(
        self,
        wanted: Mapping[str, Interconnect],
        only: frozenset[str] | None,
        invalid: Mapping[str, tuple[Problem, ...]] | None = None,
    ) -> None:
        """Bring every entry up to date.

        wanted   by name; what is not here goes away
        only     the names that may be touched, or None for everything of this owner
        invalid  what is wrong with the text of some of them: these must not gain reach
        """
        self._invalid = invalid or {}
        self._readable = self.world.readable()
        troubles = self.world.troubles()
        self._choose_installation()
        epoch = self._epoch(troubles)
        self._same, self._last_epoch, self._touched = epoch == self._last_epoch, epoch, False
        known = {n for s in self._stores() for n in s.interconnects()} | set(self.world.fabric.index.owned)
        known.discard(SITE)
        readable = self._readable
        for name in known | set(wanted) if not self._same else ():
            self.ledger.read(name, readable)
        self.ledger.forget(n for n in list(self.entries) if n not in known and n not in wanted)
        targets = sorted(n for n in known | set(wanted) if only is None or n in only)
        for name in self.entries.keys() - set(targets):
            self._withdraw_claims(name)
            del self.entries[name]
            self._touched = True
        for name in known.difference(targets):
            self._claim_what_stands(name)
        for name in targets:
            self._resolve(self.entries.setdefault(name, Entry(name, None)), wanted.get(name), troubles)
        for name in targets:
            self._compile(self.entries[name], troubles)
        if self._touched or not self._same:
            self.shared = self._shared_changes()

    def _epoch(self, troubles: Mapping[str, Problem]) -> object:
        """Differs from that of the pass before where anything but documents has changed.

        While it does not, an entry is looked at again only if its own text, or what others claim on its routers, has.
        """
        sites = tuple((name, s.version) for name, s in self._readable.items())
        return sites, self.world.fabric.index.total, tuple(troubles.items()), self.installation, self.foreign_claim

    def problems(self) -> list[Problem]:
        found = [p for e in self.entries.values() for p in e.problems]
        return [self.foreign_claim, *found] if self.foreign_claim else found

    def _stores(self) -> Iterator[OvnSite]:
        yield from self._readable.values()

    # -- whose rows -----------------------------------------------------------------------------------------

    def _choose_installation(self) -> None:
        """The id that our rows carry: the Fabric's claim; or, where that was lost, the one that all rows agree on."""
        claim = self.world.fabric.claim if self.world.fabric.trouble is None else None
        seen = {
            i for s in [*self._stores(), self.world.fabric] for i in s.index.installations if s.index.installations[i]
        }
        others = sorted(seen - {claim})
        if claim is None and len(others) == 1 and self._complete(others[0]):
            claim, others = others[0], []
        self.installation = claim or self._fresh
        self.foreign_claim = None
        if others and not self._adopt:
            self.foreign_claim = Problem(
                "ForeignInstallation",
                f"rows of owner {self.owner_name!r} belong to another installation ({', '.join(others)})",
                self.world.fabric.fabric.origin.file,
                self.world.fabric.fabric.origin.document,
                "spec.owner",
                "choose another spec.owner, or run apply with --adopt to take them over",
            )

    def _complete(self, installation: str) -> bool:
        """Each Interconnect of these rows has an edge at two sites or more: an interconnect database was lost.

        Another installation that shares but one site with us looks different: its rows stand at that site alone.
        """
        sites: dict[str, int] = defaultdict(int)
        for site in self._stores():
            for name in site.index.installations.get(installation, {}):
                sites[name] += name != SITE
        return all(count > 1 for count in sites.values() if count)

    @property
    def owner_name(self) -> str:
        return self.world.fabric.fabric.owner

    @property
    def owner(self) -> Owner:
        return Owner(self.owner_name, self.installation)

    # -- intent and facts -> sides --------------------------------------------------------------------------

    def _resolve(self, entry: Entry, intent: Interconnect | None, troubles: Mapping[str, Problem]) -> None:
        invalid = self._invalid.get(entry.name, ())
        if self._same and entry.text == (intent, invalid):
            return
        entry.text = intent, invalid
        entry.blocked = self._blocked(intent, troubles)
        if intent is None or (entry.blocked is not None and not self._cut):
            entry.intent = intent
            if intent is None:
                self._withdraw_claims(entry.name)
            else:
                # Nobody else may take the ranges of what stands and cannot be worked on now.
                self._claim_what_stands(entry.name)
            entry.sides, entry.unresolved, entry.problems, entry.resolved_from = (), (), (), None
            return
        readable = self._readable
        attachments = [a for a in intent.attachments if a.site in readable]
        sites = [readable[a.site] for a in attachments]
        looks_further = any(a.security_groups or any(s.cidrs for s in a.subnets) for a in attachments)
        seen = (
            intent,
            invalid,
            entry.blocked,
            tuple(site.vpcs(a.vpc) for a, site in zip(attachments, sites, strict=True)),
            tuple(site.chassis_version for site in sites),
            tuple(site.nb_global.get("name") for site in sites),
            tuple(site.has_project(a.vpc.project or "") for a, site in zip(attachments, sites, strict=True)),
            tuple(site.objection(a.vpc) for a, site in zip(attachments, sites, strict=True)),
            tuple(site.version for site in sites) if looks_further else (),
        )
        if entry.resolved_from == seen:
            return
        entry.intent, entry.resolved_from = intent, seen
        recorded = self.ledger.edges(entry.name)
        sides: list[Side] = []
        problems = list(invalid)
        for attachment, site in zip(attachments, sites, strict=True):
            old = recorded.get(attachment.name, NOT_YET)
            found = resolve(intent, attachment, self.owner_name, site, site.site.gateways, old)
            problems += [*found.problems, *self._site_problems(intent, attachment, site)]
            if found.side is not None:
                sides.append(found.side)
        # Of a site that cannot be read we know what stood there: the other edges say so.
        sides += [recorded[a.name].side(a) for a in intent.attachments if a not in attachments and a.name in recorded]
        entry.sides = tuple(sorted(sides, key=lambda s: s.name))
        entry.unresolved = entry.problems = tuple(problems)
        entry.compiled_from = None
        self._set_claims(entry)

    def _blocked(self, intent: Interconnect | None, troubles: Mapping[str, Problem]) -> Problem | None:
        if intent is None:
            return None
        if missing := [s for s in intent.sites if s not in self.world.sites]:
            origin = intent.origin
            text = f"interconnect {intent.name!r}: site {missing[0]!r} has no valid document"
            return Problem(
                "SiteRefused", text, origin.file, origin.document, "spec.attachments", "see that site's problems"
            )
        return next((troubles[s] for s in ("", *intent.sites) if s in troubles), None)

    def _site_problems(self, intent: Interconnect, attachment: Attachment, site: OvnSite) -> Iterator[Problem]:
        actual = site.nb_global["name"]
        if actual and actual != site.site.zone:
            yield Problem(
                "WrongZone",
                f"site {site.site.name!r}: OVN says its zone is {actual!r}, not {site.site.zone!r}",
                site.site.origin.file,
                site.site.origin.document,
                "spec.zone",
                f"write zone: {actual}",
            )
        if objection := site.objection(attachment.vpc):
            origin = intent.origin
            place = origin.file, origin.document, f"{attachment.field}.vpc"
            text = f"interconnect {intent.name!r}: {objection.message}"
            yield Problem(objection.code, text, *place, objection.remedy)
        if any(
            a is not attachment and a.site == attachment.site and a.vpc == attachment.vpc for a in intent.attachments
        ):
            origin = intent.origin
            where = f"router {str(attachment.vpc)!r} of site {attachment.site!r}"
            text = f"interconnect {intent.name!r}: {where} is attached twice"
            yield Problem(
                "SameVpcTwice", text, origin.file, origin.document, f"{attachment.field}.vpc", "list its subnets once"
            )

    # -- claims of prefixes per VPC router --------------------------------------------------------------------

    def _set_claims(self, entry: Entry) -> None:
        self._withdraw_claims(entry.name)
        for side in entry.sides:
            key = (side.site, side.vpc.uuid)
            self._claim(key, entry.name, overlap.remotes(entry.sides, side))

    def _claim_what_stands(self, name: str) -> None:
        """Of an Interconnect that this run may not touch, its rows say what it routes where."""
        edges = self.ledger.edges(name)
        for attachment, edge in edges.items():
            away = frozenset(p for other, e in edges.items() if other != attachment for p in e.prefixes)
            if self.claims[(edge.site, edge.vpc)].get(name) != away:
                self._claim((edge.site, edge.vpc), name, away)

    def _claim(self, key: VpcKey, name: str, prefixes: frozenset[Prefix]) -> None:
        self.claims[key][name] = prefixes
        self._claimed[name].add(key)
        self._claims_version[key] += 1

    def _withdraw_claims(self, name: str) -> None:
        for key in self._claimed.pop(name, ()):
            del self.claims[key][name]
            self._claims_version[key] += 1

    # -- sides -> rows -> changes -------------------------------------------------------------------------------

    def _compile(self, entry: Entry, troubles: Mapping[str, Problem]) -> None:
        if (entry.blocked is not None and not self._cut) or (self.foreign_claim and entry.intent):
            entry.changes, entry.joined = {}, None
            return
        refused = refusals.noted(entry, self._readable)
        near = (
            entry.resolved_from,
            [
                (self._claims_version[(s.site, s.vpc.uuid)], self.ledger.version[(s.site, s.vpc.uuid)])
                for s in entry.sides
            ],
            self.nudges.look(entry, self._readable),
            refused,
        )
        if self._same and entry.near == near and entry.clean and not entry.lingering:
            return
        entry.near = near
        seen = (
            near,
            self.installation,
            tuple((n, s.owned_version(entry.name)) for n, s in self._readable.items()),
            self.world.fabric.index.owned_version.get(entry.name, 0),
            self._transit_seen(entry),
            tuple(sorted(troubles)),
        )
        if entry.compiled_from == seen and entry.clean and not entry.lingering:
            return
        entry.compiled_from, self._touched = seen, True
        entry.refusal = next(filter(None, map(refusals.read, refused.values())), None)
        joined = self._join(entry)
        entry.joined = replace(joined, refused=refused) if joined else None
        entry.numbered = self._numbered(entry.joined)
        desired: dict[str, list[Row]] = defaultdict(list)
        for row in rows(entry.joined) if entry.joined else ():
            desired[row.database].append(row)
        entry.changes = {}
        for site in self._readable.values():
            entry.changes |= site.changes(entry.name, desired, self.owner)
        if self.world.fabric.trouble is None and (changes := self._transit(entry)):
            entry.changes[IC_NB] = changes

    def _numbered(self, joined: Joined | None) -> bool:
        return joined is None or all(
            joined.numbers[s.name].port_key for s in joined.sides if joined.is_first(s) and s.site in self._readable
        )

    def _transit_seen(self, entry: Entry) -> tuple[bool, ...]:
        name = names.transit_switch(self.owner_name, entry.name)
        return tuple(bool(s.index.named.get(("Logical_Switch", name))) for s in self._stores())

    def _join(self, entry: Entry) -> Joined | None:
        """What may stand now: everything, or, of a refused intent, what stood before and is still wanted."""
        intent = entry.intent
        if intent is None:
            return None
        pools = self.world.fabric.fabric.pools
        found = list(overlap.collisions(intent, entry.sides, pools, self.claims, self.ledger.standing))
        entry.problems = tuple(dict.fromkeys([*entry.unresolved, *(c.problem for c in found)]))
        if not entry.problems and not entry.blocked:
            try:
                return self._number(entry, entry.sides)
            except WorldError as error:
                # One for which no number is left stops nobody else; what stands has its numbers.
                entry.problems = tuple(_at(p, intent) for p in error.problems)
        losing = {(c.side.name, c.subnet.name) for c in found}
        stood = self.ledger.stood(entry.name)
        sides = (_narrow(s, stood[s.name], losing) for s in entry.sides if _same_vpc(s, stood.get(s.name)))
        return self._number(entry, tuple(s for s in sides if s.gateways))

    def _number(self, entry: Entry, sides: tuple[Side, ...]) -> Joined | None:
        """Raises WorldError where a number is missing and none is left."""
        if len(sides) < 2:
            return None
        pools = self.world.fabric.fabric.pools
        mtu = min(self.world.sites[s.site].site.mtu for s in sides if s.site in self.world.sites)
        joined = Joined(entry.name, self.owner_name, self.installation, sides, {}, pools, mtu)
        nudged = partial(self.nudges.given, entry.name)
        return replace(joined, numbers=self.ledger.give(joined, self._readable, self._held(entry.name), nudged))

    # -- the transit switch, and what Interconnects share -----------------------------------------------------------

    def _transit(self, entry: Entry) -> list[Change]:
        """The transit switch stays until the gateway chassis of every site that had it confirmed that it is gone."""
        recorded: dict[str, list[str]] = defaultdict(list)
        for name, chassis in records.members(entry.name, self.world.fabric).items():
            recorded[self._called_now(name, chassis)] += chassis
        members: dict[str, list[str]] = {}
        if entry.joined is not None:
            for side in entry.joined.sides:
                members[side.site] = sorted({*members.get(side.site, []), *side.gateways, *recorded.get(side.site, [])})
        lingering = [
            s for s, chassis in recorded.items() if s not in members and not self._gone(entry.name, s, chassis)
        ]
        lingering += [
            name
            for name, site in self.world.sites.items()
            if name not in members and name not in lingering and _reaches(site, entry.name) and recorded
        ]
        entry.lingering = tuple(sorted(set(lingering)))
        held, numbers = self._held(entry.name), {}
        for site in entry.lingering:
            members[site] = recorded.get(site, [])
            if site in held:
                numbers[site] = held[site]
        if entry.joined is not None:
            firsts = [s for s in entry.joined.sides if entry.joined.is_first(s)]
            numbers |= {s.site: entry.joined.numbers[s.name].transit for s in firsts}
        desired = [transit.row(self.owner_name, entry.name, members, numbers)] if members else []
        return self.world.fabric.diff(entry.name, desired, self.owner)

    def _held(self, interconnect: str) -> dict[str, int]:
        """Site, as it is called now -> transit address, by the switch's record."""
        members = records.members(interconnect, self.world.fabric)
        numbers = records.numbers(interconnect, self.world.fabric)
        return {self._called_now(site, members.get(site, ())): number for site, number in numbers.items()}

    def _called_now(self, site: str, chassis: Iterable[str]) -> str:
        """The name of a recorded site in today's documents: the site whose own chassis it had."""
        if site in self.world.sites:
            return site
        had = set(chassis)
        return next((n for n, s in self._readable.items() if had and had <= s.chassis().keys()), site)

    def _gone(self, interconnect: str, site_name: str, chassis: Iterable[str]) -> bool:
        """The rows are gone, and every chassis that had them has worked off an `nb_cfg` from after that."""
        site = self._readable.get(site_name)
        key = (interconnect, site_name)
        if site is None or _reaches(site, interconnect):
            self._absent_since.pop(key, None)
            return False
        needed = self._absent_since.setdefault(key, site.nb_cfg)
        for name in chassis:
            has = site.chassis_cfg(name)
            if has is not None and has < needed:
                return False
        del self._absent_since[key]
        return True

    def _shared_changes(self) -> dict[str, list[Change]]:
        """The trunks of probing chassis, wanted while any Interconnect has a probe there."""
        found: dict[str, list[Change]] = {}
        if self.foreign_claim:
            return found
        for name, site in self._readable.items():
            probing = set()
            for entry in self.entries.values():
                probing |= (
                    {c for s in entry.joined.sides if s.site == name for c in s.probes} if entry.joined else set()
                )
            # Of what this pass did not compile (blocked, or not in its scope) the probes that stand still count.
            for other in site.index.owned:
                if other not in self.entries or self.entries[other].joined is None:
                    probing |= {chassis for _, chassis in records.tags(other, site)}
            desired = list(trunk_rows(self.owner_name, name, probing)) if probing else []
            if changes := site.diff(SITE, desired, self.owner):
                found[nb(name)] = changes
        return found


def _reaches(site: OvnSite, interconnect: str) -> bool:
    """Rows of it stand; a subnet that we defined and that machines keep alone is no way to anywhere."""
    return any(not is_subnet(key) for _, key in site.owned(interconnect))


def _at(problem: Problem, intent: Interconnect) -> Problem:
    text, origin = f"interconnect {intent.name!r}: {problem.message}", intent.origin
    return replace(problem, message=text, file=origin.file, document=origin.document, field="spec.attachments")


def _same_vpc(side: Side, recorded: SideRecord | None) -> bool:
    """It is on the router that it stood on: many VPCs have the same ranges."""
    return recorded is not None and (recorded.site, recorded.vpc) == (side.site, side.vpc.uuid)


def _narrow(side: Side, recorded: SideRecord, losing: set[tuple[str, str]]) -> Side:
    """Only subnets that stood before, with the ranges that stood, and that lost to nobody."""
    stood = recorded.prefixes
    subnets = tuple(s for s in side.subnets if set(s.prefixes) <= stood and (side.name, s.name) not in losing)
    names_left = {s.name for s in subnets}
    return replace(side, subnets=subnets, defined=tuple(d for d in side.defined if d.name in names_left))
