"""Everything that a cluster's networks hold, by what its objects say: facts in, rows out. Pure; it remembers.

A Pod keeps what it was given as long as it is the same Pod, whatever is bound or excluded meanwhile; a member of a
StatefulSet keeps it for whoever comes after it under its name. A Subnet with Pods inside stays as it is. Nodes are
like Pods in most of this: one without a namespace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from isthmus.compile import networks as rows
from isthmus.compile import nodes
from isthmus.compile.bindings import Networks, choose, networks
from isthmus.compile.networks import Lease
from isthmus.compile.overlap import overlaps
from isthmus.compile.pool import Pool
from isthmus.errors import Problem
from isthmus.model.intent import Address, Prefix
from isthmus.model.networks import DEFAULT_VPC, NODES_SUBNET, Api, Namespace, Pod, Subnet, Vpc
from isthmus.model.rows import Row


@dataclass(frozen=True, slots=True)
class Held:
    """A Pod's port as it stands, or should: the Pod, and what it was given."""

    pod: Pod
    subnet: str
    addresses: tuple[Address, ...]
    mac: str


def key(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.name}"


class Estate:
    """Of one cluster. Groups are those of `compile.networks`.

    problems  why a Pod (by NAMESPACE/NAME) or a node (by /NAME) has no port
    wrong     why a Vpc or a Subnet (by `vpc.NAME`, `subnet.NAME`) is not as its object says
    """

    def __init__(self, site: str, owner: str) -> None:
        self._site, self._owner = site, owner
        self.problems: dict[str, Problem] = {}
        self.wrong: dict[str, Problem] = {}
        self._misread: Mapping[str, Problem] = {}
        self._vpcs: Mapping[str, Vpc] = {}
        self._subnets: Mapping[str, Subnet] = {}
        self._namespaces: Mapping[str, Namespace] = {}
        self._slots: Mapping[str, range] = {}
        self._api = Api()
        self._known = Networks({}, {}, {})
        self._open = Networks({}, {}, {})
        """Of these, what takes in Pods: not a Subnet that is deleted and waits for the last of its Pods to go."""
        self._pools: dict[str, Pool] = {}
        self._held: dict[str, tuple[Pod, str]] = {}
        """Key of a Pod -> the Pod, and the Subnet that it has its addresses of."""
        self._nodes: dict[str, dict[Address, set[str]]] = defaultdict(lambda: defaultdict(set))
        """Node -> address -> keys of Pods that have it there."""
        self._shared: set[tuple[str, Address]] = set()
        """Node and address that more than one Pod has there; they are of different VPCs."""
        self._veiled: dict[str, list[Prefix]] = {}
        """Subnet of another VPC -> networks of the default VPC, which every node reaches, that it overlaps."""
        self._hidden: dict[str, Problem] = {}
        """Key of a Pod there that has such an address -> what is wrong with it."""

    def stand(self, vpcs: Iterable[str], subnets: Iterable[Subnet], held: Iterable[Held]) -> None:
        """What rows say, before anything is set: as if it had been wanted until now."""
        self._known = Networks({n: Vpc(n) for n in vpcs}, {s.name: s for s in subnets}, {})
        self._pools = {name: Pool(subnet) for name, subnet in self._known.subnets.items()}
        for each in held:
            pool = self._pools.get(each.subnet)
            if pool is not None and pool.hold(key(each.pod), each.addresses, each.mac):
                self._move_in(each.pod, pool)

    # -- networks -------------------------------------------------------------------------------------------------

    def set_networks(self, vpcs: Mapping[str, Vpc | Problem], subnets: Mapping[str, Subnet | Problem]) -> set[str]:
        """All of them as they are written now. Returns the groups whose rows may have changed."""
        self._misread = {rows.of_vpc(n): v for n, v in vpcs.items() if isinstance(v, Problem)}
        self._misread |= {rows.of_subnet(n): s for n, s in subnets.items() if isinstance(s, Problem)}
        self._vpcs = {n: v for n, v in vpcs.items() if isinstance(v, Vpc)}
        self._subnets = {n: s for n, s in subnets.items() if isinstance(s, Subnet)}
        return self.judge()

    def judge(self) -> set[str]:
        """The same once more, as Pods are now."""
        before, self.wrong = self._known, dict(self._misread)
        lived = {name: before.subnets[name] for name, pool in self._pools.items() if len(pool)}
        wanted = dict(self._subnets)
        for name, old in lived.items():
            new = wanted.get(name)
            if new is None:
                wanted[name] = old
            elif (new.vpc, new.gateways) != (old.vpc, old.gateways):
                wanted[name] = old
                said = f"{len(self._pools[name])} Pods have addresses of {', '.join(map(str, old.prefixes))}"
                self.wrong[rows.of_subnet(name)] = Problem("InUse", said, remedy="delete them, or change it back")
        kept = {s.vpc: before.vpcs[s.vpc] for s in lived.values() if s.vpc not in self._vpcs}
        self._known = networks({**self._vpcs, **kept}, wanted, before.subnets)
        there = {name: subnet for name, subnet in self._known.subnets.items() if name in self._subnets}
        self._open = replace(self._known, subnets=there)
        self.wrong |= {rows.of_subnet(name): problem for name, problem in self._known.problems.items()}
        veiled = dict(_veiled(self._known.subnets.values()))
        for name in self._pools.keys() - self._known.subnets.keys():
            del self._pools[name]
        for name, subnet in self._known.subnets.items():
            if before.subnets.get(name) != subnet or name not in self._pools:
                self._pools[name] = self._filled(subnet)
        if veiled != self._veiled:
            self._veiled, self._hidden = veiled, {}
            for name, (_, where) in self._held.items():
                self._hide(name, where)
        differing = _differing(before.subnets, self._known.subnets)
        changed = {rows.of_vpc(n) for n in _differing(before.vpcs, self._known.vpcs)}
        changed |= {rows.of_subnet(n) for n in differing}
        if any(
            s.vpc == DEFAULT_VPC for known in (before, self._known) for n, s in known.subnets.items() if n in differing
        ):
            changed |= {rows.of_pod(*name.split("/")) for name in self.inside(NODES_SUBNET)}
        return changed

    def _filled(self, subnet: Subnet) -> Pool:
        pool, old = Pool(subnet), self._pools.get(subnet.name)
        for holder, (_, where) in self._held.items():
            if where == subnet.name and old is not None and (lease := old.lease(holder)):
                pool.hold(holder, tuple(a.ip for a in lease.addresses), lease.mac)
        return pool

    @property
    def crowded(self) -> bool:
        """Something waits for the last Pod of a Subnet, and it has gone."""
        return any(
            not len(pool) and (name not in self._subnets or self._subnets[name] != self._known.subnets[name])
            for name, pool in self._pools.items()
        )

    def set_namespaces(self, namespaces: Mapping[str, Namespace]) -> None:
        self._namespaces = namespaces

    def set_api(self, api: Api) -> set[str]:
        """Where the API server is. Returns the groups whose rows may have changed."""
        if api == self._api:
            return set()
        self._api = api
        return set(map(rows.of_vpc, self._known.vpcs))

    def set_slots(self, slots: Mapping[str, range]) -> None:
        """NAMESPACE/NAME of every StatefulSet -> ordinals of its members."""
        self._slots = slots

    @property
    def known(self) -> Networks:
        """What is honoured."""
        return self._known

    def pool(self, subnet: str) -> Pool | None:
        return self._pools.get(subnet)

    # -- Pods -----------------------------------------------------------------------------------------------------

    def insist(self, pod: Pod, noted: Held | None = None) -> None:
        """Let a Pod that lives have the addresses that it is known to have, whatever a restored database says of them.

        noted   what was written down of this very Pod; counts where it shows no addresses, nor a row is known
        """
        name = key(pod)
        had = self._held.get(name)
        shown = pod.told or (noted.addresses if noted and not (had and had[0].uid == pod.uid) else ())
        if noted is not None and set(noted.addresses) != set(shown):
            noted = None
        chosen = noted.subnet if noted else had[1] if had else self._choice(pod)
        pool = self._pools.get(chosen) if isinstance(chosen, str) else None
        if pool is None or not shown:
            return
        lease = pool.lease(name)
        if lease is not None and {a.ip for a in lease.addresses} == set(shown):
            self._move_in(pod, pool)
            return
        for other in {pool.holder(address) for address in shown} - {"", name}:
            # Of what was written down nobody can be sure: only a member of a StatefulSet, which may be gone, yields.
            if not self._runs_with(other) and (pod.told or self._held[other][0].slot):
                self._move_out(other)
        mac = noted.mac if noted else lease.mac if lease else pod.mac or pool.new_mac(name)
        if had is not None and had[1] != chosen:
            self._move_out(name)
        if pool.hold(name, shown, mac):
            self._move_in(pod, pool)

    def remember(self, held: Iterable[Held]) -> None:
        """Let Pods that have nothing keep what somebody still knows of them, where nobody else has it."""
        for each in held:
            name, pool = key(each.pod), self._pools.get(each.subnet)
            if pool is not None and name not in self._held and pool.hold(name, each.addresses, each.mac):
                self._move_in(each.pod, pool)

    def holdings(self) -> Iterator[Held]:
        """What every Pod has."""
        return (held for name in self._held if (held := self.holding(name)))

    def holding(self, name: str) -> Held | None:
        """What a Pod has, by its key."""
        pod, subnet = self._held.get(name, (None, ""))
        lease = self._pools[subnet].lease(name) if pod else None
        return Held(pod, subnet, tuple(a.ip for a in lease.addresses), lease.mac) if pod and lease else None

    def _runs_with(self, name: str) -> bool:
        """It shows the very addresses that it was given."""
        pod, subnet = self._held[name]
        lease = self._pools[subnet].lease(name)
        return lease is not None and {a.ip for a in lease.addresses} == set(pod.told)

    def set_pod(self, name: str, pod: Pod | None) -> None:
        """What a Pod is now; None where it needs no port any more."""
        had = self._held.get(name)
        if pod is None:
            self.problems.pop(name, None)
            if had is not None and not self._awaited(had[0]):
                self._move_out(name)
            return
        if had is not None and had[0].uid == pod.uid:
            self._held[name] = pod, had[1]
            return
        lease = self._given(name, pod, had[1] if had else "")
        if isinstance(lease, Problem):
            self.problems[name] = lease
            self._move_out(name)
            return
        self.problems.pop(name, None)
        self._move_in(pod, self._pools[lease.subnet])

    def ambiguous(self) -> dict[str, Problem]:
        """Key of every Pod that its node cannot tell from one of another VPC, or of an address that it may have.

        The other one is not named: whose it is is nobody else's business.
        """
        found = dict(self._hidden)
        for node, address in sorted(self._shared, key=str):
            said = f"a Pod of another Vpc has {address} on node {node!r} too: kubelet's probes reach neither"
            problem = Problem("AddressAmbiguous", said, remedy="name another address, or another node")
            found |= dict.fromkeys(self._nodes[node][address], problem)
        return found

    def _hide(self, name: str, subnet: str) -> None:
        """Note a Pod with an address that nodes look for in the default VPC."""
        lease = self._pools[subnet].lease(name) if subnet in self._veiled else None
        for address in (a.ip for a in lease.addresses) if lease else ():
            if any(address in prefix for prefix in self._veiled[subnet]):
                said = f"nodes reach {address} in the default Vpc: kubelet's probes do not reach this Pod"
                remedy = "have a network that no Subnet there has"
                self._hidden[name] = Problem("AddressAmbiguous", said, remedy=remedy)

    def pods(self) -> Iterator[tuple[str, Pod]]:
        """Whoever has addresses, with its key."""
        for name, (pod, _) in self._held.items():
            yield name, pod

    def subnet_of(self, name: str) -> str:
        """The Subnet that a Pod has its addresses of, or ""."""
        return self._held[name][1] if name in self._held else ""

    def inside(self, subnet: str) -> Iterator[str]:
        """Keys of Pods that have addresses of a Subnet."""
        return (name for name, (_, where) in self._held.items() if where == subnet)

    def _given(self, name: str, pod: Pod, had: str) -> Lease | Problem:
        chosen = self._choice(pod)
        if isinstance(chosen, Problem):
            return chosen
        if had not in ("", chosen):
            self._move_out(name)
        return self._pools[chosen].give(name, pod.addresses, pod.mac, partial(self._strangers, pod.node, chosen))

    def _choice(self, pod: Pod) -> str | Problem:
        if not pod.namespace:
            missing = Problem("NoSubnet", f"there is no Subnet {NODES_SUBNET!r} for nodes", remedy="see its conditions")
            return NODES_SUBNET if NODES_SUBNET in self._known.subnets else missing
        namespace = self._namespaces.get(pod.namespace)
        if namespace is None:
            return Problem("NoNamespace", f"namespace {pod.namespace!r} is not known yet", remedy="wait for it")
        found = choose(pod, namespace, self._open)
        return found if isinstance(found, Problem) else found.name

    def _strangers(self, node: str, subnet: str, address: Address) -> bool:
        """A Pod of another VPC has the address on this node: a kubelet could not tell the two apart."""
        own = self._known.subnets[subnet].vpc
        there = self._nodes[node].get(address, ()) if node in self._nodes else ()
        return any(self._known.subnets[self._held[name][1]].vpc != own for name in there)

    def _awaited(self, pod: Pod) -> bool:
        """Its StatefulSet wants a Pod of this name again."""
        ordinal = pod.name.rpartition("-")[2]
        wanted = self._slots.get(f"{pod.namespace}/{pod.slot}", range(0))
        return bool(pod.slot) and ordinal.isdecimal() and int(ordinal) in wanted

    def _move_in(self, pod: Pod, pool: Pool) -> None:
        name = key(pod)
        lease = pool.lease(name)
        assert lease is not None
        self._forget(name)
        self._held[name] = pod, lease.subnet
        for address in lease.addresses:
            there = self._nodes[pod.node][address.ip]
            there.add(name)
            if len(there) > 1:
                self._shared.add((pod.node, address.ip))
        self._hide(name, lease.subnet)

    def _move_out(self, name: str) -> None:
        self._forget(name)
        if had := self._held.pop(name, None):
            self._pools[had[1]].release(name)

    def _forget(self, name: str) -> None:
        """The node's list no longer has it."""
        if name not in self._held:
            return
        self._hidden.pop(name, None)
        node = self._held[name][0].node
        there = self._nodes[node]
        for address in [a for a, names in there.items() if name in names]:
            there[address].discard(name)
            if len(there[address]) < 2:
                self._shared.discard((node, address))
            if not there[address]:
                del there[address]
        if not there:
            del self._nodes[node]

    # -- rows -----------------------------------------------------------------------------------------------------

    def rows(self, group: str) -> list[Row]:
        """What must stand of a group; nothing of one that is not wanted."""
        kind, _, name = group.partition(".")
        if kind == "vpc" and name in self._known.vpcs:
            vpc = self._known.vpcs[name]
            link = nodes.link_rows(self._site, self._owner, vpc, self._api)
            return [*rows.vpc_rows(self._site, vpc), *link]
        if kind == "subnet" and name in self._known.subnets:
            return list(rows.subnet_rows(self._site, self._owner, self._known.subnets[name]))
        if kind == "pod" and (held := self._held.get(name.replace(".", "/", 1))):
            pod, where = held
            lease = self._pools[where].lease(key(pod))
            assert lease is not None
            if pod.namespace:
                return [rows.pod_row(self._site, pod, lease, self._known.subnets[where])]
            others = (s for s in self._known.subnets.values() if s.vpc == DEFAULT_VPC)
            return [rows.node_row(self._site, pod, lease, self._known.subnets[where], others)]
        return []


def _veiled(subnets: Iterable[Subnet]) -> Iterator[tuple[str, list[Prefix]]]:
    every = list(subnets)
    default = [network for s in every if s.vpc == DEFAULT_VPC for network in s.prefixes]
    for each in every:
        found = [n for n in default if any(overlaps(n, own) for own in each.prefixes)]
        if each.vpc != DEFAULT_VPC and found:
            yield each.name, found


def _differing(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
