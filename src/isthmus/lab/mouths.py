"""Sending marked packets from endpoints."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from isthmus.agent.namespaces import inside
from isthmus.lab import packets
from isthmus.lab.packets import Mark, Protocol

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab


class Mouths:
    """Sends from endpoints as their own kernel would: routes, neighbours and addresses are the endpoint's."""

    def __init__(self, lab: Lab, protocol: Protocol, size: int = 0) -> None:
        self._lab = lab
        self._protocol = protocol
        self._size = size
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._sinks: dict[tuple[str, int], socket.socket] = {}

    def _socket(self, place: str, version: int) -> socket.socket:
        if (place, version) not in self._sockets:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            with inside(self._lab.state.path(place)):
                if self._protocol == "udp":
                    mouth = socket.socket(family, socket.SOCK_DGRAM)
                else:
                    number = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
                    mouth = socket.socket(family, socket.SOCK_RAW, number)
                    # It hears everything that it does not ask for: keep its queue small.
                    mouth.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            self._sockets[place, version] = mouth
        return self._sockets[place, version]

    def sink(self, place: str, version: int, port: int = packets.PORT) -> None:
        """Something that listens at the UDP port, so that the receiver's kernel answers no error."""
        if self._protocol != "udp" or (place, version) in self._sinks:
            return
        if channel := self._lab.channels.get(place):
            if port != packets.PORT:  # there its agent always listens
                channel.call("isthmus-listen", version=version, port=port)
            return
        with inside(self._lab.state.path(place)):
            sink = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if version == 6:
                sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sink.bind(("", port))
        self._sinks[place, version] = sink

    def say(self, source: str, address: packets.Address, mark: Mark, port: int = packets.PORT) -> bool:
        """Send one packet; False where the endpoint's own kernel has no way to it."""
        payload = mark.encode().ljust(self._size, b"\0")
        if self._protocol == "icmp":
            rest = struct.pack("!HH", mark.run & 0xFFFF, mark.sequence & 0xFFFF)
            kind = 8 if address.version == 4 else 128
            # The kernel fills in ICMPv6's checksum, not ICMP's.
            payload = packets.icmp(address, address, kind, 0, rest, payload)
            port = 0
        try:
            self._socket(source, address.version).sendto(payload, (str(address), port))
        except OSError:
            return False
        return True

    def close(self) -> None:
        for each in (*self._sockets.values(), *self._sinks.values()):
            each.close()
