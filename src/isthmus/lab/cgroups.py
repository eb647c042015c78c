"""Control groups of a lab's hosts, one of version 1 in each hierarchy or one of version 2; removed with the lab."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
UNIFIED = "cgroup.controllers"
"""A file that only groups of version 2 have."""
COPIED = ("cpuset.cpus", "cpuset.mems")
"""What a new group of version 1 lacks, and cannot run anything without."""
PATIENCE = 10.0
"""Seconds that threads of processes that have ended may take to leave their group."""


def path(lab: str, host: str) -> str:
    """The host's group, as seen from the root of a hierarchy."""
    return f"/isthmus-lab-{lab}/{host}"


def make(lab: str, host: str) -> None:
    """The host's group in every hierarchy."""
    for hierarchy in _hierarchies():
        if (hierarchy / UNIFIED).exists() and hierarchy != ROOT:
            continue  # beside version 1 it has no controllers
        group = hierarchy
        for name in path(lab, host).strip("/").split("/"):
            above, group = group, group / name
            group.mkdir(exist_ok=True)
            _enable(above)
            for file in COPIED:
                if (above / file).exists() and not (hierarchy / UNIFIED).exists():
                    (group / file).write_text((above / file).read_text())


def remove(lab: str) -> None:
    """All groups of a lab whose processes are gone."""
    for hierarchy in _hierarchies():
        for group in _below(hierarchy / path(lab, "").strip("/")):
            with suppress(FileNotFoundError):
                _remove(group)


def clear(lab: str, host: str) -> None:
    """All that a host has made in its group, whose processes are gone."""
    for hierarchy in _hierarchies():
        top = hierarchy / path(lab, host).strip("/")
        for group in _below(top):
            if group != top:
                _remove(group)


def _remove(group: Path) -> None:
    """A process has ended when its first thread has; its others leave the group a moment later. Raises OSError."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _below(top: Path) -> Iterator[Path]:
    """A group and those in it, in the order of removal: files go with their group, and it when there are none below."""
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


def _hierarchies() -> Iterator[Path]:
    if (ROOT / UNIFIED).exists():
        yield ROOT
        return
    for entry in ROOT.iterdir() if ROOT.exists() else ():
        # Names of two controllers of one hierarchy are links to it.
        if entry.is_mount() and not entry.is_symlink():
            yield entry


def _enable(group: Path) -> None:
    """Version 2: let groups below have every controller that this one has."""
    if (group / UNIFIED).exists():
        known = (group / UNIFIED).read_text().split()
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in known))
