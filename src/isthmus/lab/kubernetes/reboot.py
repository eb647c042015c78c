"""A node that loses its power and comes back: what was only in its memory is gone, what was on its disk is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab import cgroups
from isthmus.lab.lab import Lab
from isthmus.lab.processes import run

ORDER = ("ovsdb", "vswitchd", "controller", "agent", "containerd")
PATIENCE = 20.0
"""Seconds until all processes of a node have ended; until its kubelet runs again."""
FORGET = """
awk '$5 ~ "^/run/(netns|containerd|kubelet)/" { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l
rm -rf /run/netns /run/containerd/state /run/containerd/*.sock* /run/isthmus
for link in $(ip -o link show type veth | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/'); do
    case $link in under | external) ;; *) ip link delete "$link" ;; esac
done
nft flush ruleset
"""
"""What a container runtime keeps in memory: mounts and namespaces of Pods; links but for the machine's own; filters."""


def power_off(lab: Lab, host: str) -> None:
    """Kill all that runs on a node at once, its Pods too. Raises WorldError where something does not end."""
    deadline = time.monotonic() + PATIENCE
    while found := list(_processes(lab, host)):
        for each in found:
            with suppress(OSError):
                signal.pidfd_send_signal(each, signal.SIGKILL)
            os.close(each)
        if time.monotonic() > deadline:
            raise WorldError(Problem("NodeStuck", f"{len(found)} processes of {host} do not end"))
        time.sleep(0.01)
    cgroups.clear(lab.state.name, host)
    run(lab.state, host, ["sh", "-c", FORGET])


def power_on(lab: Lab, host: str) -> None:
    """Start its daemons, one after another as a boot does. Raises WorldError where one does not come up."""
    for short in ORDER:
        lab.host(host).daemon(short).start()
    kubelet, deadline = lab.host(host).daemon("kubelet"), time.monotonic() + PATIENCE
    while True:
        try:
            return kubelet.start()
        except WorldError:
            # It ends where containerd has not found its Pods yet; who supervises it starts it again.
            if time.monotonic() > deadline:
                raise


def _processes(lab: Lab, host: str) -> Iterator[int]:
    """Of the node: those that see its files, and those of its Pods; a descriptor each, which the caller closes."""
    proc = Path(f"/proc/{lab.state.keeper}/root/proc")
    home = Path(lab.state.path(host, "mnt")).stat().st_ino
    group = f"{cgroups.path(lab.state.name, host)}/"
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fd = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    if _lives(entry) and (_sees(entry) == home or group in (entry / "cgroup").read_text()):
                        yield os.dup(fd)
                finally:
                    os.close(fd)


def _sees(entry: Path) -> int:
    """Which mount namespace a process is in."""
    return (entry / "ns/mnt").stat().st_ino


def _lives(entry: Path) -> bool:
    """More than a corpse."""
    return (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
