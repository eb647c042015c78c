"""What a lab leaves on disk: enough to find, use and remove it from any process.

A lab is one directory and one keeper process. The directory is made first; the keeper's id is written before the
keeper may do anything. So whatever exists is on record, and removing a lab is: kill the keeper, remove the directory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from isthmus.errors import IntentError, Problem, WorldError
from isthmus.lab import cgroups
from isthmus.lab.keeper import ENDED

MARK = "ISTHMUS_LAB"


def base() -> Path:
    """The directory of all labs: $ISTHMUS_LAB_DIR, $XDG_RUNTIME_DIR/isthmus-lab or /run/isthmus-lab."""
    if own := os.environ.get("ISTHMUS_LAB_DIR"):
        return Path(own)
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") / "isthmus-lab"


@dataclass(slots=True)
class Daemon:
    """A program of the lab.

    namespace   where it runs
    argv        as inside the namespace; it puts itself into the background when it is ready
    pidfile     as seen from outside; the number in it is of the lab's PID namespace
    foreground  it does not put itself into the background, and writes neither pidfile nor log itself
    answers     `http[s]://ADDRESS:PORT/…` or a unix socket's path inside the namespace: what speaks to whoever connects
                when the program is ready; "" where its pidfile says so
    says        what its log has when the program is ready, where nobody answers; "" where its pidfile says so
    patience    seconds until it must be ready
    env         beside what every program of the lab has in its environment
    process     what the kernel calls its process, where that is another name than the program's
    """

    namespace: str
    argv: list[str]
    pidfile: str
    foreground: bool = False
    answers: str = ""
    says: str = ""
    patience: float = 10.0
    env: dict[str, str] = field(default_factory=dict)
    process: str = ""


@dataclass(slots=True)
class State:
    """The registry of one lab."""

    name: str
    file: dict[str, Any] = field(default_factory=dict)
    """The lab file, by alias, as JSON."""
    keeper: int = 0
    keeper_started: int = 0
    namespaces: dict[str, dict[str, int]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    """Node -> its address on the underlay."""
    daemons: dict[str, Daemon] = field(default_factory=dict)
    datapath: str = ""
    ready: bool = False
    plugged: list[dict[str, Any]] = field(default_factory=list)
    """Endpoints that came later."""
    serial: int = 1
    """Number of the next of them."""
    ports: dict[str, str] = field(default_factory=dict)
    """Endpoint -> its Logical_Switch_Port, where somebody else names that: Neutron, by the port's id."""
    servers: dict[str, str] = field(default_factory=dict)
    """Endpoint that is a guest -> Nova's id of its server, which is libvirt's of its domain."""

    @property
    def mark(self) -> str:
        """In the environment of commands that run in the lab but outside its PID namespace; never used again."""
        return f"{self.name}:{self.keeper}:{self.keeper_started}"

    @property
    def directory(self) -> Path:
        return base() / self.name

    def create(self) -> None:
        """Make the lab's directory: from then on the name is taken. Raises WorldError where it is already."""
        try:
            while True:
                base().mkdir(parents=True, exist_ok=True, mode=0o755)
                try:
                    self.directory.mkdir(mode=0o700)
                    return
                except FileNotFoundError:  # the last lab went down just now, and its parent directory with it
                    continue
        except FileExistsError as error:
            raise WorldError(
                Problem(
                    "LabExists",
                    f"there is a lab {self.name!r}",
                    remedy=f"`isthmus lab down --name {self.name}`, or give another --name",
                )
            ) from error

    def save(self) -> None:
        """Replace the record on disk at once, never half."""
        temporary = self.directory / f"state.json.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(self.directory / "state.json")

    @classmethod
    def load(cls, name: str) -> State:
        """Raises IntentError where there is no such lab, WorldError where another version of us made it."""
        data = _record(name)
        try:
            daemons = {key: Daemon(**value) for key, value in data.pop("daemons").items()}
            return cls(**data, daemons=daemons)
        except (AttributeError, KeyError, TypeError) as error:
            raise other_version(name) from error

    @classmethod
    def processes(cls, name: str) -> State:
        """Only what tells its processes: every version writes that alike. Raises WorldError as `load` does."""
        data = _record(name)
        try:
            return cls(name, keeper=int(data["keeper"]), keeper_started=int(data["keeper_started"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WorldError(
                Problem(
                    "OtherVersion",
                    f"{base() / name / 'state.json'} names no keeper: lab {name!r} may still have processes",
                    remedy="remove it with the version that made it",
                )
            ) from error

    def alive(self) -> bool:
        """Whether its keeper runs."""
        return self.keeper > 0 and started(self.keeper) == self.keeper_started

    @property
    def ended(self) -> list[str]:
        """When which process of the lab was ended by which signal, oldest first: the keeper's record."""
        record = self.directory / ENDED
        return record.read_text(encoding="utf-8").splitlines() if record.exists() else []

    def path(self, namespace: str, kind: str = "net") -> str:
        """Where to open a namespace: `kind` is net, mnt or uts."""
        return f"/proc/{self.keeper}/fd/{self.namespaces[namespace][kind]}"

    def address(self, node: str) -> IPv4Address:
        return IPv4Address(self.addresses[node])


def other_version(name: str) -> WorldError:
    """A lab that we can remove, and nothing else."""
    text = f"lab {name!r} was made by another version of isthmus"
    return WorldError(Problem("OtherVersion", text, remedy=f"use that one, or `isthmus lab down --name {name}`"))


def _record(name: str) -> Any:
    """What is on disk. Raises IntentError where there is no such lab, or nothing is on record of it yet."""
    try:
        return json.loads((base() / checked(name) / "state.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise IntentError(
            Problem("NoLab", f"there is no lab {name!r}", remedy="`isthmus lab ls` lists labs")
        ) from error


def started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is none, or only its corpse."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def checked(name: str) -> str:
    """The name, where it can be a lab's: it becomes part of a path. Raises IntentError."""
    if len(name) > 63 or not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        remedy = "use a-z, 0-9 and - inside, 63 of them at most"
        raise IntentError(Problem("BadName", f"{name!r} can be no lab's name", remedy=remedy))
    return name


def names() -> list[str]:
    """All labs on record, also half made ones."""
    try:
        return sorted(p.name for p in base().iterdir() if p.is_dir())
    except FileNotFoundError:
        return []


def remove(name: str, timeout: float = 10.0) -> bool:
    """Remove a lab and all that belongs to it; False where there was nothing. Raises WorldError when it cannot."""
    directory = base() / checked(name)
    if not directory.is_dir():
        return False
    stop(name, timeout)
    cgroups.remove(name)
    while directory.is_dir():
        # Somebody else may be removing it as well.
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)
    with suppress(OSError):  # other labs are in it
        base().rmdir()
    return True


def stop(name: str, timeout: float = 10.0) -> None:
    """End all processes of a lab that are on record; its directory stays. Raises WorldError when it cannot."""
    try:
        state = State.processes(name)
    except IntentError:
        return  # before the first record nothing but the directory exists
    if not state.keeper:
        return
    if state.alive():
        kill(state.keeper, timeout)
    while found := list(_marked(state.mark)):  # again: one of them may have started another meanwhile
        for pid in found:
            kill(pid, timeout)


def _marked(mark: str) -> Iterator[int]:
    """Processes that carry the mark, but for this one."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found = wanted in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if found:
                yield int(entry.name)


def kill(pid: int, timeout: float = 10.0) -> None:
    """Kill a process (the keeper: and by that everything in its PID namespace), and wait for the end."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(fd)
    deadline = time.monotonic() + timeout
    while started(pid):
        if time.monotonic() > deadline:
            raise WorldError(Problem("LabStuck", f"process {pid} does not end", remedy="look at its state in /proc"))
        time.sleep(0.005)
