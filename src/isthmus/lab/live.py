"""What packets do between subnets, for `verify --live`: marked packets between a lab's own endpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine
from isthmus.lab.traffic import Matrix, matrix
from isthmus.verify.compare import Live
from isthmus.verify.expect import Expectation, Pair
from isthmus.verify.place import Place


def measure(lab: Lab, expectation: Expectation, count: int = 3) -> Live:
    """Send `count` packets from each endpoint to each of other subnets, IPv4 and IPv6.

    Of a pair that is wanted all must have got something; of another one packet is enough. A pair that no packet could
    be sent for (no endpoints, no common family, one and the same address, no route) is absent.

    What is wanted and got nothing is sent once more, alone: the first packets of hundreds of flows at once may be more
    than a switch in userspace has room for.
    """
    inside = {place: [m for m in lab.machines if _is_in(m, place)] for place in expectation.places}
    homes = {m.name: place for place, machines in inside.items() for m in machines}
    judged = [p for p in expectation.pairs() if not p.native]
    found: dict[tuple[Place, Place], list[bool]] = defaultdict(list)
    for version in (4, 6):
        wanted = {ends: pair for pair in judged for ends in _ends(inside, pair, version)}
        if not wanted:
            continue
        measured = matrix(lab, list(wanted), count=count, version=version)
        silent = [e for e, pair in wanted.items() if pair.wanted and measured[e].sent and not measured[e].received]
        late = matrix(lab, silent, count=count, version=version).open if silent else frozenset()
        for ends, pair in wanted.items():
            if measured[ends].sent:
                found[pair.source, pair.target].append(measured[ends].received > 0 or ends in late)
        for stray in _strays(measured, homes):
            found[stray].append(True)
    return {
        (pair.source, pair.target): all(seen) if pair.wanted else any(seen)
        for pair in judged
        if (seen := found.get((pair.source, pair.target)))
    }


def _is_in(machine: Machine, place: Place) -> bool:
    if (machine.site, machine.switch) != (place.site, place.name):
        return False
    return any(a.ip in p for a in machine.addresses for p in place.prefixes if a.version == p.version)


def _ends(inside: dict[Place, list[Machine]], pair: Pair, version: int) -> Iterator[tuple[str, str]]:
    for one in inside[pair.source]:
        for other in inside[pair.target]:
            here, there = one.address(version), other.address(version)
            if here and there and here != there:
                yield one.name, other.name


def _strays(measured: Matrix, homes: dict[str, Place]) -> Iterator[tuple[Place, Place]]:
    """What reached another tenant without being sent there: the same address, somewhere else."""
    for source, _, seen in measured.strays:
        if source in homes and seen in homes:
            yield homes[source], homes[seen]
