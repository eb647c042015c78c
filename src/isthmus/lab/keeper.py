"""The one process that holds a lab: the first of its own PID namespace, and the owner of all other namespaces.

Run as a file (`python -I -S keeper.py SOCKET`): standard library only, so that it stays small and starts fast.

When it dies, the kernel kills every process of the lab; with them go the namespaces, links and mounts. So a lab can
neither outlive nor lose anything, whatever happens to the command that made it.

Start: it prints its process id and waits for one line on stdin. Without that line (its maker died before it could
write the id down) it ends. Then it listens at SOCKET: one JSON request and one JSON answer a connection.

    {"create": [{"name": N, "hostname": H | null, "run": DIR | null, "own": DIR | absent, "cgroups": bool | absent}]}
    {"hold": [{"name": N, "pid": P}]}               the network namespace of a process of the lab, by its number there
      -> {N: {"net": fd, "mnt": fd, "uts": fd}}     fd numbers of this process, usable as /proc/<keeper>/fd/<fd>

With a hostname it is a host: own UTS and mount namespaces, DIR at /run, the lab's processes in /proc. A host without
a DIR (the operator) sees the machine's files and processes. With `own`, what it writes below PLACES lands in that DIR,
on top of what the machine has there, and it has no KVM. With `cgroups` it sees the machine's control groups.

Daemons that detach become its children. Of each that a signal ended, and of none else, it writes a line beside SOCKET:

    ENDED:  2026-01-31T12:00:00Z ovs-vswitchd 21 SIGSEGV
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time

NEWNS, NEWUTS, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT = 1, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
ENDED = "ended"
CGROUPS = "/sys/fs/cgroup"
PLACES = ("etc", "opt", "var/cache", "var/lib", "var/log")

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    texts = [text.encode() if text else None for text in (source, target, kind, options)]
    check(libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


def new_sys(cgroups: bool) -> None:
    """A /sys that shows this network namespace; where wanted, with the control groups of the one before."""
    before = os.open(CGROUPS, os.O_PATH | os.O_CLOEXEC) if cgroups else -1
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if cgroups:
        mount(f"/proc/self/fd/{before}", CGROUPS, None, MS_BIND | MS_REC)
        os.close(before)


def on_top(own: str) -> None:
    """Let what is written to PLACES land in `own`."""
    for place in PLACES:
        folder = os.path.join(own, place.replace("/", "-"))  # noqa: PTH118
        for each in (folder, f"{folder}.work"):
            os.makedirs(each, exist_ok=True)  # noqa: PTH103
        mount("overlay", f"/{place}", "overlay", 0, f"lowerdir=/{place},upperdir={folder},workdir={folder}.work")
    if os.path.exists("/dev/kvm"):  # noqa: PTH110
        # Not a device that fails: libvirt looks whether it could be opened, and asks QEMU again each time it could.
        nothing = os.path.join(own, "no-kvm")  # noqa: PTH118
        os.close(os.open(nothing, os.O_CREAT | os.O_CLOEXEC))
        mount(nothing, "/dev/kvm", None, MS_BIND)
        mount("none", "/dev/kvm", None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def open_namespace(kind: str) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)


class Keeper:
    def __init__(self) -> None:
        check(libc.unshare(NEWNS), "unshare")
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        self.outer = open_namespace("mnt")
        check(libc.unshare(NEWNS), "unshare")
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        self.home = {"mnt": open_namespace("mnt"), "uts": open_namespace("uts"), "net": open_namespace("net")}
        self.held: dict[str, dict[str, int]] = {}

    def go_home(self) -> None:
        for kind, flag in (("mnt", NEWNS), ("uts", NEWUTS), ("net", NEWNET)):
            check(libc.setns(self.home[kind], flag), f"setns {kind}")

    def create(
        self, name: str, hostname: str | None, run: str | None, own: str | None = None, cgroups: bool = False
    ) -> dict[str, int]:
        """The namespaces of one node."""
        if name in self.held:
            return self.held[name]
        if not run:
            check(libc.setns(self.outer, NEWNS), "setns mnt")
        check(libc.unshare(NEWNET | (NEWUTS | NEWNS if hostname else 0)), "unshare")
        try:
            if hostname:
                socket.sethostname(hostname)
            if run:
                new_sys(cgroups)
                mount(run, "/run", None, MS_BIND)
            if own:
                on_top(own)
            held = {"net": open_namespace("net")}
            for kind, shared in (("mnt", self.outer), ("uts", self.home["uts"])):
                held[kind] = open_namespace(kind) if hostname else shared
            self.held[name] = held
            return held
        finally:
            self.go_home()

    def answer(self, request: dict[str, list[dict[str, str | None]]]) -> dict[str, dict[str, int]]:
        made = {}
        for wanted in request.get("create", []):
            name = str(wanted["name"])
            made[name] = self.create(
                name, wanted.get("hostname"), wanted.get("run"), wanted.get("own"), bool(wanted.get("cgroups"))
            )
        for wanted in request.get("hold", []):
            made[str(wanted["name"])] = self.hold(str(wanted["name"]), int(str(wanted["pid"])))
        return made

    def hold(self, name: str, pid: int) -> dict[str, int]:
        """Somebody else's network namespace under a name, in place of what it had before."""
        net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        if name in self.held:
            os.close(self.held[name]["net"])
        self.held[name] = {"net": net, "mnt": self.outer, "uts": self.home["uts"]}
        return self.held[name]


def bury(record: int) -> None:
    """Wait for every child that has ended; write down which of them a signal ended."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        if found.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            with open(f"/proc/{found.si_pid}/comm", errors="replace") as comm:  # noqa: PTH123
                name = comm.read().strip()
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            os.write(record, f"{at} {name} {found.si_pid} {called(found.si_status)}\n".encode())
        os.waitpid(found.si_pid, 0)


def called(number: int) -> str:
    """A signal's name; of one in real time its number."""
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)


def serve(keeper: Keeper, listener: socket.socket, record: int) -> None:
    """Answer whoever connects, and bury who ends: one after the other, for each needs this process' own namespaces."""
    told, tell = socket.socketpair()
    for end in (told, tell):
        end.setblocking(False)
    signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.siginterrupt(signal.SIGCHLD, False)
    while True:
        bury(record)
        ready, _, _ = select.select([listener, told], [], [])
        if told in ready:
            told.recv(4096)
        if listener not in ready:
            continue
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            try:
                reply: object = keeper.answer(json.loads(stream.readline()))
            except (OSError, ValueError, KeyError) as error:
                reply = {"error": str(error)}
            stream.write(json.dumps(reply).encode() + b"\n")


def main(path: str) -> None:
    check(libc.unshare(NEWPID), "unshare")
    child = os.fork()
    if child:
        print(child, flush=True)  # noqa: T201
        os._exit(0)
    os.setsid()
    if not sys.stdin.readline():
        os._exit(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    keeper = Keeper()
    record = os.open(os.path.join(os.path.dirname(path), ENDED), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)  # noqa: PTH118, PTH120
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    print("ready", flush=True)  # noqa: T201
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir("/")
    serve(keeper, listener, record)


if __name__ == "__main__":
    main(sys.argv[1])
