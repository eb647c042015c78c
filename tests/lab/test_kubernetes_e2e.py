"""Kubernetes' own tests of Pods' networks, probes and StatefulSets, as its project wrote them, on two nodes of the lab.

`e2e-specs.txt` lists what must run and pass. What is not in it: Services, DNS, network policies and the Internet, which
are not there; SCTP; volumes that somebody would have to provide; what disturbs other specs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from isthmus.lab import spec
from isthmus.lab.kubernetes import programs
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

from . import e2e
from .e2e import Outcome

pytestmark = [pytest.mark.lab, pytest.mark.e2e, pytest.mark.conformance]

FILE = Path(__file__).with_name("pods.yaml")
REPORT = "kubernetes-e2e.md"


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Outcome]]:
    """What came of the specs that are asked for; written down where all are, and the run is on record."""
    asked = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        programs.install(lab.state, print, programs.CONFORMANCE)
        e2e.load(lab, "cluster")
        found = e2e.run(lab, "cluster", asked)
    if (report := request.config.getoption("--report", None)) and asked == e2e.wanted():
        report.with_name(REPORT).write_text(page(found), encoding="utf-8")
    yield found


def page(found: dict[str, Outcome]) -> str:
    """Markdown: a line for each spec."""
    passed = sum(outcome.state == "passed" for outcome in found.values())
    missing = [name for name in e2e.wanted() if name not in found]
    lines = [
        "# Last run of Kubernetes' own tests",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, Kubernetes {programs.version(programs.CONFORMANCE)}, by `./run conformance`: "
        f"{len(e2e.wanted())} listed, {passed} passed, {len(found) - passed} failed, {len(missing)} did not run",
        "",
        "| spec | | seconds |",
        "|---|---|---|",
        *(f"| {o.name} | {o.state} | {o.seconds:.0f} |" for _, o in sorted(found.items())),
        *(f"| {name} | did not run | |" for name in missing),
        "",
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "name", [pytest.param(name, id=re.sub(r"\s*\[.*?\]", "", name).strip()) for name in e2e.wanted()]
)
def test_a_spec_passes(outcomes: dict[str, Outcome], name: str) -> None:
    assert name in outcomes, "it did not run"
    assert outcomes[name].state == "passed", outcomes[name].message
