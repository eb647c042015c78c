"""A run that is what it says: interrupts work, and a test that did not run proves nothing: any skip fails it."""

from __future__ import annotations

import signal

import pytest


def pytest_sessionstart() -> None:
    """A shell lets what it starts in the background ignore interrupts, and so would every process that we interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK:
        return
    excused = [report for kind in ("skipped", "xfailed", "xpassed") for report in reporter.stats.get(kind, [])]
    if excused:
        reporter.write_line(f"{len(excused)} tests did not run or were expected to fail: that is a failure here")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
