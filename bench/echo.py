"""Round trips from where it runs: `python echo.py ADDRESS` prints microseconds."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from ipaddress import ip_address
from statistics import median

from isthmus.agent.namespaces import inside
from isthmus.lab.packets import icmp

ECHOES = 200
HERE = "/proc/self/ns/net"


def round_trip(net: str, address: str) -> float:
    """Microseconds from the network namespace at path `net`: the median of many echoes, one after the other."""
    with inside(net):
        wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    times = []
    with wire:
        wire.settimeout(1.0)
        number = os.getpid() & 0xFFFF
        for sequence in range(ECHOES):
            rest = struct.pack("!HH", number, sequence)
            begin = time.perf_counter()
            wire.sendto(icmp(ip_address(address), ip_address(address), 8, 0, rest, bytes(56)), (address, 0))
            while True:
                answer = wire.recv(2048)
                if answer[20] == 0 and answer[24:28] == rest:
                    break
            times.append(time.perf_counter() - begin)
    return median(times) * 1e6


if __name__ == "__main__":
    print(round_trip(HERE, sys.argv[1]))
