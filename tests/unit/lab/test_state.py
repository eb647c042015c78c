"""A lab's record on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isthmus.errors import IntentError, WorldError
from isthmus.lab import state
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


def test_a_missing_lab_is_an_error_with_a_remedy() -> None:
    with pytest.raises(WorldError, match="isthmus lab ls"):
        State.load("nothing")
