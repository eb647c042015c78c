"""A lab's record on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli.main import main
from isthmus.errors import IntentError, WorldError
from isthmus.lab import state
from isthmus.lab.lab import Lab
from isthmus.lab.state import Daemon, State


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISTHMUS_LAB_DIR", str(tmp_path / "labs"))
    return tmp_path / "labs"


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "/", "a/b", "a b", "-a", "A"])
def test_a_name_that_is_no_name_is_not_removed(name: str, base: Path) -> None:
    (base / "kept").mkdir(parents=True)
    with pytest.raises(IntentError):
        state.remove(name)
    assert (base / "kept").exists()


@pytest.mark.parametrize("name", ["", "BAD_NAME", "-a", "a" * 64])
def test_a_new_lab_s_name_is_checked_before_its_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "up", "two-sites", f"--name={name}"]) == 2
    said = capsys.readouterr().err
    assert said == f"isthmus: {name!r} can be no lab's name; use a-z, 0-9 and - inside, 63 of them at most\n"


def test_a_record_is_read_as_it_was_written() -> None:
    written = State("x", keeper=1, daemons={"a/b": Daemon("a", ["b"], "/c", foreground=True)})
    written.create()
    written.save()
    assert State.load("x") == written
    assert state.names() == ["x"]


def test_a_directory_without_a_record_is_removed_and_its_parent_with_it(base: Path) -> None:
    State("x").create()
    assert state.remove("x") and not base.exists()
    assert not state.remove("x")


def test_a_process_that_only_has_the_keepers_number_is_left_alone() -> None:
    lab = State("x", keeper=os.getpid(), keeper_started=1)
    lab.create()
    lab.save()
    assert not lab.alive()
    assert state.remove("x")


@pytest.mark.parametrize("words", ["status", "logs", "exec operator -- true", "status --name x", "logs --name x"])
def test_a_lab_that_is_not_there_is_an_error_of_usage(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", *words.split()]) == 2
    assert "isthmus: there is no lab" in capsys.readouterr().err


def test_a_missing_lab_is_an_error_with_a_remedy() -> None:
    with pytest.raises(IntentError, match="isthmus lab ls"):
        State.load("nothing")


def of_another_version(name: str, **record: Any) -> None:
    State(name).create()
    (state.base() / name / "state.json").write_text(json.dumps({"name": name, "daemons": {}} | record))


@pytest.mark.parametrize(
    "shape",
    [{"daemons": {"a/b": {"namespace": "a", "argv": [], "pidfile": "", "later": 1}}}, {"later": 1}, {"daemons": None}],
)
def test_a_lab_of_another_version_is_listed_and_removed_with_its_processes(
    shape: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(["sleep", "60"]) as keeper:
        of_another_version("x", keeper=keeper.pid, keeper_started=state.started(keeper.pid), **shape)
        assert main(["lab", "ls"]) == 0
        assert capsys.readouterr().out.split(maxsplit=1) == ["x", "of another version\n"]
        assert main(["lab", "status"]) == 1
        assert "isthmus lab down --name x" in capsys.readouterr().err
        assert main(["lab", "down", "--name", "x"]) == 0
        assert keeper.wait(5) == -signal.SIGKILL
    assert state.names() == []


def test_a_lab_file_of_another_version_is_not_a_fault_of_this_one() -> None:
    started = state.started(os.getpid())
    of_another_version("x", keeper=os.getpid(), keeper_started=started, file={"name": "x", "later": 1})
    with pytest.raises(WorldError, match="another version"):
        Lab.open("x")


def test_a_lab_whose_processes_nobody_can_tell_is_not_forgotten() -> None:
    of_another_version("x")
    with pytest.raises(WorldError, match="version that made it"):
        state.remove("x")
    assert state.names() == ["x"]
