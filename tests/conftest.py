"""A test that did not run proves nothing: any skip or expected failure fails the whole run."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or exitstatus != pytest.ExitCode.OK:
        return
    excused = [report for kind in ("skipped", "xfailed", "xpassed") for report in reporter.stats.get(kind, [])]
    if excused:
        reporter.write_line(f"{len(excused)} tests did not run or were expected to fail: that is a failure here")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
