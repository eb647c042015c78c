from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.api import assemble, parse
from isthmus.backends.files import load
from isthmus.backends.files.load import decode
from isthmus.model.intent import Origin

ROOT = Path(__file__).parents[3]


def test_the_examples_are_valid() -> None:
    examples = sorted((ROOT / "examples").glob("*.yaml"))
    assert examples
    for path in examples:
        assert load(path).interconnects


def test_the_readme_shows_valid_documents() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = "".join(block for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL))
    drafts = [parse(value, Origin("README.md", i), ROOT) for i, value in enumerate(decode(text.encode(), ".yaml"))]
    assert len(drafts) >= 4
    assert assemble(drafts).problems == ()


def test_the_lock_has_hashes_and_names_no_place() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^[a-z0-9._-]+==", lock, re.MULTILINE)
    assert len(pins) > 20 and lock.count("--hash=sha256:") > len(pins)
    assert "://" not in lock and " @ " not in lock


@pytest.mark.parametrize("script", ["run", ".ci/run"])
def test_scripts_are_plain_sh(script: str) -> None:
    assert (ROOT / script).read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", ROOT / script], check=True)


def test_an_unknown_word_to_run_is_a_usage_error() -> None:
    done = subprocess.run([ROOT / "run", "nonsense"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "") and "usage" in done.stderr


def test_ci_runs_exactly_the_test_command() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec ./run test"


EXCUSES = [
    ("import pytest\npytest.skip('x')", ["skip"]),
    ("@pytest.mark.xfail\ndef test(): ...", ["skip"]),
    ("from pytest import importorskip\nimportorskip('x')", ["skip"]),
    ("import time\ntime.sleep(1.5)", ["sleep"]),
    ("LONG = 5\nfrom time import sleep\nsleep(LONG)", ["sleep"]),
    ("import time\ntime.sleep(0.1)", []),
    ("def test(retries=3): ...", ["retry"]),
    ("@flaky\ndef test(): ...", ["retry"]),
    ("skipped = 1", []),
]


@pytest.mark.parametrize(("source", "found"), EXCUSES)
def test_excuses_are_found(source: str, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import excuses  # noqa: PLC0415

    assert list(excuses.excuses(ast.parse(source))) == found


def test_a_skipped_test_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_x.py").write_text("import pytest\ndef test_one(): ...\ndef test_two(): pytest." + "skip('no')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "1 tests did not run" in done.stdout
