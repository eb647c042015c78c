"""What the kernel of a machine hears about a packet of its own that did not arrive."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import ip_address

from isthmus.agent.namespaces import inside
from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Pair

PORT = 33434
HEADERS = {4: 28, 6: 48}
# Linux' own numbers; the socket module has no names for all of them.
DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
_ERRORS = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
_HOPS = {4: (socket.IPPROTO_IP, 2), 6: (socket.IPPROTO_IPV6, 16)}
PATH_MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
DO, PROBE = 2, 3
FRAGMENTATION_NEEDED = {4: (3, 4), 6: (2, 0)}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}


@dataclass(frozen=True, slots=True)
class IcmpError:
    """What the kernel put on a socket's error queue: `info` is the MTU where there is one, `source` who said it."""

    type_and_code: tuple[int, int]
    info: int
    source: str


def mouth(lab: Lab, place: str, version: int, discover: int, hops: int = 64) -> socket.socket:
    """A UDP socket of a machine that never lets its packets be fragmented and hears ICMP errors."""
    with inside(lab.state.path(place)):
        made = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(*DISCOVER[version], discover)
    made.setsockopt(*_ERRORS[version], 1)
    made.setsockopt(*_HOPS[version], hops)
    return made


def error(heard: socket.socket, seconds: float = 1.0) -> IcmpError | None:
    """The first ICMP error that comes within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            _, ancillary, _, _ = heard.recvmsg(2048, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            time.sleep(0.005)
            continue
        data = ancillary[0][2]
        _, _, type_, code, _, info, _ = struct.unpack("=IBBBBII", data[:16])
        # Then follows who said it, as a struct sockaddr_in or sockaddr_in6.
        family = struct.unpack("=H", data[16:18])[0]
        source = data[20:24] if family == socket.AF_INET else data[24:40]
        return IcmpError((type_, code), info, str(ip_address(source)))
    return None


def answer(lab: Lab, pair: Pair, version: int, size: int, hops: int = 64, seconds: float = 1.0) -> IcmpError | None:
    """What comes back to one packet of `size` bytes, IP header included, to a port where nobody listens."""
    with mouth(lab, pair[0], version, PROBE, hops) as made:
        made.sendto(b"x" * (size - HEADERS[version]), (str(lab.machine(pair[1]).address(version)), PORT))
        return error(made, seconds)
