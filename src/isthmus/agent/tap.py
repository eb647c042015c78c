"""A TAP device that lives as long as we hold it open (Linux only)."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import socket
import struct
from pathlib import Path

from isthmus.agent.netlink import setting
from isthmus.errors import Problem, WorldError

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0002, 0x1000, 0x8000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ = struct.Struct("16sH22x")

FRAME = 2048
"""Bytes; the longest frame that is read. Longer ones are cut, and so are none of ours."""


def tap_name(trunk: str, chassis: str) -> str:
    """A name for the device of a trunk port: at most 15 bytes, and each time another one.

    Equal trunks of different chassis differ, for several of them may share a network namespace. The random end is
    there because ovs-vswitchd with its userspace datapath goes on with a dead device's socket when a port of the
    same name comes back in one transaction (ADR 0007).
    """
    digest = hashlib.sha256(f"{chassis}\0{trunk}".encode()).hexdigest()
    return f"ist{digest[:8]}{secrets.token_hex(2)}"


class Tap:
    """An open device, up, without IPv6 of the host's own. Raises WorldError when it cannot be made."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _cannot(name, error) from error
        try:
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL
            fcntl.ioctl(self.fd, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
            self._quiet()
            self._up()
        except OSError as error:
            self.close()
            raise _cannot(name, error) from error

    def _quiet(self) -> None:
        """Keep the host's own IPv6 (solicitations, reports) off the link; a host without IPv6 needs nothing."""
        with contextlib.suppress(OSError):
            Path(setting(f"ipv6/conf/{self.name}/disable_ipv6")).write_text("1")

    def _up(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ.pack(self.name.encode(), 0))
            flags = _IFREQ.unpack(answer)[1]
            fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(self.name.encode(), flags | _IFF_UP))

    def read(self) -> bytes | None:
        """The next frame, or None when none waits. Raises OSError when the device was taken away."""
        try:
            return os.read(self.fd, FRAME)
        except BlockingIOError:
            return None

    def write(self, frame: bytes) -> None:
        """Send; a full queue drops, as a network does. Raises OSError when the device was taken away."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.fd, frame)

    def close(self) -> None:
        """The device vanishes. Again: nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _cannot(name: str, error: OSError) -> WorldError:
    return WorldError(
        Problem(
            "NoTap",
            f"cannot make the TAP device {name}: {error.strerror or error}",
            remedy="run the agent with CAP_NET_ADMIN, and see that /dev/net/tun exists (modprobe tun)",
        )
    )
