"""Accepted, Programmed, Reachable, Ready: read from the databases, never from what we believe to have done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile import names
from isthmus.compile.probes import request
from isthmus.compile.view import Joined, Side
from isthmus.controller.entry import Entry
from isthmus.controller.world import World
from isthmus.errors import Problem

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; `generation` tells which text of the object it speaks of."""

    type: str
    status: Status
    reason: str
    message: str
    generation: int

    def fields(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.generation,
        }


Verdict = tuple[Status, str, str]


def conditions(entry: Entry, world: World, written: Mapping[tuple[str, str], int]) -> list[Condition]:
    """The four conditions of an Interconnect; of one that no document names any more, Ready alone.

    written  (site, Interconnect) -> `nb_cfg` of our last write; without it the database's present one counts
    """
    if entry.intent is None:
        return [Condition("Ready", *_unwanted(entry, world), 0)]
    generation = crc32(repr(entry.intent).encode()) & 0x7FFFFFFF
    accepted = _accepted(entry)
    programmed = _programmed(entry, world, written)
    reachable = _reachable(entry, world) if programmed[0] == "True" else ("Unknown", "NotProgrammed", programmed[2])
    verdicts: dict[str, Verdict] = {"Accepted": accepted, "Programmed": programmed, "Reachable": reachable}
    bad = next((v for v in verdicts.values() if v[0] == "False"), None)
    unknown = next((v for v in verdicts.values() if v[0] == "Unknown"), None)
    verdicts["Ready"] = bad or unknown or ("True", "Ready", "accepted, programmed and reached by a probe")
    return [Condition(kind, *verdict, generation) for kind, verdict in verdicts.items()]


def _unwanted(entry: Entry, world: World) -> Verdict:
    """Of rows that no document asks for."""
    if entry.failed is not None:
        return "False", entry.failed.code, entry.failed.advice
    if entry.lingering and not any(entry.changes.values()):
        waits = (s if s in world.sites else f"{s}, which no document names" for s in entry.lingering)
        return "False", "Removing", f"its transit switch waits for the gateway chassis of {'; '.join(waits)}"
    left = "objects of it stand in Neutron or a cluster" if entry.only_calls else "rows of it stand"
    return "False", "NotInDocuments", f"{left}, but no document names it; apply --prune removes them, or says why not"


def refused(problems: Sequence[Problem]) -> list[Condition]:
    """Of an Interconnect whose text cannot be read as one: what stands of it is left alone."""
    verdict = _wrong(problems)
    rest: Verdict = ("Unknown", "NotAccepted", "what stands of it is left as it is")
    found: dict[str, Verdict] = {"Accepted": verdict, "Programmed": rest, "Reachable": rest, "Ready": verdict}
    return [Condition(kind, *v, 0) for kind, v in found.items()]


def _wrong(problems: Sequence[Problem]) -> Verdict:
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return "False", first.code, f"{first.advice}{more}"


def _accepted(entry: Entry) -> Verdict:
    if entry.problems:
        return _wrong(entry.problems)
    if entry.blocked is not None:
        return "Unknown", entry.blocked.code, entry.blocked.message
    return "True", "Valid", "the intent is valid here"


def _programmed(entry: Entry, world: World, written: Mapping[tuple[str, str], int]) -> Verdict:
    """Rows in every database; at each site the chassis that carries the port has them; every port has a chassis."""
    if entry.blocked is not None:
        return "Unknown", entry.blocked.code, entry.blocked.message
    if entry.failed is not None:
        return "False", entry.failed.code, entry.failed.advice
    if not entry.clean:
        return "False", *entry.waits_for
    return _everywhere(entry.joined, world, written)


def _everywhere(joined: Joined | None, world: World, written: Mapping[tuple[str, str], int]) -> Verdict:
    if joined is None:
        return "False", "Nothing", "nothing of it stands"
    for side in joined.sides:
        if joined.is_first(side):
            verdict = _carried(joined, side, world, written)
            if verdict is not None:
                return verdict
    return "True", "Programmed", "every row is in place, and the gateway chassis have them"


def _carried(joined: Joined, side: Side, world: World, written: Mapping[tuple[str, str], int]) -> Verdict | None:
    """What is missing at one site, or None."""
    site = world.sites[side.site]
    port = names.of(joined.owner, joined.name, side.name, "transit")
    chassis = site.bound_to(f"cr-{port}")
    if chassis is None:
        return "False", "NoChassis", f"site {side.site!r}: no gateway chassis carries {port}; is one of them alive?"
    has = site.chassis_cfg(chassis) or 0
    needed = written.get((side.site, joined.name), site.nb_cfg)
    if has < needed:
        return "False", "ChassisBehind", f"site {side.site!r}: chassis {chassis!r} is at {has} of {needed}"
    for other in joined.sides:
        if other.site != side.site and joined.is_first(other):
            remote = names.of(joined.owner, joined.name, other.name, "transit-port")
            if site.bound_to(remote) is None:
                return "False", "RemoteUnbound", f"site {side.site!r} does not know the chassis of {remote} yet"
    return None


def _reachable(entry: Entry, world: World) -> Verdict:
    """Every side whose router has somebody to reach is probed from at least one live chassis, and hears answers."""
    joined = entry.joined
    assert joined is not None
    bare: list[str] = []
    silent: list[str] = []
    for side in joined.sides:
        if not any(other.addresses for other in joined.others(side)):
            continue
        heard = list(answers(joined, side, world.sites[side.site]))
        if any(a["state"] == "up" for a in heard):
            continue
        if not heard:
            (silent if side.probes else bare).append(side.name)
            continue
        lost = ", ".join(heard[0].get("lost", ())) or "all"
        return "False", "ProbeLost", f"no answer to {side.name!r} from {lost} since {heard[0].get('since', '?')}"
    words = [
        f"no agent {verb} on the gateways of {', '.join(of)}"
        for verb, of in (("runs", bare), ("answers", silent))
        if of
    ]
    if words:
        return "Unknown", "NoProbe", "; ".join(words)
    return "True", "Answered", "a packet crossed to every listed subnet's router and its answer came back"


def answers(joined: Joined, side: Side, site: OvnSite) -> Iterator[Mapping[str, Any]]:
    """What live agents say of the present request; an agent that died has let go of its port."""
    for chassis in side.probes:
        port = names.of(joined.owner, joined.name, side.name, f"probe.{chassis}")
        private = site.private(chassis)
        if private is None or site.bound_to(port) != chassis:
            continue
        ids = private["external_ids"]
        assert isinstance(ids, Mapping)
        try:
            said = json.loads(ids.get(f"isthmus:probe:{port}", ""))
        except ValueError:
            continue
        addresses = [str(i.ip) for i in joined.link(side, joined.probe_host(side, chassis))]
        if said.get("generation") == json.loads(request(joined, side, addresses))["generation"]:
            yield said


def reachability(kind: str, name: str, trouble: Problem | None) -> dict[str, Any]:
    """A Fabric's or a Site's one condition, as the contract's JSON."""
    verdict: Verdict = ("True", "Listed", "every database is read")
    if trouble is not None:
        verdict = ("False", trouble.code, trouble.message)
    return {"kind": kind, "name": name, "conditions": [Condition("Ready", *verdict, 0).fields()]}
