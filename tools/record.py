"""A run on record: what ran, how long, where, on what versions (a pytest plugin of `test-full` and `conformance`)."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench.report import machine, versions

BEGIN = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--report", type=Path, required=True, metavar="FILE", help="where to write it")
    parser.addoption("--report-title", required=True, metavar="COMMAND", help="the command that it names")


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A worker has none: it tells who started it.
    if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):
        write(reporter, session.config.getoption("report_title"), session.config.getoption("report"))


def write(reporter: pytest.TerminalReporter, title: str, path: Path) -> None:
    """Markdown: machine and versions, then a line for each file of tests."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in reporter.stats.get(outcome, []):
            counts[report.nodeid.partition("::")[0]][outcome] += 1
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                counts[report.nodeid.partition("::")[0]]["seconds"] += report.duration
    total = {o: int(sum(c[o] for c in counts.values())) for o in ("passed", "failed", "error", "skipped")}
    where = machine()
    lines = [
        f"# Last run of `{title}`",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {(time.monotonic() - BEGIN) / 60:.0f} minutes: "
        + ", ".join(f"{n} {o}" for o, n in total.items() if n or o in ("passed", "failed")),
        "",
        f"- machine: {where['cpus']} processors ({where['cpu']}), {where['memory_mb']} MB, "
        f"Linux {where['kernel']}, {where['datapath']} datapath, {platform.freedesktop_os_release()['PRETTY_NAME']}",
        "- versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()),
        "",
        "| tests | passed | failed | seconds |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {c['passed']:.0f} | {c['failed'] + c['error']:.0f} | {c['seconds']:.0f} |"
            for name, c in sorted(counts.items())
        ),
        "",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
