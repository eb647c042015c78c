"""A run that is what it says: interrupts work, and a test that did not run proves nothing: any skip fails it."""

from __future__ import annotations

import signal

import pytest


def pytest_sessionstart() -> None:
    """Shells and nohup let what they start ignore signals, and so would every process that we send one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups that pytest-xdist does not see, as in pytest 9.2, would build every lab twice, without a word."""
    grouped = [item for item in items if item.get_closest_marker("xdist_group")]
    if getattr(config.option, "loadgroup", False):
        assert all("@" in item.nodeid for item in grouped), "pytest-xdist does not see the groups of tests"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK:
        return
    excused = [report for kind in ("skipped", "xfailed", "xpassed") for report in reporter.stats.get(kind, [])]
    if excused:
        reporter.write_line(f"{len(excused)} tests did not run or were expected to fail: that is a failure here")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
