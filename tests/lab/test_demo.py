"""`isthmus demo` does the main job, says so in the contract's form, and leaves nothing, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from isthmus.backends.files import load
from isthmus.lab import spec, state
from isthmus.lab.lab import Lab
from isthmus.lab.layout import layout
from isthmus.lab.proof import prove, settle
from isthmus.lab.pytest_plugin import LabFactory
from isthmus.lab.scenarios import SCENARIOS, Scenario
from isthmus.model.intent import Configuration

from .test_lab_leaves_nothing import assert_nothing_left, inodes, links

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guests")]

SCHEMA = json.loads(Path(__file__).with_name("demo.schema.json").read_text(encoding="utf-8"))
COMMAND = [sys.executable, "-m", "isthmus.cli.main", "demo"]
TIMEOUT = 600.0


class Running:
    """A demo in a process group of its own, and the namespaces that its lab was seen to hold."""

    def __init__(self, *words: str) -> None:
        self.links = links()
        self.held: set[str] = set()
        self.said: list[str] = []
        # Not a pipe: nobody reads it before stderr has ended.
        self.result = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*COMMAND, *words, "--output", "json"],
            stdin=subprocess.DEVNULL,
            stdout=self.result,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.name = f"demo-{self.process.pid}"

    def lines(self) -> Iterator[str]:
        """What it says on stderr, while it says it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            with suppress(state.IntentError, OSError):
                self.held |= inodes(state.State.load(self.name).keeper)
            yield line

    def until(self, text: str) -> None:
        assert any(text in line for line in self.lines()), self.said

    def end(self) -> tuple[int, dict[str, Any]]:
        for _ in self.lines():
            pass
        code = self.process.wait(TIMEOUT)
        self.result.seek(0)
        return code, json.load(self.result)

    def assert_nothing_left(self) -> None:
        assert_nothing_left(self.name, self.held, self.links)


@contextmanager
def demo(*words: str) -> Iterator[Running]:
    running = Running(*words)
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait(TIMEOUT)
        running.result.close()
        assert running.process.stderr is not None
        running.process.stderr.close()
        state.remove(running.name)


def of(result: dict[str, Any], phase: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(c["from"], c["to"], c["protocol"]): c for c in result["checks"] if c["phase"] == phase}


def assert_every_pair_is_judged(result: dict[str, Any], phase: str) -> None:
    addresses = {e["name"]: e["address"] for e in result["endpoints"]}
    assert len(addresses) == len(result["endpoints"])
    pairs = set(permutations(addresses, 2))
    same = {(a, b) for a, b in pairs if addresses[a] == addresses[b]}
    assert {(o["from"], o["to"]) for o in result["omitted"] if o["phase"] == phase} == same
    assert {(a, b) for a, b, protocol in of(result, phase) if protocol == "udp"} == pairs - same
    assert {(a, b) for a, b, _ in of(result, phase)} == pairs - same


def assert_as_the_scenario_says(result: dict[str, Any], phase: str, scenario: Scenario) -> None:
    machines = {e["name"]: e for e in result["endpoints"]}
    for check in of(result, phase).values():
        one, other = machines[check["from"]], machines[check["to"]]
        crosses = one["site"] != other["site"]
        away = {one["subnet"], other["subnet"]} & {scenario.cut.subnet} and crosses
        shut = crosses and (other["tenant"], other["site"]) in scenario.shut
        wanted = one["tenant"] == other["tenant"] and not shut and not (phase == "disconnected" and away)
        assert check["expected"] is check["observed"] is (check["received"] > 0) is wanted, check


def assert_closed_checks_have_a_control(result: dict[str, Any], phase: str) -> None:
    open_ = [c for c in of(result, phase).values() if c["observed"]]
    senders, receivers = {c["from"] for c in open_}, {c["to"] for c in open_}
    for check in of(result, phase).values():
        assert check["from"] in senders and check["to"] in receivers


@pytest.mark.conformance
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_scenario_proves_the_main_job_and_leaves_nothing(scenario: Scenario) -> None:
    with demo(scenario.name) as running:
        code, result = running.end()
        assert code == 0, result.get("errors")
        running.assert_nothing_left()
    assert len(running.held) > 40
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(result)
    assert result["scenario"] == scenario.name
    assert {e["site"] for e in result["endpoints"]} == {s["name"] for s in result["sites"]}
    for phase in ("joined", "disconnected"):
        assert_every_pair_is_judged(result, phase)
        assert_as_the_scenario_says(result, phase, scenario)
        assert_closed_checks_have_a_control(result, phase)
    closed = {k for k, c in of(result, "joined").items() if c["observed"]}
    assert closed - {k for k, c in of(result, "disconnected").items() if c["observed"]}
    assert any(re.search(r"streams of the rest.* 0 lost", line) for line in running.said), running.said


@pytest.mark.conformance
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_the_lab_of_a_scenario_has_twins_and_controls(scenario: Scenario) -> None:
    found = layout(spec.load(scenario.lab, tenants=2))
    assert len(found.sites) >= 2
    subnets = [s for site in found.sites for s in site.subnets]
    for subnet in subnets:
        assert len({m.host for m in subnet.machines}) == len(subnet.machines) >= 2
    types = {site.name: site.site.type for site in found.sites}
    one, other = ({(types[s.site], s.cidrs) for s in subnets if s.tenant == t} for t in found.file.tenant_names)
    assert one == other
    assert scenario.cut.subnet in {s.name for s in subnets}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize("moment", ["two OVN deployments", "the lab is up", "isthmus apply", "isthmus disconnect"])
def test_a_signal_at_any_moment_leaves_nothing(moment: str, number: signal.Signals) -> None:
    with demo() as running:
        running.until(moment)
        # Ctrl-C in a terminal goes to the whole group, a signal of an init system or of `kill` to one process.
        os.killpg(running.process.pid, number) if number == signal.SIGINT else running.process.send_signal(number)
        code, result = running.end()
        assert code == 130
        assert [e["code"] for e in result["errors"]] == ["Interrupted"]
        running.assert_nothing_left()


def test_a_step_that_fails_ends_the_demo_and_leaves_nothing() -> None:
    with demo() as running:
        running.until("isthmus verify")
        documents = state.base() / running.name / "operator" / "config" / "interconnects.yaml"
        documents.write_text("no documents", encoding="utf-8")
        code, result = running.end()
        assert code != 0 and result["errors"] and "checks" not in result
        running.assert_nothing_left()


def test_keep_leaves_the_lab_of_a_demo_that_failed() -> None:
    with demo("--keep") as running:
        running.until("the lab is up")
        name = next(n for n in ("demo", running.name) if n in state.names())
        (state.base() / name / "operator" / "config" / "interconnects.yaml").write_text("no", encoding="utf-8")
        code, _ = running.end()
        assert code != 0
        assert f"the lab {name} stays" in "".join(running.said)
        Lab.open(name).down()


def test_keep_leaves_the_lab_and_says_how_to_enter_it() -> None:
    with demo("--keep") as running:
        code, result = running.end()
        assert code == 0, result
        jsonschema.validate(result, SCHEMA)
        said = "".join(running.said)
        kept = re.search(r"the lab (\S+) stays", said)
        assert kept is not None, said
        lab = Lab.open(kept[1])
        try:
            done = lab.exec("operator", ["isthmus", "status", "--output", "json"], timeout=TIMEOUT)
            names = {o["name"] for o in json.loads(done.stdout)["objects"] if o["kind"] == "Interconnect"}
            assert names == {"tenant-a", "tenant-b"}
            assert f"isthmus lab down --name {kept[1]}" in said
        finally:
            lab.down()


def test_what_is_missing_and_what_leaks_is_told(lab_factory: LabFactory) -> None:
    lab = lab_factory("two-sites", agents=True)
    wanted = load(lab.paths.config)
    before = prove(lab, wanted, "joined", count=2).differences
    assert "cloud-a-web-1 to cluster-a-pods-1 (udp): 0 of 2 arrived, some should" in before
    done = lab.exec("operator", ["isthmus", "apply"], timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert settle(lab, wanted, TIMEOUT)
    assert prove(lab, wanted, "joined").differences == ()
    nobody = Configuration(wanted.fabrics, wanted.sites, ())
    leaks = prove(lab, nobody, "joined", count=2).differences
    assert "cloud-a-web-1 to cluster-a-pods-1 (udp): 2 of 2 arrived, none should" in leaks
    assert len(leaks) == len(before)
