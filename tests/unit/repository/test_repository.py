from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from documents import yaml_blocks
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
    text = "".join(yaml_blocks(ROOT / "README.md"))
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


MARK = "# made by isthmus ./run setup; removed by it"


def setup(tmp_path: Path, *, apt: int = 0, words: tuple[str, ...] = ()) -> tuple[subprocess.CompletedProcess[str], str]:
    """`./run setup` in a copy, on a machine that lacks everything; it stops where it would make .venv.

    Returns what it said, and what the policy file held while packages were installed.
    """
    programs = {
        "dpkg-query": "exit 1",
        "apt-get": f'case "$*" in *install*) cat "$POLICY" >"$SEEN"; exit {apt};; esac',
        "sudo": '"$@"',
    }
    (tmp_path / "bin").mkdir()
    for name, body in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    (tmp_path / "run").write_bytes((ROOT / "run").read_bytes())
    (tmp_path / "run").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "POLICY": str(tmp_path / "policy-rc.d"),
        "SEEN": str(tmp_path / "seen"),
        "PYTHON": "/bin/false",
    }
    done = subprocess.run(
        [tmp_path / "run", "setup", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    seen = tmp_path / "seen"
    return done, seen.read_text() if seen.exists() else ""


@pytest.mark.parametrize("apt", [0, 1])
def test_no_service_is_started_while_packages_are_installed(tmp_path: Path, apt: int) -> None:
    done, seen = setup(tmp_path, apt=apt)
    assert seen == f"#!/bin/sh\n{MARK}\nexit 101\n"
    assert not (tmp_path / "policy-rc.d").exists()
    assert "ovn-central" in done.stderr
    assert ("apt-get could not" if apt else "older than 3.11") in done.stderr


def test_a_policy_that_is_there_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    assert setup(tmp_path)[1] == policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_that_a_killed_setup_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text(f"#!/bin/sh\n{MARK}\nexit 101\n")
    setup(tmp_path)
    assert not (tmp_path / "policy-rc.d").exists()


def long_functions(tree: ast.AST) -> list[str]:
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or node.lineno) - node.lineno >= 60
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda p: p.name)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    assert long_functions(ast.parse(text)) == []
