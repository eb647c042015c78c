"""Give a process' packet sockets more room.

Open vSwitch's userspace datapath reads every interface by a packet socket with the system's default buffer, which a
hundred small packets or two fill. Where processors are few it is now and then not scheduled for that long, and
packets are lost that neither OVN nor Isthmus lost. The default is the machine's: so sockets are widened one by one,
from outside.

Run as a file in the lab's PID namespace (`python -I -S room.py PID`): standard library only.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

PIDFD_GETFD = 438
"""Number of the system call, on every architecture (Linux 5.6)."""
RCVBUFFORCE = 33
BYTES = 8 << 20


def sockets(pid: int) -> Iterator[socket.socket]:
    """Copies of a process' sockets, closed when the next one is asked for."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    process = os.pidfd_open(pid)
    try:
        for entry in sorted(Path(f"/proc/{pid}/fd").iterdir()):
            try:
                if not str(entry.readlink()).startswith("socket:"):
                    continue
            except FileNotFoundError:
                continue  # closed since the folder was read
            copy = call(PIDFD_GETFD, process, int(entry.name), 0)
            if copy >= 0:
                with socket.socket(fileno=copy) as found:
                    yield found
    finally:
        os.close(process)


def main(pid: int) -> None:
    for each in sockets(pid):
        if each.family == socket.AF_PACKET:
            each.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, BYTES)


if __name__ == "__main__":
    main(int(sys.argv[1]))
