"""A site of type `openstack`: its OVN databases as any site's, and Neutron, which keeps the tenants' routers.

Rows wake us, the API decides: a change in the northbound database that is not ours has everything listed again, and so
does the clock once a minute, because names of subnets are in no row. Idle costs the same few calls with one
attachment as with a thousand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from isthmus.backends.changes import Call, Change, Owner, is_subnet
from isthmus.backends.described import Described
from isthmus.backends.openstack.api import Api
from isthmus.backends.openstack.calls import Calls
from isthmus.backends.openstack.described import described
from isthmus.backends.openstack.diff import diff
from isthmus.backends.openstack.facts import NeutronFacts, doors, unseen
from isthmus.backends.openstack.listing import Listing, fetch
from isthmus.backends.openstack.lost import Lost, Turns
from isthmus.backends.openstack.owned import Owned, Place, owned
from isthmus.backends.ovsdb.site import OvnSite
from isthmus.backends.refusal import FIRST_RETRY, LAST_RETRY, Refusals
from isthmus.compile.record import SIDES, parse
from isthmus.compile.vpc_neutron import PEERS
from isthmus.errors import IsthmusError, Problem, WorldError
from isthmus.model.facts import Switch, Vpc
from isthmus.model.intent import Site, VpcRef
from isthmus.model.rows import Record, Row, neutron

log = logging.getLogger(__name__)

PERIOD = 60.0
"""Seconds after which everything is listed although no row has changed."""

FIRST_LISTING = 15.0
"""Seconds that the first one may take, with a token to be had and modules to be loaded, before nobody waits for it."""

GATHER = 0.1
"""Seconds in which further changes of rows lead to the same listing."""

SPACING = 1.0
"""Seconds between two listings that rows ask for: somebody else's thousand ports are not a thousand listings."""

AT_ONCE = 4
"""Interconnects whose calls are under way at the same time."""

SHARE = 3.0
"""Between two listings that calls of ours end with, calls of others of ours may take so many times what one took."""


RULE, ROUTE = "security_group_rule", "extra_route"
ROW_REVISION = "neutron:revision_number"
"""In the external ids of a row: which version of the resource it shows."""
_UNTOLD = ("ports", "static_routes", "policies")
"""Columns that say nothing of what is listed."""


class OpenStackSite(OvnSite):
    """Gives `model.facts.SiteFacts` from the API; writes there what is of `neutron/SITE`, by itself and in its time."""

    def __init__(self, site: Site, owner: str, wake: Callable[[], None], *, writes: bool) -> None:
        self._dirty = asyncio.Event()
        super().__init__(site, owner, wake, writes=writes)
        self.api = Api(site.cloud)
        self._wake, self._owner_name = wake, owner
        self._listing: Listing | None = None
        self._neutron: NeutronFacts | None = None
        self._owned: Owned = {}
        self._owned_versions: dict[str, int] = {}
        self._generation = 0
        self._failure: Problem | None = None
        self._watching: asyncio.Task[None] | None = None
        self._calling: dict[str, asyncio.Task[None]] = {}
        """Interconnects whose calls are under way, or are to be seen in a listing."""
        self._sending: set[str] = set()
        """Of these, whose calls are under way."""
        self._compared: dict[str, tuple[int, dict[Place, str]]] = {}
        """Interconnect -> which version of its objects the last changes were made for, and ids of those that stay."""
        self._doubtful = False
        """Something was refused: what was listed before is not relied on."""
        self._left: set[str] = set()
        """Ids of strays that could not be removed."""
        self._closing = False
        self._refused = Refusals(self._fault)
        self._called: set[str] = set()
        self._turns, self._lost = Turns(), Lost(self.client.rows, self.index, wake)
        self._relist = asyncio.Lock()
        self._begun = self._took = 0.0
        """When the last listing began, and how long it took; seconds."""
        self._taken = False
        """The last listing was believed, or failed: it was not put aside."""
        self._under = -1
        """Which holding of the lock it was begun under."""
        self._patient_until = 0.0

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        super().start()
        self._patient_until = asyncio.get_running_loop().time() + FIRST_LISTING
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name=f"neutron {self.site.name}")

    async def stop(self) -> None:
        """Calls under way are awaited: a thread cannot be stopped; none further are begun."""
        self._closing = self.api.closed = True
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        await asyncio.gather(*self._calling.values(), return_exceptions=True)
        await super().stop()

    @property
    def trouble(self) -> Problem | None:
        problem = super().trouble
        if problem is not None or (self._listing is not None and self._failure is None):
            return problem
        found = self._failure or Problem("NotListed", f"cloud {self.site.cloud!r}: not listed yet")
        message, origin = f"site {self.site.name!r}: {found.message}", self.site.origin
        return Problem(found.code, message, origin.file, origin.document, "", found.remedy)

    @property
    def asking(self) -> bool:  # type: ignore[override]
        begun = asyncio.get_running_loop().time() < self._patient_until
        return self._listing is None and self._failure is None and begun and super().trouble is None

    # -- listing ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        delay, loop, heard = FIRST_RETRY, asyncio.get_running_loop(), False
        while True:
            # A listing is believed beside the rows of the same moment, or not at all.
            while super().trouble is not None:
                await asyncio.sleep(GATHER)
            if not heard:
                heard, self._patient_until = True, loop.time() + FIRST_LISTING
            await self._list(loop.time())
            if self._failure is not None:
                await asyncio.sleep(delay)
                delay = min(2 * delay, LAST_RETRY)
                continue
            delay = FIRST_RETRY
            with suppress(TimeoutError):
                async with asyncio.timeout(PERIOD):
                    await self._asked_for()

    async def _asked_for(self) -> None:
        """Return when rows have changed since the last listing, but not for our own calls: they end with a listing."""
        while True:
            await asyncio.sleep(SPACING)
            await self._dirty.wait()
            await asyncio.sleep(GATHER)
            if not self._calling:
                return
            await asyncio.wait(self._calling.values())

    async def _list(self, since: float) -> bool:
        """List everything, unless somebody has begun to do so after `since`. False where it was put aside."""
        now = asyncio.get_running_loop().time
        async with self._relist:
            if self._begun > since:
                return self._taken
            self._begun, self._taken = now(), True
            self._dirty.clear()
            under = self.client.locks if self.client.has_lock else -1
            try:
                listing = await self._whole()
                self._took = now() - self._begun
                if super().trouble is not None:
                    self._dirty.set()
                    self._taken = False
                    return False
                recovered = self._failure is not None or self._under != under
                self._failure, self._under = None, under
                if listing != self._listing:
                    self._take(listing)
                else:
                    self._listing = listing  # with newer revisions
                    if recovered:
                        self._wake()
            except IsthmusError as error:
                if self._failure != error.problems[0]:
                    log.warning("%s", error)
                self._fail(error.problems[0])
            except Exception as error:  # an answer that nobody foresaw: the site is out of reach, we are not
                log.exception("cloud %s", self.site.cloud)
                self._fail(self._fault(error))
            return True

    def _fail(self, problem: Problem) -> None:
        self._failure = problem
        self._dirty.set()
        self._wake()

    def _fault(self, error: Exception) -> Problem:
        return Problem("Fault", f"cloud {self.site.cloud!r}: {error!r}", remedy="please report it")

    async def _whole(self) -> Listing:
        """A listing that holds all that it must hold. Raises WorldError.

        The API leaves out, without a word, what our user may not see. What it then lacks must not be taken for removed.
        """
        before = doors(self._facts, self._routers())
        known, self._doubtful = (None if self._doubtful else self._listing), False
        listing = await asyncio.to_thread(fetch, self.api, self._owner_name, known)
        if super().trouble is None and unseen(listing, self._facts, before):
            # A router is gone from Neutron's own database a moment before it is gone from OVN's.
            await asyncio.sleep(SPACING)
            before = doors(self._facts, self._routers())
            listing = await asyncio.to_thread(fetch, self.api, self._owner_name, known)
        if super().trouble is None and (what := unseen(listing, self._facts, before)):
            text = f"cloud {self.site.cloud!r}: OVN has {what}, and the API does not show it to our user"
            remedy = "give our user the role that docs/openstack.md names; until then what stands is left as it is"
            raise WorldError(Problem("ApiPartial", text, remedy=remedy))
        return listing

    def _routers(self) -> set[str]:
        """Ids of the routers that our edges stand beside."""
        rows = (row for name in self.index.owned for _, row in self.owned_rows(name, "Logical_Router"))
        texts = {ids[SIDES] for row in rows if isinstance(ids := row["external_ids"], Mapping) and SIDES in ids}
        return {r.vpc for text in texts for r in parse(text).values() if r.site == self.site.name}

    def _take(self, listing: Listing) -> None:
        found = owned(listing, self._owner_name)
        # A rule of the tenant's own may stand in for ours.
        others = self._listing is not None and self._listing.tables[RULE] != listing.tables[RULE]
        for name in found.keys() | self._owned.keys():
            if others or found.get(name) != self._owned.get(name):
                self._owned_versions[name] = self._owned_versions.get(name, 0) + 1
        self._listing, self._owned = listing, found
        self._neutron = NeutronFacts(self.site.name, self._owner_name, listing, self.client.rows, self._facts)
        self._generation += 1
        self._wake()

    def _nb_changed(self, table: str, uuid: str, old: Record | None, new: Record | None) -> None:
        super()._nb_changed(table, uuid, old, new)
        if _tells(table, old, new) and not self.index.is_owned(new or old or {}):
            self._dirty.set()

    # -- what a pass asks -------------------------------------------------------------------------------------

    @property
    def version(self) -> object:
        return super().version, self._generation, self._refused.version, tuple(sorted(self._calling))

    def owned_version(self, interconnect: str) -> object:
        mine = self._owned.get(interconnect, {})
        used = [self._in_use(o["id"]) for (t, k), ones in mine.items() if t == "network" and is_subnet(k) for o in ones]
        routers = {o["router"] for (t, _), ones in mine.items() if t == ROUTE for o in ones}
        version = self._owned_versions.get(interconnect, 0)
        return super().owned_version(interconnect), version, tuple(used), self._lost.version(routers), len(self._left)

    def interconnects(self) -> set[str]:
        return super().interconnects() | self._owned.keys()

    def changes(self, interconnect: str, desired: Mapping[str, Sequence[Row]], owner: Owner) -> dict[str, list[Change]]:
        found = super().changes(interconnect, desired, owner)
        assert self._listing is not None, "a site that is not listed is out of reach"
        database = neutron(self.site.name)
        here = self._owned.get(interconnect, {})
        wanted = desired.get(database, ())
        calls, known = diff(wanted, here, self._listing, owner, self._in_use)
        calls = [change for change in calls if not (change.stray and change.uuid in self._left)]
        if not calls:
            there = (row for row in wanted if row.table == ROUTE and (ROUTE, row.key) in known)
            calls = self._lost.changes(there, busy=interconnect in self._calling)
        self._compared[interconnect] = self._owned_versions.get(interconnect, 0), known
        if calls:
            found[database] = calls
        return found

    def _in_use(self, network: str) -> bool:
        """A machine, or a second router of the tenant's, is on it."""
        assert self._listing is not None
        several = len(self._listing.network_routers.get(network, ())) > 1
        return several or self._facts.in_use(f"neutron-{network}")

    def switch_of(self, network: str) -> str | None:
        for (table, key), ones in self._owned.get(network.partition("/")[0], {}).items():
            if (table, key) == ("network", network):
                row = self._facts.switch(f"neutron-{ones[0]['id']}")
                return str(row["_uuid"]) if row else None
        return None

    # -- SiteFacts --------------------------------------------------------------------------------------------

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        return self._neutron.vpcs(ref) if self._neutron else ()

    def has_project(self, word: str) -> bool | None:
        return self._neutron.has_project(word) if self._neutron else None

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        return self._neutron.switches(name, vpc) if self._neutron else ()

    @property
    def admits(self) -> bool:
        return self._listing is not None and self._listing.admits

    def security_groups(self, name: str, vpc: Vpc) -> tuple[str, ...]:
        return self._neutron.security_groups(name, vpc) if self._neutron else ()

    # -- what verify and explain ask -------------------------------------------------------------------------

    def admission(self, interconnect: str, attachment: str) -> tuple[frozenset[str], tuple[str, str]]:
        """Ids of the security group rules that we keep for an Attachment; name and id of its address group, or ""."""
        (_, here), prefix = self._compared.get(interconnect, (0, {})), f"{interconnect}/{attachment}/"
        rules = {i for (table, key), i in here.items() if table == RULE and key.startswith(prefix)}
        group = here.get(("address_group", prefix + PEERS))
        if group is None or self._listing is None:
            return frozenset(rules), ("", "")
        return frozenset(rules), (str(self._listing.tables["address_group"][group]["name"]), group)

    def described(self) -> tuple[Described, ...]:
        """Our objects in Neutron."""
        return described(self._owned)

    def group_names(self) -> dict[str, str]:
        """Security group's id -> its name."""
        tables = self._listing.tables if self._listing else {}
        return {i: str(g["name"]) for i, g in tables.get("security_group", {}).items()}

    # -- writing ----------------------------------------------------------------------------------------------

    @property
    def outside(self) -> str:  # type: ignore[override]
        return neutron(self.site.name)

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(self.api.recent)

    @property
    def accepted(self) -> int:
        return self.api.accepted

    def call(self, interconnect: str, changes: Sequence[Change]) -> bool:
        """Begin the calls of one Interconnect, unless some of it are under way, or were refused just now.

        Nor is anything begun that was computed before the last calls were done, or where enough others are under way:
        a later pass knows better. Returns whether they were begun. When they are done, or refused, everything is listed
        anew and the loop woken.
        """
        version, known = self._compared.get(interconnect, (0, {}))
        changes = [change for change in changes if not change.deferred]
        if not changes:
            return False
        if interconnect in self._calling or self._refused.bars(interconnect, changes):
            return False
        if version != self._owned_versions.get(interconnect, 0) or len(self._sending) >= AT_ONCE:
            return False
        if self._under != self.client.locks:
            # Whoever had the lock before us may have made what we still miss.
            self._dirty.set()
            return False
        self._lost.begun(changes)
        work = self._calls(interconnect, changes, known, self.client.locks)
        self._sending.add(interconnect)
        self._calling[interconnect] = asyncio.create_task(work, name=f"neutron {interconnect}")
        return True

    def refusal(self, interconnect: str) -> Problem | None:
        """Why the last calls of an Interconnect were not all accepted, or None."""
        return self._refused.of(interconnect)

    def called(self, interconnect: str) -> bool:
        return interconnect in self._called

    async def _calls(self, interconnect: str, changes: list[Change], known: Mapping[Place, str], under: int) -> None:
        try:
            with self._refused.noted(interconnect, changes):
                await asyncio.to_thread(self._run, changes, known, under)
        finally:
            self._doubtful = self._doubtful or self._refused.of(interconnect) is not None
            self._sending.discard(interconnect)
            self._wake()
            try:
                await self._see()
            finally:
                self._called.add(interconnect)
                del self._calling[interconnect]
                self._wake()

    async def _see(self) -> None:
        """List what calls have made, with what others of ours make meanwhile.

        A listing takes the longer the more there is: of many Interconnects each its own would be most of the work.
        """
        now = asyncio.get_running_loop().time
        since = now()
        while self._sending and self._begun <= since and now() < self._begun + (1 + SHARE) * self._took:
            await asyncio.sleep(GATHER)
        while not self._closing:
            # A listing is believed beside the rows of the same moment, or not at all.
            if super().trouble is None and await self._list(since):
                return
            await asyncio.sleep(GATHER)
            since = now()

    def _run(self, changes: list[Change], known: Mapping[Place, str], under: int) -> None:
        assert self._listing is not None
        calls = Calls(self.api, self._listing, known, partial(self._may, under), self._turns)
        try:
            calls.run(changes)
        finally:
            self._left |= calls.left

    def _may(self, under: int) -> bool:
        """We still hold the lock under which the changes were computed, and have held it all the time."""
        return self.client.has_lock and self.client.locks == under and not self._closing


def _tells(table: str, old: Record | None, new: Record | None) -> bool:
    """A change that may be one of routers or networks in Neutron. Ports of machines come and go without."""
    if table not in ("Logical_Router", "Logical_Router_Port", "Logical_Switch"):
        return False
    if old is None or new is None:
        return True
    return any(_said(table, old, c) != _said(table, new, c) for c in new if c not in _UNTOLD)


def _said(table: str, row: Record, column: str) -> object:
    """A column, but for the revision of a network or a router's port: Neutron corrects it for each, minutes later.

    A router's tells of routes, which are not looked at otherwise.
    """
    value = row[column]
    if table != "Logical_Router" and isinstance(value, Mapping):
        return {k: v for k, v in value.items() if k != ROW_REVISION}
    return value
