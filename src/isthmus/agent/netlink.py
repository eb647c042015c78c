"""Links, addresses and routes of a network namespace by rtnetlink: no `ip` process for each."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from isthmus.agent.namespaces import inside
from isthmus.model.facts import Interface
from isthmus.model.intent import Address, Prefix

HERE = "/proc/self/ns/net"
"""The network namespace that this process is in."""

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _NEWROUTE, _DELROUTE, _GETROUTE, _NEWNEIGH = 16, 17, 18, 20, 24, 25, 26, 28
_GETADDR, _NEWRULE, _DELRULE = 22, 32, 33
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE, _DUMP = 1, 4, 0x100, 0x200, 0x400, 0x300
_ERROR, _DONE = 2, 3
_IFF_UP = 1
_NESTED = 0x8000
_RTMGRP_LINK = 1


MAIN = 254
"""The routing table that everything is looked up in."""
TABLE = 0x6973
"""The one that routes of ours are in."""
OURS = 0x69
"""Routes of ours by their protocol (rtnetlink(7)): those of nobody else are listed, or removed."""
_ONLINK, _UNICAST, _UNREACHABLE = 4, 1, 7


@dataclass(frozen=True, slots=True)
class Way:
    """A route of ours: over `link` to the neighbour `via`, from the address `source`; nowhere without a link."""

    to: Prefix
    link: str = ""
    via: Address | None = None
    source: Address | None = None


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

    def _dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """Every object of a kind: the payloads of an answer in many parts. Raises OSError."""
        self._sequence += 1
        self._socket.send(struct.pack("=IHHII", 16 + len(payload), kind, _REQUEST | _DUMP, self._sequence, 0) + payload)
        while True:
            for message, sequence, body in _messages(self._socket.recv(1 << 18)):
                if sequence != self._sequence:
                    continue
                if message == _DONE:
                    return
                if message == _ERROR:
                    (number,) = struct.unpack_from("=i", body)
                    raise OSError(-number, os.strerror(-number))
                yield body

    def index(self, name: str) -> int:
        """Number of the link `name`. Raises OSError (ENODEV) without it."""
        return int(struct.unpack_from("=BxHi", self._link(name))[2])

    def looks(self, name: str) -> tuple[bool, str]:
        """Whether the link `name` is set up, and its MAC. Raises OSError (ENODEV) without it."""
        answer = self._link(name)
        flags = struct.unpack_from("=BxHiI", answer)[3]
        return bool(flags & _IFF_UP), dict(_attributes(answer[16:])).get(1, b"").hex(":")

    def _link(self, name: str) -> bytes:
        return self._request(_GETLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(3, _text(name)))

    def addresses(self, link: str) -> set[Interface]:
        """Of `link`. Raises OSError (ENODEV) without it."""
        wanted, found = self.index(link), set()
        for body in self._dump(_GETADDR, struct.pack("=BBBBi", 0, 0, 0, 0, 0)):
            _, length, _, _, index = struct.unpack_from("=BBBBi", body)
            words = dict(_attributes(body[8:]))
            # Of a point-to-point link the first would be the far end.
            if index == wanted and (packed := words.get(2) or words.get(1)):
                found.add(ip_interface((packed, length)))
        return found

    def gateways(self) -> set[tuple[Prefix, Address]]:
        """Routes of the main table that have a gateway: to where, by whom."""
        found: set[tuple[Prefix, Address]] = set()
        for body in self._dump(_GETROUTE, struct.pack("=BBBBBBBBI", 0, 0, 0, 0, 0, 0, 0, 0, 0)):
            family, length, _, _, table = struct.unpack_from("=BBBBB", body)
            words = dict(_attributes(body[12:]))
            if table == MAIN and 5 in words:
                to = words.get(1, bytes(4 if family == socket.AF_INET else 16))
                found.add((ip_network((to, length)), ip_address(words[5])))
        return found

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

    def address(self, link: str, address: Interface | Address) -> None:
        """Give `link` an address, with its network or alone; IPv6 without duplicate detection: it works at once."""
        nodad = 0x02 if address.version == 6 else 0
        interface = ip_interface(address)
        packed, length = interface.ip.packed, interface.network.prefixlen
        self._request(
            _NEWADDR,
            _CREATE | _REPLACE,
            struct.pack("=BBBBi", _family(address), length, nodad, 0, self.index(link))
            + _attribute(2, packed)
            + _attribute(1, packed),
        )

    def route(self, to: Prefix, via: Address) -> None:
        """A route in the main table."""
        self._request(
            _NEWROUTE,
            _CREATE | _REPLACE,
            struct.pack("=BBBBBBBBI", _family(via), to.prefixlen, 0, 0, 254, 4, 0, 1, 0)
            + _attribute(1, to.network_address.packed)
            + _attribute(5, via.packed),
        )

    def ways(self) -> set[Way]:
        """The routes of ours, of this process' own network namespace."""
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            for body in self._dump(_GETROUTE, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)):
                _, length, _, _, _, protocol, _, kind = struct.unpack_from("=BBBBBBBB", body)
                if protocol != OURS:
                    continue
                words = dict(_attributes(body[12:]))
                to = words.get(1, b"\0" * (4 if family == socket.AF_INET else 16))
                try:
                    link = socket.if_indextoname(*struct.unpack("=I", words[4])) if kind == _UNICAST else ""
                except OSError:  # the link has gone, and the route with it
                    continue
                via, source = (ip_address(words[n]) if n in words else None for n in (5, 7))
                found.add(Way(ip_network((to, length)), link, via, source))
        return found

    def way(self, way: Way, on: bool = True) -> None:
        """Make a route of ours, or remove it with on=False: it may be gone, as it is with its link. Raises OSError."""
        try:
            self._way(way, on)
        except OSError as error:
            if on or error.errno not in (errno.ENODEV, errno.ESRCH):
                raise

    def _way(self, way: Way, on: bool) -> None:
        address = way.to.network_address
        kind = _UNICAST if way.link else _UNREACHABLE
        words = _attribute(1, address.packed) + _attribute(15, struct.pack("=I", TABLE))
        if way.link:
            words += _attribute(4, struct.pack("=I", self.index(way.link)))
        for number, value in ((5, way.via), (7, way.source)):
            words += _attribute(number, value.packed) if value is not None else b""
        flags = _ONLINK if way.via is not None else 0
        head = (_family(address), way.to.prefixlen, 0, 0, 0, OURS, 0, kind, flags)
        request, how = (_NEWROUTE, _CREATE | _REPLACE) if on else (_DELROUTE, 0)
        self._request(request, how, struct.pack("=BBBBBBBBI", *head) + words)

    def rule(self, version: int, priority: int, table: int, longer_than: int | None = None, on: bool = True) -> None:
        """Have a table looked up, of its routes only those with prefixes longer than `longer_than`; done is done."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        words = _attribute(6, struct.pack("=I", priority)) + _attribute(15, struct.pack("=I", table))
        if longer_than is not None:
            words += _attribute(14, struct.pack("=I", longer_than))
        head = struct.pack("=BBBBBBBBI", family, 0, 0, 0, table if table < 256 else 0, 0, 0, 1, 0)
        try:
            self._request(_NEWRULE if on else _DELRULE, _CREATE | _EXCL if on else 0, head + words)
        except FileExistsError:
            pass
        except FileNotFoundError:
            if on:
                raise

    def neighbour(self, link: str, address: Address, mac: str) -> None:
        """A permanent neighbour entry."""
        self._request(
            _NEWNEIGH,
            _CREATE | _REPLACE,
            struct.pack("=BxxxiHBB", _family(address), self.index(link), 0x80, 0, 0)
            + _attribute(1, address.packed)
            + _attribute(2, _mac(mac)),
        )

    def drop(self, source: Prefix, destination: Prefix, on: bool = True) -> None:
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


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each attribute."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


class LinkEvents:
    """A socket that has something to read whenever a link of this network namespace changes; see `changed`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def changed(self) -> set[str] | None:
        """Names of links that have changed since the last call; None where some were missed."""
        names: set[str] = set()
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return names
            except OSError:  # ENOBUFS: more than it could hold
                return None
            for _, _, body in _messages(data):
                names |= {value.rstrip(b"\0").decode() for kind, value in _attributes(body[16:]) if kind == 3}


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


SETTINGS = "/host/proc/sys/net"
"""The machine's /proc/sys/net in a container, whose own cannot be written. Either shows the namespace of who looks."""


def sysctl(net: str, **values: int | str) -> None:
    """Set `net.…` settings inside the namespace: ipv4__ip_forward=1 is net.ipv4.ip_forward."""
    with inside(net):
        for name, value in values.items():
            with open(setting(name.replace("__", "/")), "w") as file:  # noqa: PTH123  (a plain write(2), no Path each)
                file.write(str(value))


def setting(name: str) -> str:
    """The file of a setting below `net.` where it can be written."""
    return f"{SETTINGS if os.path.isdir(SETTINGS) else '/proc/sys/net'}/{name}"  # noqa: PTH112  (as above)
