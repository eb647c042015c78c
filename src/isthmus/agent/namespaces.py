"""Entering Linux namespaces, by the C library: Python 3.11 has no `os.setns`."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

NEWNS = 0x00020000
NEWUTS = 0x04000000
NEWPID = 0x20000000
NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace that `fd` refers to."""
    _checked(_libc.setns(fd, kind), "setns")


@contextmanager
def inside(net: str) -> Iterator[None]:
    """The calling thread is in the network namespace at path `net`, then back where it was.

    Sockets made inside stay there. Other threads are not moved.
    """
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(net, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(back, NEWNET)
    finally:
        os.close(back)
