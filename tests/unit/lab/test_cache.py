"""What is made once for a machine."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isthmus.errors import IntentError, WorldError
from isthmus.lab.cache import complete, once, root

MAKE = """
import sys, time
from pathlib import Path
from isthmus.lab.cache import once

def make(folder):
    with Path(sys.argv[1], "made").open("a") as file:
        file.write("x")
    time.sleep(0.2)
    (folder / "half").touch()
    if len(sys.argv) > 2:
        print("half", flush=True)
        time.sleep(1000)
    (folder / "whole").touch()

once(Path(sys.argv[1], "part"), make, lambda: True)
"""


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        argv = [sys.executable, "-c", MAKE, str(tmp_path)]
        assert list(pool.map(lambda _: subprocess.run(argv, check=True).returncode, range(3))) == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"
    assert complete(tmp_path / "part") and (tmp_path / "part" / "whole").exists()


def test_what_a_killed_one_left_is_made_anew(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", MAKE, str(tmp_path)]
    killed = subprocess.Popen([*argv, "wait"], stdout=subprocess.PIPE)
    with killed:
        assert killed.stdout is not None and killed.stdout.readline() == b"half\n"
        waiting = ThreadPoolExecutor(1).submit(subprocess.run, argv, check=True)
        assert not waiting.done() and not complete(tmp_path / "part")
        killed.kill()
    assert waiting.result().returncode == 0
    assert sorted(p.name for p in (tmp_path / "part").iterdir()) == ["complete", "half", "whole"]


def test_who_is_not_wanted_any_more_does_not_wait(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        with pytest.raises(WorldError, match="nobody waits"):
            once(tmp_path / "part", lambda _: None, lambda: False)

    once(tmp_path / "part", make, lambda: True)


def test_a_failure_leaves_nothing_whole(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        once(tmp_path / "part", fail, lambda: True)
    once(tmp_path / "part", lambda _: None, lambda: True)
    assert complete(tmp_path / "part")


def test_the_cache_is_not_where_nodes_have_their_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", "/run/isthmus-cache")
    with pytest.raises(IntentError, match="outside /run"):
        root()
