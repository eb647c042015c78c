"""What tenants, neighbours and a worker's host may try, and what arrives at the victim: nothing.

Five tenants with identical addresses on two sites; a sixth, `x`, whose prefixes differ, so that they can be named; on
the cloud an external network that the router of tenant `a` shares with a neighbour. Agents probe, so the ways for
probes are there too. The attacker is mostly tenant `a`.

Each attack is a row of one table, printed at the end (`pytest -s`). Its packets carry a mark and are counted at the
interfaces of its victims. Beside them, in the same second, every victim's own peers reach it, and the attacker's
router is reached by what it should pass: else "nothing arrived" proved nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from secrets import randbits
from typing import Any

import pytest

from isthmus.lab import packets, spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine
from isthmus.lab.pytest_plugin import LabFactory, unique_name
from isthmus.lab.traffic import Ears, Pair, Wire

from .attacks import CLUSTERS, FILE, TENANTS, Attack, attacks, forged_sources, from_the_own_cluster, geneve, owner
from .steps import apply, attach, warm, write_interconnects

pytestmark = pytest.mark.lab

ROUNDS = 3


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(spec.parse(FILE, name=unique_name(), tenants=TENANTS, agents=True)) as made:
        x = [attach("cloud", "x", "x-web"), attach("cluster", "x", "x-pods")]
        write_interconnects(made, {"tenant-x": x}, "x.yaml")
        apply(made)
        for version in (4, 6):
            warm(made, wanted(made, version), version)
        yield made


def inside_one(one: Machine, other: Machine) -> bool:
    """What must be open: a tenant's machines of one site, and her listed ones across."""
    if owner(one) != owner(other) or None in (owner(one), owner(other)):
        return False
    return one.site == other.site or (one.listed and other.listed)


def wanted(lab: Lab, version: int) -> set[Pair]:
    by_name = {m.name: m for m in lab.machines}
    return {p for p in traffic.pairs(lab.machines, version) if inside_one(by_name[p[0]], by_name[p[1]])}


@pytest.mark.parametrize("version", [4, 6])
def test_everybody_reaches_her_own_and_nobody_another_tenant(lab: Lab, version: int) -> None:
    machines = [m for m in lab.machines if owner(m)]
    pairs = traffic.pairs(machines, version)
    found = traffic.matrix(lab, pairs, version=version)
    assert found.open == wanted(lab, version)
    assert all(found[p].received == found[p].sent == 3 for p in found.open)
    assert not found.strays
    print(f"\nIPv{version}: {len(machines)} machines, {len(pairs)} pairs, {len(found.open)} open")


# -- attacks ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    attack: Attack
    sent: int
    seen: Counter[str] = field(default_factory=Counter)
    """Victim -> packets."""
    deaf: set[Pair] = field(default_factory=set)
    """Positive controls of which nothing arrived."""

    def __str__(self) -> str:
        hurt = ", ".join(f"{n}: {c}" for n, c in sorted(self.seen.items())) or "0"
        deaf = ", ".join(f"{a} > {b}" for a, b in sorted(self.deaf)) or "all arrived"
        return f"{self.attack.name:<78} sent {self.sent:>4}  at victims {hurt}  controls {deaf}"


@dataclass(frozen=True)
class Ground:
    """Where it happens: ears at every machine, and mouths for the positive controls."""

    lab: Lab
    ears: Ears
    mouths: traffic.Mouths

    def close(self) -> None:
        self.ears.close()
        self.mouths.close()


@pytest.fixture(scope="module")
def ground(lab: Lab) -> Iterator[Ground]:
    made = Ground(lab, Ears(lab, [m.name for m in lab.machines]), traffic.Mouths(lab, "udp"))
    yield made
    made.close()


def carry_out(ground: Ground, attack: Attack) -> Outcome:
    """Send every frame `ROUNDS` times, with the positive controls between, and count."""
    lab, run = ground.lab, randbits(32)
    controls = sorted(controls_of(lab))
    numbers = {pair: n for n, pair in enumerate(controls, 1)}
    arrived: set[int] = set()
    outcome = Outcome(attack, len(attack.shots) * ROUNDS)
    victims = {m.name for m in lab.machines if attack.victims(m)}
    with ExitStack() as stack:
        wires = {(p, link): stack.enter_context(Wire(lab, p, link)) for p, link, _ in attack.shots}
        if attack.setting is not None:
            stack.enter_context(attack.setting(lab))
        for sequence in range(ROUNDS):
            for place, link, frame in attack.shots:
                wires[place, link].send(frame(packets.Mark(run, 0, 0, sequence).encode()))
            for pair in controls:
                address = lab.machine(pair[1]).address(4)
                assert address
                ground.mouths.say(pair[0], address, packets.Mark(run, numbers[pair], 0, sequence))
            deadline = time.monotonic() + 0.1
            while (left := deadline - time.monotonic()) > 0:
                for heard in ground.ears.hear(left):
                    if heard.mark.run != run:
                        continue
                    if heard.mark.source == 0 and heard.endpoint in victims:
                        outcome.seen[heard.endpoint] += 1
                    elif heard.mark.source and heard.endpoint == controls[heard.mark.source - 1][1]:
                        arrived.add(heard.mark.source)
    outcome.deaf = {p for p in controls if numbers[p] not in arrived}
    return outcome


def controls_of(lab: Lab) -> set[Pair]:
    """Every machine is reached by another of its tenant; the attackers' own ways are open."""
    by_router: dict[str, list[Machine]] = {}
    for machine in lab.machines:
        if machine.router:
            by_router.setdefault(machine.router, []).append(machine)
    found = set()
    for machines in by_router.values():
        for target in machines:
            source = next(m for m in machines if m is not target and inside_one(m, target))
            far = next((m for m in machines if m.site != target.site and inside_one(m, target)), source)
            found.add((far.name, target.name))
    return found


def test_no_attack_puts_a_packet_on_a_victims_interface(ground: Ground) -> None:
    outcomes = [carry_out(ground, attack) for attack in attacks(ground.lab)]
    table = "\n".join(map(str, outcomes))
    print(f"\n{table}")
    assert not [o.attack.name for o in outcomes if o.seen or o.deaf], table
    assert len({o.attack.name for o in outcomes}) == len(outcomes)


@contextmanager
def without_policies(lab: Lab, *routers: tuple[str, str, str]) -> Iterator[None]:
    """Take drops of ours away: of (site, router, priority); `apply` brings them back."""
    for where, router, priority in routers:
        lab.site(where).nbctl("--wait=hv", "lr-policy-del", router, priority)
    try:
        yield
    finally:
        apply(lab)


@contextmanager
def unfiltered(lab: Lab) -> Iterator[None]:
    lab.filter(False)
    try:
        yield
    finally:
        lab.filter(True)


GUARD = ("cloud", "a", "1")
EDGES = tuple((s, f"isthmus-default.tenant-a.{s}.edge", "100") for s in ("cloud", "cluster"))


def defences(lab: Lab) -> Iterator[tuple[Attack, Callable[[], Any]]]:
    """Attacks, and what stops them taken away."""
    by_name = {a.name: a for a in (*forged_sources(), *geneve(lab))}
    for name in (
        "from an unlisted subnet, listed source",
        "neighbour on the external network, listed source",
        "neighbour on the external network, source of the far side",
    ):
        yield by_name[name], lambda: without_policies(lab, GUARD)
    name = "source of another tenant's listed prefix"
    yield by_name[name], lambda: without_policies(lab, *EDGES)
    name = "Geneve with tenants' keys from cluster-3 to cloud's hosts, outer source of its gateway"
    yield by_name[name], lambda: unfiltered(lab)


def test_the_attacks_would_succeed_without_what_stops_them(ground: Ground) -> None:
    """Else the frames are wrong, and the table above proves nothing."""
    for attack, lowered in defences(ground.lab):
        with lowered():
            outcome = carry_out(ground, attack)
        print(outcome)
        assert outcome.seen, attack.name
    assert not any(carry_out(ground, attack).seen for attack, _ in defences(ground.lab))


def test_a_tenants_cluster_cannot_speak_on_another_tenants_transit_switch(lab_factory: LabFactory) -> None:
    """ovn-ic gives every zone every transit switch; no gateway of tenant a's cluster takes part in tenant b's."""
    lab = lab_factory(CLUSTERS)
    apply(lab)
    warm(lab, wanted(lab, 4))
    ground = Ground(lab, Ears(lab, [m.name for m in lab.machines]), traffic.Mouths(lab, "udp"))
    own = from_the_own_cluster(lab, "of-a-3", "own outer source")
    forged = [from_the_own_cluster(lab, g, f"outer source of {g}") for g in ("of-a-1", "of-b-1", "of-b-2", "cloud-1")]
    outcomes = [carry_out(ground, attack) for attack in (own, *forged)]
    print("\n" + "\n".join(map(str, outcomes)))
    assert not [o for o in outcomes if o.seen or o.deaf]
    with unfiltered(lab):
        lowered = [carry_out(ground, attack) for attack in forged]
    print("without the filter:\n" + "\n".join(map(str, lowered)))
    assert any(o.seen for o in lowered), "else the frames are wrong"
    ground.close()
