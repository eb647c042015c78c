"""Running programs inside a lab's namespaces; stopping exactly the ones that are ours."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from isthmus.agent.namespaces import inside
from isthmus.errors import Problem, WorldError
from isthmus.lab import rpc
from isthmus.lab.state import Daemon, State


def enter(state: State, namespace: str, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in a namespace of the lab, in its PID namespace too."""
    return [
        "nsenter",
        f"--net={state.path(namespace, 'net')}",
        f"--mount={state.path(namespace, 'mnt')}",
        f"--uts={state.path(namespace, 'uts')}",
        f"--pid=/proc/{state.keeper}/ns/pid",
        "--",
        *argv,
    ]


def enter_light(state: State, namespace: str, argv: Sequence[str]) -> list[str]:
    """As `enter` for places that see the machine's own processes: the command line becomes `argv` itself.

    So whoever started it can signal it. It is found by its environment when the lab goes down.
    """
    places = [
        f"--{kind}={state.path(namespace, short)}" for kind, short in (("net", "net"), ("mount", "mnt"), ("uts", "uts"))
    ]
    return ["nsenter", *places, f"--wd={Path.cwd()}", "--", *argv]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without what would lead OVN's tools to another deployment."""
    extra = extra or {}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OVN_", "OVS_"))}
    path = kept.get("PATH", "")
    kept["PATH"] = ":".join(dict.fromkeys([*path.split(":"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]))
    return kept | dict(extra)


def run(
    state: State,
    namespace: str,
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises WorldError with its own words when it fails and `check`."""
    done = subprocess.run(
        enter(state, namespace, argv),
        capture_output=True,
        text=True,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        env=environment() if env is None else env,
        check=False,
    )
    if check and done.returncode != 0:
        raise WorldError(
            Problem(
                "CommandFailed",
                f"{Path(argv[0]).name} in {namespace} exited {done.returncode}: {done.stderr.strip()[-2000:]}",
                remedy=f"`isthmus lab logs --name {state.name}`",
            )
        )
    return done


_BACKGROUND = 'pid=$1 log=$2; shift 2; (echo "$(exec sh -c "echo \\$PPID")" >"$pid"; exec "$@" >>"$log" 2>&1) &'


def start(state: State, daemon: Daemon) -> None:
    """Start a daemon and return when it is ready. Raises WorldError with the end of its log when it is not in time."""
    pidfile = Path(daemon.pidfile)
    pidfile.unlink(missing_ok=True)
    log = log_file(state, daemon)
    before = log.stat().st_size if log.exists() else 0
    if daemon.foreground:
        stem = pidfile.stem
        wrapper = ["sh", "-c", _BACKGROUND, "sh", f"/run/{stem}.pid", f"/run/log/{stem}.log"]
        run(state, daemon.namespace, [*wrapper, *daemon.argv], env=environment(daemon.env))
    else:
        _detach(state, daemon)
    deadline = time.monotonic() + daemon.patience
    while not (pidfile.exists() and pidfile.stat().st_size):  # some write it after they went to the background
        if time.monotonic() > deadline or not state.alive():
            raise WorldError(Problem("DaemonFailed", f"{daemon.argv[0]} in {daemon.namespace} wrote no {pidfile}"))
        time.sleep(0.001)
    while not _ready(state, daemon, log, before):
        there = _directory(state, daemon)
        if not (there and there.exists()) or time.monotonic() > deadline or not state.alive():
            said = log.read_text(errors="replace").strip()[-2000:] if log.exists() else ""
            what = "is not ready" if there and there.exists() else "has ended"
            text = f"{Path(daemon.argv[0]).name} in {daemon.namespace} {what}: {said}"
            raise WorldError(Problem("DaemonFailed", text))
        time.sleep(0.02 if daemon.answers or daemon.says else 0.001)


def _detach(state: State, daemon: Daemon) -> None:
    """Run a daemon's command, which returns when it is in the background."""
    errors = Path(daemon.pidfile).with_suffix(".err")
    with errors.open("wb") as stderr:
        # Not a pipe: a daemon keeps what it inherits, and a pipe would never end.
        code = subprocess.run(
            enter(state, daemon.namespace, daemon.argv),
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            env=environment(daemon.env),
            check=False,
        ).returncode
    if code != 0:
        said = errors.read_text(errors="replace").strip()[-2000:]
        raise WorldError(Problem("DaemonFailed", f"{daemon.argv[0]} in {daemon.namespace} exited {code}: {said}"))


def _ready(state: State, daemon: Daemon, log: Path, before: int) -> bool:
    """Whether it is what it was started as, and works; its log was `before` bytes long."""
    fd = process(state, daemon)
    if fd is None:
        return False
    os.close(fd)
    return _answers(state, daemon) if daemon.answers else _says(log, daemon.says, before)


_NOT_YET = re.compile(rb"HTTP/\S+ (5|403)")
"""An answer of a service that is there, and says that it cannot work; or, an API server, that nobody may ask yet."""


@cache
def _anybody() -> ssl.SSLContext:
    """For whoever answers: nothing is told and nothing believed."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    return found


def _answers(state: State, daemon: Daemon) -> bool:
    """Whether somebody speaks at the daemon's door: at once (MariaDB greets), or when asked by HTTP."""
    try:
        if not daemon.answers.startswith(("http://", "https://")):
            inner = state.directory / "nodes" / daemon.namespace / daemon.answers.lstrip("/")
            with rpc.connect(inner, daemon.patience) as connection:
                return bool(connection.recv(1))
        place = urlsplit(daemon.answers)
        assert place.hostname
        with inside(state.path(daemon.namespace)):
            connection = socket.create_connection((place.hostname, place.port or 80), daemon.patience)
        if place.scheme == "https":
            connection = _anybody().wrap_socket(connection)
        with connection:
            connection.sendall(f"GET {place.path or '/'} HTTP/1.0\r\nHost: {place.netloc}\r\n\r\n".encode())
            said = connection.recv(64)
            return bool(said) and not _NOT_YET.match(said)
    except OSError:
        return False


def _says(log: Path, text: str, begin: int) -> bool:
    """Whether a log has the text, from byte `begin` on."""
    if not text:
        return True
    with log.open("rb") as file:
        file.seek(begin)
        return text.encode() in file.read()


def process(state: State, daemon: Daemon) -> int | None:
    """A descriptor of the daemon's process, to be closed by the caller; None when it does not run.

    The pidfile's number is valid in the lab's PID namespace only: the descriptor comes from that namespace's /proc,
    and the process is ours because nothing else lives there.
    """
    there = _directory(state, daemon)
    if there is None:
        return None
    try:
        fd = os.open(there, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        # OpenStack's programs write what they do behind their name.
        name = Path(f"/proc/self/fd/{fd}/comm").read_text(encoding="utf-8").strip().partition(":")[0]
    except OSError:  # it has just ended
        name = "-"
    if not (daemon.process or Path(daemon.argv[0]).name).startswith(name[:15]) or not _runs(fd):
        os.close(fd)
        return None
    return fd


def _directory(state: State, daemon: Daemon) -> Path | None:
    """Where the lab's /proc would have the process that the pidfile names."""
    try:
        return Path(f"/proc/{state.keeper}/root/proc/{int(Path(daemon.pidfile).read_text(encoding='utf-8'))}")
    except (OSError, ValueError):
        return None


def stop(state: State, daemon: Daemon, number: signal.Signals = signal.SIGTERM) -> None:
    """End a daemon and return when it is gone, within its patience; nothing to do when it does not run."""
    fd = process(state, daemon)
    if fd is None:
        return
    try:
        signal.pidfd_send_signal(fd, number)
        deadline = time.monotonic() + daemon.patience
        while _runs(fd):
            if time.monotonic() > deadline:
                raise WorldError(Problem("DaemonStuck", f"{daemon.argv[0]} in {daemon.namespace} does not end"))
            time.sleep(0.002)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)
    if number == signal.SIGKILL:
        Path(daemon.pidfile).unlink(missing_ok=True)


def send(state: State, daemon: Daemon, number: signal.Signals) -> None:
    """Send a signal to a daemon. Raises WorldError when it does not run."""
    fd = process(state, daemon)
    if fd is None:
        raise WorldError(Problem("NotRunning", f"{daemon.argv[0]} in {daemon.namespace} does not run"))
    try:
        signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def close(fd: int) -> None:
    """Close a descriptor of `process`."""
    os.close(fd)


def log_file(state: State, daemon: Daemon) -> Path:
    """The daemon's log as seen from outside."""
    for argument in daemon.argv:
        if argument.startswith("--log-file="):
            inner = argument.partition("=")[2]
            own = state.directory / "nodes" / daemon.namespace
            return own / inner.lstrip("/") if inner.startswith("/run/log/") else Path(inner)
    return state.directory / "nodes" / daemon.namespace / "run" / "log" / f"{Path(daemon.pidfile).stem}.log"


def _runs(fd: int) -> bool:
    """Whether the process of a /proc directory's descriptor is there, and more than a corpse.

    A first thread may be dead before the others: then they still hold what the process has.
    """
    try:
        stat = os.open("stat", os.O_RDONLY, dir_fd=fd)
    except OSError:
        return False
    try:
        dead = os.read(stat, 4096).rpartition(b")")[2].split()[0] in (b"Z", b"X")
        return not dead or len(list(Path(f"/proc/self/fd/{fd}/task").iterdir())) > 1
    except OSError:
        return False
    finally:
        os.close(stat)
