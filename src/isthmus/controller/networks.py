"""The networks of a cluster, kept as its objects say: read, judge, give addresses, compile, compare, write, tell.

Events only say what to look at again; what is found then decides. A Pod's port waits for nothing but OVN: statuses
are written beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address, ip_interface
from typing import Any

from isthmus.backends.changes import Change, Owner
from isthmus.backends.kubernetes import read
from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.cluster import Changes, Cluster
from isthmus.backends.ovsdb.facts import KUBE_OVN
from isthmus.backends.ovsdb.networks import NetworkStore
from isthmus.compile import networks as rows
from isthmus.compile.estate import Estate, Held, key
from isthmus.compile.pool import Pool
from isthmus.controller.follow import Follower, NotOurs
from isthmus.controller.tell import Teller, condition, ready
from isthmus.controller.world import wait_for
from isthmus.errors import Conflict, IsthmusError, Problem, Unreachable, WorldError
from isthmus.model.intent import Site
from isthmus.model.networks import DEFAULT_SUBNET, DEFAULT_VPC, NODES_SUBNET, Pod, Subnet, of_node

log = logging.getLogger(__name__)

BATCH = 500
"""Changes in one transaction."""
PAUSE, LONGEST = 0.5, 10.0
"""Seconds after a pass that failed, doubling."""
IDLE = 60.0
"""Seconds without a change after which a pass is made all the same."""
SYSTEM = "kube-system"
"""The namespace whose uid stands for the cluster: another one's rows are not ours, whatever the Site is called."""
DEFAULT_CIDR, NODES_CIDR = "10.16.0.0/16", "100.64.0.0/16"
"""Kube-OVN's, for a cluster that has no default Subnet, and none for its nodes, yet."""


class Networks:
    """One site's; works from `start` to `stop`.

    active        it has the lock and everything that it needs
    transactions  that the database accepted
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.active = False
        self.transactions = 0
        self.woken = asyncio.Event()
        self.store = NetworkStore(site, self.woken.set)
        self.cluster = Cluster(site.kubeconfig, site.context, self.woken.set)
        self.estate = Estate(site.name, self.store.owner)
        self._teller = Teller(self.cluster)
        self._follower = Follower(self.cluster, self.store.owner, self._given)
        self._task: asyncio.Task[None] | None = None
        self._epoch = 0
        """Which of our holds of the lock everything was read under; between two somebody else may have written."""
        self._refused: dict[str, Problem] = {}
        """Group -> why the database refused its rows."""
        self._ambiguous: dict[str, Problem] = {}
        """Subnet -> why a node cannot tell one of its Pods from another, as it was told last."""

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.store.start()
        self.cluster.start()
        self._teller.start()
        self._follower.start()
        self._task = asyncio.create_task(self._run(), name=f"networks of {self.site.name}")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(self._teller.stop(), self._follower.stop())
        await asyncio.gather(self.store.stop(), self.cluster.stop())

    async def _run(self) -> None:
        pause = PAUSE
        while True:
            self.woken.clear()
            try:
                wrote = await self.step()
            except Exception as error:  # the loop outlives whatever one pass met
                if isinstance(error, IsthmusError):
                    log.warning("%s", error)
                else:
                    log.exception("a pass failed")
                    # Nobody knows how far it came: everything is looked at again.
                    self._epoch = 0
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST)
                continue
            pause = PAUSE
            if not wrote and not await wait_for(self.woken, IDLE):
                self.store.touch(self._refused)

    @property
    def trouble(self) -> Problem | None:
        """Why nothing can be done now, or None."""
        if self.store.trouble:
            return self.store.trouble
        if not self.cluster.listed:
            return self.cluster.trouble or Problem("NotListed", f"site {self.site.name!r}: objects not listed yet")
        if strangers := sorted(self.store.index.installations.keys() - {self._owner.installation}):
            said = f"site {self.site.name!r}: networks of another cluster ({', '.join(strangers)}) are in its database"
            return Problem("OtherInstallation", said, remedy="name the right database, or remove those rows")
        if any(
            row["external_ids"].get("vendor") == KUBE_OVN for row in self.store.client.rows["Logical_Router"].values()
        ):
            said = f"site {self.site.name!r}: Kube-OVN keeps the networks of this cluster"
            remedy = f"write networkPlugin: {KUBE_OVN} in spec.kubernetes of the Site, or remove Kube-OVN and its rows"
            return Problem("KeptByKubeOvn", said, remedy=remedy)
        return None

    async def step(self) -> bool:
        """One pass; True when something was written."""
        self.active = False
        if self.trouble is not None:
            return False
        self.store.client.ask_for_lock()
        if not self.store.client.has_lock:
            return False
        self.active = True
        changes, touched = self.cluster.take(), self.store.take()
        if self._epoch == self.store.client.locks:
            groups = touched | self._absorb(changes)
        else:
            groups = touched | await self._begin()
        if self.estate.crowded:
            groups |= self.estate.judge()
        wrote = await self._write(sorted(groups))
        if wrote:
            self._follower.give_way()
        self._follow(groups, changes)
        ambiguous = self.estate.ambiguous()
        groups |= self._mixed_up(ambiguous)
        groups |= {rows.of_vpc(n) for n in changes.vpcs} | {rows.of_subnet(n) for n in changes.subnets}
        self._tell(groups, ambiguous)
        return wrote

    @property
    def _owner(self) -> Owner:
        system = self.cluster.namespaces.objects.get(SYSTEM)
        return Owner(self.store.owner, system.metadata.uid if system else "")

    # -- what there is ------------------------------------------------------------------------------------------

    async def _begin(self) -> set[str]:
        """What every cluster has, what was given before, and everything there is.

        Who runs has the addresses that it shows; then rows count, then `IP` objects and what this process gave before
        it lost the lock or the database: that may have been restored from a time before.
        """
        await self._defaults()
        epoch, before = self.store.client.locks, list(self.estate.holdings())
        names = (*self.cluster.pods.objects, *(f"/{node}" for node in self.cluster.nodes.objects))
        pods = {name: pod for name in names if (pod := self._pod(name))}
        self.estate = Estate(self.site.name, self.store.owner)
        vpcs, standing, held = self._standing()
        self.estate.stand(vpcs, standing, [each for each in held if _lives(each.pod, pods)])
        self._surroundings()
        self._networks()
        self._api()
        noted = {key(each.pod): each for each in self._noted() if _lives(each.pod, pods)}
        for name, pod in sorted(pods.items(), key=lambda item: not item[1].told):
            note = noted.get(name)
            self.estate.insist(pod, note if note and note.pod.uid == pod.uid else None)
        self.estate.remember(each for each in (*before, *noted.values()) if _lives(each.pod, pods))
        for name in {*pods, *(name for name, _ in self.estate.pods())}:
            self.estate.set_pod(name, pods.get(name))
        self._epoch = epoch
        known = self.estate.known
        return {
            *self.store.index.owned,
            *map(rows.of_vpc, known.vpcs),
            *map(rows.of_subnet, known.subnets),
            *(rows.of_pod(pod.namespace, pod.name) for pod in pods.values()),
        }

    async def _defaults(self) -> None:
        """Make what a new cluster lacks; it is watched before it is used."""
        vpc = res.Vpc(res.Metadata(name=DEFAULT_VPC), res.API_VERSION, "Vpc")
        spec = res.SubnetSpec(cidr_block=DEFAULT_CIDR, vpc=DEFAULT_VPC, default=True, nat_outgoing=True)
        subnet = res.Subnet(res.Metadata(name=DEFAULT_SUBNET), res.API_VERSION, "Subnet", spec)
        nodes = res.SubnetSpec(cidr_block=NODES_CIDR, vpc=DEFAULT_VPC)
        join = res.Subnet(res.Metadata(name=NODES_SUBNET), res.API_VERSION, "Subnet", nodes)
        missing: list[res.Vpc | res.Subnet] = []
        missing += [vpc] if DEFAULT_VPC not in self.cluster.vpcs.objects else []
        missing += [each for each in (subnet, join) if each.metadata.name not in self.cluster.subnets.objects]
        for made in missing:
            if problem := await self.cluster.create(made):
                raise WorldError(problem)

    def _standing(self) -> tuple[list[str], list[Subnet], list[Held]]:
        """VPCs, Subnets and Pods' ports as rows have them."""
        vpcs, subnets, held = [], [], []
        for group in self.store.index.owned:
            kind, _, name = group.partition(".")
            if kind == "vpc":
                vpcs.append(name)
            elif kind == "subnet":
                subnets += [_stood(name, record) for _, record in self.store.owned_rows(group, "Logical_Router_Port")]
            else:
                ports = [_held(name, record) for _, record in self.store.owned_rows(group, "Logical_Switch_Port")]
                held += [each for each in ports if each is not None]
        return vpcs, subnets, held

    def _noted(self) -> Iterator[Held]:
        """What was given to Pods as `IP` objects have it."""
        found = (read.held(each, self.store.owner) for each in self.cluster.ips.objects.values())
        return (each for each in found if each is not None)

    def _surroundings(self) -> None:
        self.estate.set_namespaces({n: read.namespace(o) for n, o in self.cluster.namespaces.objects.items()})
        self.estate.set_slots({n: read.slots(o) for n, o in self.cluster.statefulsets.objects.items()})

    def _pod(self, name: str) -> Pod | None:
        """A Pod, or of /NAME a node; None where it needs no port."""
        namespace, _, node = name.partition("/")
        if not namespace:
            there = self.cluster.nodes.objects.get(node)
            return of_node(node, there.metadata.uid) if there else None
        found = self.cluster.pods.objects.get(name)
        return read.pod(found) if found else None

    def _api(self) -> set[str]:
        return self.estate.set_api(
            read.api(self.cluster.services.objects.values(), self.cluster.slices.objects.values())
        )

    def _networks(self) -> set[str]:
        return self.estate.set_networks(
            {name: read.vpc(found) for name, found in self.cluster.vpcs.objects.items()},
            {name: read.subnet(found) for name, found in self.cluster.subnets.objects.items()},
        )

    def _absorb(self, changes: Changes) -> set[str]:
        """Read again what has changed; the groups to compile anew."""
        groups: set[str] = set()
        again = {*changes.pods, *(f"/{node}" for node in changes.nodes)}
        if changes.namespaces or changes.statefulsets:
            self._surroundings()
            again |= {name for name in self.estate.problems if name.partition("/")[0] in changes.namespaces}
            again |= {n for n, pod in self.estate.pods() if f"{pod.namespace}/{pod.slot}" in changes.statefulsets}
        if changes.api:
            groups |= self._api()
        if changes.vpcs or changes.subnets:
            groups |= self._networks()
            again |= self.estate.problems.keys()
            for group in groups:
                kind, _, name = group.partition(".")
                again |= set(self.estate.inside(name)) if kind == "subnet" else set()
        given_back = False
        for name in again:
            before, after = self._move(name, groups)
            given_back |= bool(before) and before != after
        if given_back:
            # Somebody may have waited for just that.
            for name in list(self.estate.problems):
                self._move(name, groups)
        return groups

    def _move(self, name: str, groups: set[str]) -> tuple[str, str]:
        """Look at a Pod; adds what to compile. The Subnets that it had, and has, addresses of."""
        before = self.estate.subnet_of(name)
        self.estate.set_pod(name, self._pod(name))
        after = self.estate.subnet_of(name)
        groups.add(rows.of_pod(*name.split("/")))
        groups |= {rows.of_subnet(subnet) for subnet in (before, after) if subnet}
        return before, after

    # -- what is written ----------------------------------------------------------------------------------------

    async def _write(self, groups: Iterable[str]) -> bool:
        """Bring the rows of groups up to date: routers and switches first, Pods' ports after them."""
        first: list[Change] = []
        ports: list[Change] = []
        for group in groups:
            changes = self.store.diff(group, self.estate.rows(group), self._owner)
            (ports if group.startswith("pod.") else first).extend(changes)
        batches = ([first] if first else []) + [ports[i : i + BATCH] for i in range(0, len(ports), BATCH)]
        for number, batch in enumerate(batches):
            try:
                await self._send(batch)
            except WorldError as error:
                # What was not written is compared again by the next pass.
                self.store.touch(c.key.partition("/")[0] for later in batches[number:] for c in later)
                if not isinstance(error, Conflict):
                    raise
                log.info("%s; reading again", error)
                return True
        return bool(batches)

    async def _send(self, changes: list[Change]) -> None:
        """A refused batch is sent again one group at a time: a bad one blocks no other (ADR 0001)."""
        groups: dict[str, list[Change]] = {}
        for change in changes:
            groups.setdefault(change.key.partition("/")[0], []).append(change)
        try:
            await self.store.write(changes, "isthmus networks")
        except (Conflict, Unreachable):
            raise
        except WorldError as error:
            if len(groups) == 1:
                (group,) = groups
                self._refused[group] = error.problems[0]
                log.warning("%s: %s", group, error)
                return
            for each in groups.values():
                await self._send(each)
        else:
            self.transactions += 1
            for group in groups:
                self._refused.pop(group, None)

    # -- what is told -------------------------------------------------------------------------------------------

    def _tell(self, groups: Iterable[str], ambiguous: Mapping[str, Problem]) -> None:
        for group in groups:
            kind, _, name = group.partition(".")
            if kind == "vpc":
                self._teller.say(res.Vpc, name, partial(self._vpc_status, name))
            elif kind == "subnet":
                self._teller.say(res.Subnet, name, partial(self._subnet_status, name))
        self._teller.problems(dict(self._troubled(ambiguous)))

    def _follow(self, groups: Iterable[str], changes: Changes) -> None:
        """Have `IP` objects and annotations looked at: of Pods whose ports were, and of what somebody changed."""
        pods = {g.partition(".")[2].replace(".", "/", 1) for g in groups if g.startswith("pod.")}
        self._follower.say(pods | {key for name in changes.ips for key in _whose(name)})

    def _given(self, name: str) -> tuple[Held, Subnet] | None:
        """What a Pod has whose port stands, and its Subnet. Raises NotOurs while somebody else may know better."""
        if not self.store.client.has_lock or self._epoch != self.store.client.locks:
            raise NotOurs
        held = self.estate.holding(name)
        if held is None or rows.of_pod(held.pod.namespace, held.pod.name) in self._refused:
            return None
        return held, self.estate.known.subnets[held.subnet]

    def _mixed_up(self, ambiguous: Mapping[str, Problem]) -> set[str]:
        """Groups of Subnets whose Pods can be told from others by now, or no longer."""
        before = self._ambiguous
        self._ambiguous = {self.estate.subnet_of(name): p for name, p in ambiguous.items()}
        return {rows.of_subnet(name) for name, _ in before.items() ^ self._ambiguous.items()}

    def _troubled(self, ambiguous: Mapping[str, Problem]) -> Iterator[tuple[res.Involved, Problem]]:
        """What an Event is about -> what is wrong with it."""
        refused = {
            g.partition(".")[2].replace(".", "/", 1): p for g, p in self._refused.items() if g.startswith("pod.")
        }
        for name, problem in {**refused, **ambiguous, **self.estate.problems}.items():
            if found := self.cluster.pods.objects.get(name) or self.cluster.nodes.objects.get(name.lstrip("/")):
                meta = found.metadata
                yield res.Involved(type(found).__name__, meta.name, meta.namespace, meta.uid, "v1"), problem
        for group, problem in self.estate.wrong.items():
            kind, _, name = group.partition(".")
            reflector = self.cluster.vpcs if kind == "vpc" else self.cluster.subnets
            if found_network := reflector.objects.get(name):
                meta = found_network.metadata
                yield res.Involved(reflector.resource.__name__, name, "", meta.uid, res.API_VERSION), problem

    def _vpc_status(self, name: str) -> Mapping[str, Any] | None:
        found = self.cluster.vpcs.objects.get(name)
        if found is None:
            return None
        problem = self.estate.wrong.get(rows.of_vpc(name))
        subnets = sorted(s.name for s in self.estate.known.subnets.values() if s.vpc == name)
        status = {
            "standby": problem is None,
            "default": name == DEFAULT_VPC,
            "defaultLogicalSwitch": DEFAULT_SUBNET if name == DEFAULT_VPC else "",
            "router": name if name in self.estate.known.vpcs else "",
            "subnets": subnets,
            "conditions": ready(found.metadata, found.status, problem),
        }
        return _new(found.status, status)

    def _subnet_status(self, name: str) -> Mapping[str, Any] | None:
        found = self.cluster.subnets.objects.get(name)
        if found is None:
            return None
        pool = self.estate.pool(name)
        conditions = ready(found.metadata, found.status, self.estate.wrong.get(rows.of_subnet(name)))
        if pool is not None:
            there = {"conditions": conditions}
            there = {"conditions": condition("AddressesAvailable", "Free", found.metadata, there, _full(name, pool))}
            mixed_up = self._ambiguous.get(name)
            conditions = condition("AddressesUnambiguous", "Distinct", found.metadata, there, mixed_up)
        status: dict[str, Any] = {"conditions": sorted(conditions, key=lambda c: str(c["type"]))}
        for version in (4, 6):
            status[f"v{version}usingIPs"] = pool.used(version) if pool is not None else 0
            status[f"v{version}availableIPs"] = pool.free(version) if pool is not None else 0
        return _new(found.status, status)


def _new(before: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What to write, or None where it is there."""
    return None if all(before.get(field) == value for field, value in status.items()) else status


def _whose(ip: str) -> Iterator[str]:
    """Keys of whom an `IP` may be called after: a Pod, as a namespace's name holds no dot, or a node."""
    pod, dot, namespace = ip.rpartition(".")
    if dot:
        yield f"{namespace}/{pod}"
    if ip.startswith("node-"):
        yield f"/{ip.removeprefix('node-')}"


def _lives(pod: Pod, pods: Mapping[str, Pod]) -> bool:
    """It is there still, or was a member of a StatefulSet, which another one may come after."""
    return bool(pod.slot) or (key(pod) in pods and pods[key(pod)].uid == pod.uid)


def _full(name: str, pool: Pool) -> Problem | None:
    """Nobody else can have an address of it."""
    gone = [f"IPv{version}" for version in pool.versions if not pool.free(version)]
    if not gone:
        return None
    said = f"every {' and every '.join(gone)} address of Subnet {name!r} is taken"
    return Problem("Exhausted", said, remedy="make Pods fewer, or the Subnet's excludeIps")


def _stood(name: str, record: Mapping[str, Any]) -> Subnet:
    """A Subnet as the port of its VPC's router has it."""
    gateways = sorted(map(ip_interface, record["networks"]), key=lambda g: g.version)
    return Subnet(name, str(record["name"]).partition("/")[0], tuple(gateways))


def _held(who: str, record: Mapping[str, Any]) -> Held | None:
    """The port of NAMESPACE.POD as its row has it; None where somebody made it something else: it is written anew."""
    ids, words = record["external_ids"], next(iter(record["addresses"]), "").split()
    namespace, _, name = who.partition(".")
    pod = Pod(namespace, name, ids.get(rows.UID, ""), ids.get(rows.NODE, ""), slot=ids.get(rows.SLOT, ""))
    try:
        return Held(pod, ids.get(rows.SUBNET, ""), tuple(map(ip_address, words[1:])), words[0] if words else "")
    except ValueError:
        return None
