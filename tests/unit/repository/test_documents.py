"""What documents say is so: commands, paths, links, figures. `tests/lab/test_documents.py` runs the commands."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from documents import ROOT, commands, pages
from isthmus.cli import main

RUN_IN_A_LAB = {"README.md", "docs/lab.md", "docs/command-line.md"}
"""Documents whose commands `tests/lab/test_documents.py` runs."""
SHOWN = {page.relative_to(ROOT).as_posix(): commands(page) for page in pages()}


def test_every_document_that_shows_isthmus_commands_is_run_in_a_lab() -> None:
    assert {page for page, lines in SHOWN.items() if any(line.startswith("isthmus") for line in lines)} == RUN_IN_A_LAB


@pytest.mark.parametrize("line", sorted({c for lines in SHOWN.values() for c in lines if c.startswith("./run")}))
def test_run_knows_the_words_that_documents_show(line: str) -> None:
    usage = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^  {shlex.split(line)[1]}\b", usage, re.MULTILINE)


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = main.Parser(prog=verb)
    main._common(parser)
    main._module(verb).configure(parser)
    return parser


def test_the_command_line_is_described_in_full() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    agent = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`[a-z`, ]+`) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {verb for cell in table for verb in re.findall(r"`([a-z]+)`", cell)} == set(main.VERBS)
    for verb in main.VERBS:
        assert f"isthmus {verb}" in text
        options = {o for a in parser_of(verb)._actions for o in a.option_strings if o.startswith("--")}
        where = agent if verb == "agent" else text
        assert [o for o in options - {"--help"} if o not in where + text] == [], verb


def test_the_map_of_the_architecture_is_the_tree() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    assert [path for path in sorted(told) if not (ROOT / path).exists()] == []
    source = ROOT / "src" / "isthmus"
    parts = [p for p in source.iterdir() if p.is_dir() and (p / "__init__.py").exists() and p.name != "backends"]
    parts += [p for p in (source / "backends").iterdir() if (p / "__init__.py").exists()]
    parts += [p for p in source.glob("*.py") if p.name != "__init__.py"]
    parts += [ROOT / name for name in ("tests", "tools", "bench", "docs/decisions", "examples", "run", ".ci/run")]
    names = {f"{p.relative_to(ROOT).as_posix()}{'/' if p.is_dir() else ''}" for p in parts}
    assert sorted(names - told) == []


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return ROOT / "tools" / "docs.py"


def test_generated_parts_are_current(docs: Path) -> None:
    done = subprocess.run([sys.executable, docs, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_figures_come_from_the_committed_run(docs: Path) -> None:
    from docs import filled  # type: ignore[import-not-found]  # noqa: PLC0415

    rows = [
        {"figure": "subnet added to first packet", "value": 0.25, "unit": "s", "reference": 0.2, "ratio": 1.25},
        {"figure": "another", "value": 1, "unit": "s", "reference": None, "ratio": None},
    ]
    page = "x\n<!-- figures: subnet added -->\nold\n<!-- /figures -->\ny\n"
    new = filled(page, rows)
    assert "old" not in new and "subnet added to first packet | 0.25 s | 0.2 s | 1.25" in new and "another" not in new
    assert new.startswith("x\n<!-- figures: subnet added -->\n") and new.endswith("<!-- /figures -->\ny\n")
    assert filled(new, rows) == new
    assert "not measured yet" in filled(page, [])
