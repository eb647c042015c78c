"""Parts that are made once for a machine and used by every lab: a folder of each, whole or not there.

A folder is whole when the file `complete` is in it, which is written last. Whoever makes it holds a lock that ends
with its process, so two at once make it once, and what a killed one left is made anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus.errors import IntentError, Problem, WorldError

MARK = "complete"


def root() -> Path:
    """$ISTHMUS_CACHE or /var/cache/isthmus. Raises IntentError where nodes of a lab would not see it."""
    path = Path(os.environ.get("ISTHMUS_CACHE") or "/var/cache/isthmus").absolute()
    if path.is_relative_to("/run") or path.resolve().is_relative_to("/run"):
        remedy = "set ISTHMUS_CACHE to a directory outside /run: every node of a lab has a /run of its own"
        raise IntentError(Problem("BadCache", f"the cache is {path}", remedy=remedy))
    return path


def complete(path: Path) -> bool:
    return (path / MARK).exists()


def once(path: Path, make: Callable[[Path], None], going: Callable[[], bool]) -> None:
    """See that `path` is whole, by `make(path)` where it is not; what `make` gets is an empty folder.

    going  whether it is still wanted while another process makes it; WorldError when not
    """
    if complete(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_name(f"{path.name}.lock"), going):
        if complete(path):
            return
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(mode=0o700)
        make(path)
        (path / MARK).touch()


@contextmanager
def _locked(path: Path, going: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock file; it stays there, or two could hold locks of one name."""
    # Not passed on to children: what they leave running would hold it.
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not going():
                    raise WorldError(Problem("Interrupted", f"nobody waits for {path} any more")) from None
                time.sleep(0.05)
        yield
