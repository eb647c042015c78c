"""The main job from start to end, in a lab: `isthmus demo`.

Everything is done as the operator does it, by the command line in the operator's place, over `ssl:`; everything that is
claimed is counted in packets. `Demo` plays in a lab that is up, and neither builds nor removes it.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.backends.files import load
from isthmus.errors import Problem, WorldError
from isthmus.lab import picture, traffic
from isthmus.lab.kubernetes import programs as kubernetes
from isthmus.lab.lab import Lab
from isthmus.lab.openstack.environment import programs
from isthmus.lab.proof import Proof, address, crossing, prove, settle
from isthmus.lab.scenarios import Scenario
from isthmus.model.intent import Configuration

STEP = 120.0
"""Seconds that one command of the operator may take before the demo gives up."""
READY = 20.0
"""Seconds that conditions may take to be true after a command that has waited for them."""
WIDTH = 150
"""Characters of a line that is shown."""
REMEDY = "`isthmus demo --keep` leaves the lab, to look into it"
COUNTED = ("isthmus:claim:", "neutron:revision_number")
"""Keys of maps that stay, or count on, when all else is removed: our claim, and how often Neutron changed an object."""
COUNTERS = ("nb_cfg", "sb_cfg", "hv_cfg", "nb_ic_cfg", "sb_ic_cfg", "_version", "_uuid")


@dataclass(frozen=True, slots=True)
class Teller:
    """How the demo speaks: `step` says what is done, `show` is a line of what came of it."""

    step: Callable[[str], None]
    show: Callable[[str], None]


class Demo:
    """One play. `connect`, `cut` and `remove` in this order; `problems` is empty while all is as promised."""

    def __init__(self, scenario: Scenario, lab: Lab, teller: Teller) -> None:
        self.scenario, self.lab, self._teller = scenario, lab, teller
        self.proofs: list[Proof] = []
        self.problems: list[Problem] = []
        for site in lab.sites:
            if site.layout.site.type == "openstack":
                # Neutron makes a project's default group when it is looked for first: our own is none of our work.
                list(site.cloud("isthmus").network.security_groups())
        self._before = comparable(lab.snapshot())

    # The play.

    def connect(self) -> None:
        """Plan, apply, verify, and prove it."""
        self._teller.step("what is wanted: the operator's documents")
        self._show_all(picture.topology(self.lab.layout, self._intent()))
        self._plan()
        begin = time.monotonic()
        self._command("apply")
        self._teller.step(f"applied in {time.monotonic() - begin:.1f} s, interpreter and waiting included")
        self._ready()
        self._command("verify")
        self._command("trace", *map(self._port, self.scenario.trace))
        self._prove("joined")

    def cut(self) -> None:
        """Disconnect one subnet; what goes on meanwhile must lose nothing."""
        before = self._intent()
        with traffic.Streams(self.lab, self._carried(before), interval=self._interval()) as streams:
            try:
                streams.wait()
            except TimeoutError as error:
                raise WorldError(Problem("NoTraffic", str(error), remedy=REMEDY)) from error
            self._command(*self.scenario.cut.argv)
            reports = streams.stop().values()
        sent, lost = sum(r.sent for r in reports), sum(len(r.lost) for r in reports)
        self._teller.step(
            f"meanwhile {len(reports)} streams of the rest, a packet each {self._interval() * 1000:.0f} ms: "
            f"{sent} sent, {lost} lost"
        )
        if lost:
            self._wrong("PacketsLost", f"{lost} of {sent} packets of what was not disconnected were lost")
        self._show_all(picture.topology(self.lab.layout, self._intent()))
        self._ready()
        self._command("verify")
        self._prove("disconnected")

    def remove(self) -> None:
        """Disconnect all; the databases must be as they were."""
        for interconnect in self._intent().interconnects:
            self._command("disconnect", interconnect.name)
        left = self._json("plan", "--prune")["databases"]
        if left:
            self._wrong("RowsLeft", f"plan --prune still has something to do: {json.dumps(left)}")
        changed = differences(self._before, comparable(self.lab.snapshot()))
        for what in changed:
            self._wrong("ForeignChanged", f"not as it was before: {what}")
        if not left and not changed:
            self._teller.step("nothing of ours is left, and every row of others is as it was before")

    def _interval(self) -> float:
        """Seconds between two packets of a stream; an emulated guest is slow."""
        return 0.1 if any(m.guest for m in self.lab.machines) else 0.01

    def _carried(self, before: Configuration) -> list[traffic.Pair]:
        """Ordered pairs over an Interconnect that the cut must not touch."""
        attachments = {
            (a.site, str(a.vpc))
            for i in before.interconnects
            if i.name == self.scenario.cut.interconnect
            for a in i.attachments
            if self.scenario.cut.subnet in map(str, a.subnets)
        }
        touched = {
            m.name
            for m in self.lab.machines
            if m.switch == self.scenario.cut.subnet and (m.site, m.router) in attachments
        }
        return [p for p in crossing(before, self.lab.machines) if not touched & set(p)]

    # Its steps.

    def _intent(self) -> Configuration:
        """What the operator's documents say now."""
        return load(self.lab.paths.config)

    def _port(self, word: str) -> str:
        """SITE/ENDPOINT with the port that it has, where somebody else named that; other words as they are."""
        site, slash, name = word.partition("/")
        return f"{site}/{self.lab.port(name)}" if slash else word

    def _run(self, *words: str) -> str:
        command = f"isthmus {' '.join(words)}"
        try:
            done = self.lab.exec("operator", ["isthmus", *words], timeout=STEP)
        except subprocess.TimeoutExpired as error:
            raise WorldError(Problem("DemoStep", f"{command}: not done in {STEP:g} s", remedy=REMEDY)) from error
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            message = f"{command}: exit code {done.returncode}: {said}"
            raise WorldError(Problem("DemoStep", message, remedy=REMEDY))
        return done.stdout

    def _command(self, *words: str) -> None:
        """Run it and show what it prints."""
        self._teller.step(f"$ isthmus {' '.join(words)}")
        self._show_all(self._run(*words).splitlines())

    def _json(self, *words: str) -> Any:
        self._teller.step(f"$ isthmus {' '.join(words)}")
        return json.loads(self._run(*words, "--output", "json"))

    def _show_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            text = f"    {line}".rstrip()
            self._teller.show(text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…")

    def _plan(self) -> None:
        for database in self._json("plan")["databases"]:
            tables: dict[str, int] = {}
            for row in database["rows"]:
                tables[row["table"]] = tables.get(row["table"], 0) + 1
            total = ", ".join(f"{n} {table}" for table, n in sorted(tables.items(), key=lambda i: (-i[1], i[0])))
            self._show_all([f"{database['database']:<12} + {total}"])

    def _ready(self) -> None:
        """Every object's every condition is true, not merely programmed; a probe on a busy machine gets some time."""
        deadline = time.monotonic() + READY
        while True:
            objects = self._json("status")["objects"]
            untrue = [(o, c) for o in objects for c in o["conditions"] if c["status"] != "True" and _matters(o, c)]
            for each in objects:
                conditions = ", ".join(f"{c['type']} {c['status']}" for c in each["conditions"])
                self._show_all([f"{each['kind']} {each['name']}: {conditions}"])
            if not untrue or time.monotonic() > deadline:
                break
            for each, c in untrue:
                self._teller.step(f"{each['name']}: {c['type']} {c['status']}: {c['reason']}: {c['message']}")
            time.sleep(0.5)
        for each, c in untrue:
            what = f"{each['kind']} {each['name']}: {c['type']} is {c['status']}"
            self._wrong("NotReady", f"{what}: {c['reason']}: {c['message']}")

    def _prove(self, phase: str) -> None:
        settle(self.lab, self._intent(), READY)
        proof = prove(self.lab, self._intent(), phase)
        self._teller.step(
            f"{len(proof.checks)} checks by packets: every machine to every other, {len(self.lab.machines)} machines"
        )
        self._show_all(picture.grid(proof, self.proofs[-1] if self.proofs else None))
        self.proofs.append(proof)
        for difference in proof.differences:
            self._wrong("CheckDiffers", f"{phase}: {difference}")

    def _wrong(self, code: str, message: str) -> None:
        self.problems.append(Problem(code, message, remedy=REMEDY))

    # The report.

    def fields(self) -> dict[str, Any]:
        """The contract's JSON, but for the seconds."""
        return {
            "scenario": self.scenario.name,
            "sites": [
                {"name": site.name, "type": site.layout.site.type, "versions": versions(self.lab, site.name)}
                for site in self.lab.sites
            ],
            "endpoints": [
                {"name": m.name, "site": m.site, "tenant": m.tenant, "subnet": m.switch, "address": address(m)}
                for m in self.lab.machines
            ],
            "checks": [c.fields() for proof in self.proofs for c in proof.checks],
            "omitted": [o.fields() for proof in self.proofs for o in proof.omitted],
        }


def _matters(found: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Pods of two tenants have one address on one node here, and are told so: that is what a demo is for."""
    return found["kind"] not in ("Vpc", "Subnet") or condition["type"] == "Ready"


def versions_of_all(lab: Lab) -> dict[str, str]:
    """What the sites run; the lab has one version of each program."""
    return {name: version for site in lab.sites for name, version in versions(lab, site.name).items()}


def versions(lab: Lab, site: str) -> dict[str, str]:
    """What a site runs."""
    said = {
        "ovn": lab.exec(site, ["ovn-northd", "--version"]).stdout,
        "openvswitch": lab.exec(site, ["ovs-vswitchd", "--version"]).stdout,
    }
    found = {name: re.search(r"\d+\.\d+\.\d+", text) for name, text in said.items()}
    here = {name: match[0] for name, match in found.items() if match}
    spec = lab.site(site).layout.site
    if spec.type == "openstack":
        here |= programs(spec.cloud.neutron, nova=spec.cloud.nova)
    if spec.type == "kubernetes":
        here["kubernetes"] = kubernetes.version().removeprefix("v")
    return here


def comparable(shot: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> dict[str, Any]:
    """`DATABASE TABLE UUID` -> row, of a lab's snapshot; without OVN's own counters and the claim of the owner's name.

    The claim and the zone's name stay when all else is removed; where IC_NB_Global was empty, its row was made for it.
    """
    found = {}
    for database, tables in shot.items():
        for table, rows in tables.items():
            for uuid, row in rows.items():
                columns = {
                    column: _plain(value)
                    for column, value in row.items()
                    if column not in COUNTERS and not column.endswith("_timestamp")
                    if (table, column) != ("NB_Global", "name")
                }
                if table != "IC_NB_Global" or any(columns.values()):
                    found[f"{database} {table} {uuid}"] = columns
    return found


def _plain(value: Any) -> Any:
    """A set and a map have no order."""
    match value:
        case ["set", list(items)]:
            return sorted(json.dumps(i) for i in items)
        case ["map", list(items)]:
            return sorted(json.dumps(i) for i in items if not str(i[0]).startswith(COUNTED))
    return value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """In words, a line for each row."""
    found = [f"{key} is gone" for key in before if key not in after]
    found += [f"{key} is new: {after[key].get('name', '')}" for key in after if key not in before]
    for key in before.keys() & after.keys():
        columns = [c for c, value in before[key].items() if after[key].get(c) != value]
        if columns:
            found.append(f"{key}: {', '.join(sorted(columns))}")
    return sorted(found)
