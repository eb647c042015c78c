"""Links, addresses and routes of a network namespace by rtnetlink: no `ip` process for each."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from isthmus.agent.namespaces import inside

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH = 16, 17, 18, 20, 24, 25, 28
_NEWRULE, _DELRULE = 32, 33
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 1, 4, 0x100, 0x200, 0x400
_ERROR = 2
_IFF_UP = 1
_NESTED = 0x8000
_RTMGRP_LINK = 1


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def _family(address: Address) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class Netlink:
    """An rtnetlink socket inside the network namespace at path `net`; usable from any thread, one at a time."""

    def __init__(self, net: str) -> None:
        self.net = net
        with inside(net):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _request(self, kind: int, flags: int, payload: bytes) -> bytes:
        """Send one request; its answer's payload, empty for a plain acknowledgement. Raises OSError."""
        self._sequence += 1
        self._socket.send(
            struct.pack("=IHHII", 16 + len(payload), kind, flags | _REQUEST | _ACK, self._sequence, 0) + payload
        )
        answer = b""
        while True:
            for message, sequence, body in _messages(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if message != _ERROR:
                    answer = body
                    continue
                (number,) = struct.unpack_from("=i", body)
                if number:
                    raise OSError(-number, os.strerror(-number))
                return answer

    def index(self, name: str) -> int:
        """Number of the link `name`. Raises OSError (ENODEV) without it."""
        answer = self._request(_GETLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(3, _text(name)))
        return int(struct.unpack_from("=BxHi", answer)[2])

    def veth(self, name: str, mac: str, peer: str, peer_mac: str, peer_net: str, mtu: int) -> None:
        """A veth `name`, up, whose other end `peer`, down, is in the namespace at path `peer_net`."""
        fd = os.open(peer_net, os.O_RDONLY | os.O_CLOEXEC)
        try:
            other = (
                struct.pack("=BxHiII", 0, 0, 0, 0, 0)
                + _attribute(3, _text(peer))
                + _attribute(1, _mac(peer_mac))
                + _attribute(4, struct.pack("=I", mtu))
                + _attribute(28, struct.pack("=I", fd))
            )
            data = _attribute(1, _text("veth")) + _attribute(2 | _NESTED, _attribute(1 | _NESTED, other))
            self._request(
                _NEWLINK,
                _CREATE | _EXCL,
                struct.pack("=BxHiII", 0, 0, 0, _IFF_UP, _IFF_UP)
                + _attribute(3, _text(name))
                + _attribute(1, _mac(mac))
                + _attribute(4, struct.pack("=I", mtu))
                + _attribute(18 | _NESTED, data),
            )
        finally:
            os.close(fd)

    def bridge(self, name: str) -> None:
        """A bridge, up, that forwards everything."""
        self._request(
            _NEWLINK,
            _CREATE | _EXCL,
            struct.pack("=BxHiII", 0, 0, 0, _IFF_UP, _IFF_UP)
            + _attribute(3, _text(name))
            + _attribute(18 | _NESTED, _attribute(1, _text("bridge"))),
        )

    def master(self, name: str, bridge: str) -> None:
        """Make the link `name` a port of a bridge."""
        self._request(
            _NEWLINK,
            0,
            struct.pack("=BxHiII", 0, 0, 0, 0, 0)
            + _attribute(3, _text(name))
            + _attribute(10, struct.pack("=I", self.index(bridge))),
        )

    def up(self, name: str, up: bool = True) -> None:
        """Set the link up or down."""
        self._request(
            _NEWLINK,
            0,
            struct.pack("=BxHiII", 0, 0, 0, _IFF_UP if up else 0, _IFF_UP) + _attribute(3, _text(name)),
        )

    def delete(self, name: str) -> None:
        self._request(_DELLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(3, _text(name)))

    def address(self, link: str, address: Interface) -> None:
        """Give `link` an address; IPv6 without duplicate detection, so that it works at once."""
        nodad = 0x02 if address.version == 6 else 0
        packed = address.ip.packed
        self._request(
            _NEWADDR,
            _CREATE | _REPLACE,
            struct.pack("=BBBBi", _family(address.ip), address.network.prefixlen, nodad, 0, self.index(link))
            + _attribute(2, packed)
            + _attribute(1, packed),
        )

    def route(self, to: Network, via: Address) -> None:
        """A route in the main table."""
        self._request(
            _NEWROUTE,
            _CREATE | _REPLACE,
            struct.pack("=BBBBBBBBI", _family(via), to.prefixlen, 0, 0, 254, 4, 0, 1, 0)
            + _attribute(1, to.network_address.packed)
            + _attribute(5, via.packed),
        )

    def neighbour(self, link: str, address: Address, mac: str) -> None:
        """A permanent neighbour entry."""
        self._request(
            _NEWNEIGH,
            _CREATE | _REPLACE,
            struct.pack("=BxxxiHBB", _family(address), self.index(link), 0x80, 0, 0)
            + _attribute(1, address.packed)
            + _attribute(2, _mac(mac)),
        )

    def drop(self, source: Network, destination: Network, on: bool = True) -> None:
        """Silently drop packets that are routed here from `source` to `destination`, until called with on=False."""
        self._request(
            _NEWRULE if on else _DELRULE,
            _CREATE | _EXCL if on else 0,
            struct.pack(
                "=BBBBBBBBI",
                _family(source.network_address),
                destination.prefixlen,
                source.prefixlen,
                0,
                0,
                0,
                0,
                6,
                0,
            )
            + _attribute(1, destination.network_address.packed)
            + _attribute(2, source.network_address.packed),
        )

    def wait(self, name: str, timeout: float) -> None:
        """Return when the link `name` exists. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        with inside(self.net):
            watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        with watch:
            watch.bind((0, _RTMGRP_LINK))
            while True:
                try:
                    self.index(name)
                    return
                except OSError as error:
                    if (left := deadline - time.monotonic()) <= 0:
                        raise TimeoutError(f"no link {name}") from error
                if select.select([watch], [], [], left)[0]:
                    watch.recv(65536)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, sequence, payload) of each message."""
    while len(data) >= 16:
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
        yield kind, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]


_SIOCETHTOOL = 0x8946
_CHECKSUM_RX, _CHECKSUM_TX, _SCATTER, _SEGMENT, _GSO, _GRO = 0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C


def offloads_off(net: str, link: str) -> None:
    """No checksum or segmentation offload on `link`: OVS's userspace datapath would forward what nobody completes."""
    with inside(net):
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    with control:
        for command in (_CHECKSUM_TX, _SEGMENT, _GSO, _GRO, _SCATTER):
            value = array.array("I", [command, 0])
            request = struct.pack("16sP16x", link.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(control, _SIOCETHTOOL, request)
            except OSError:  # an offload that this kernel's veth does not know is off already
                continue


def sysctl(net: str, **values: int | str) -> None:
    """Set `net.…` settings inside the namespace: ipv4__ip_forward=1 is net.ipv4.ip_forward."""
    with inside(net):
        for name, value in values.items():
            path = "/proc/sys/net/" + name.replace("__", "/")
            with open(path, "w") as file:  # noqa: PTH123  (a plain write(2), no Path object each)
                file.write(str(value))
