"""One trunk: its TAP device, and the probe ports behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from isthmus.agent.desired import Child
from isthmus.agent.packets import Echo, Reply, echo_request, parse_reply
from isthmus.agent.probe import Request
from isthmus.agent.tap import Tap, tap_name

READ_AT_ONCE = 512
"""Frames between two looks at everything else; a device's queue holds 500."""


class Line:
    """Sends requests and hands on replies until the device is taken away. Raises WorldError when there can be none.

    heard   called with the port's name and the reply
    broken  called once when the device was taken away
    """

    def __init__(
        self, trunk: str, chassis: str, identifier: int, heard: Callable[[str, Reply], None], broken: Callable[[], None]
    ) -> None:
        self.trunk = trunk
        self.tap = Tap(tap_name(trunk, chassis))
        self.alive = True
        self._identifier = identifier
        self._heard = heard
        self._broken = broken
        self._children: Mapping[str, Child] = {}
        self._by_tag: dict[int, str] = {}
        asyncio.get_running_loop().add_reader(self.tap.fd, self.drain)

    def carry(self, children: Mapping[str, Child]) -> None:
        """These are the ports behind the trunk from now on."""
        self._children = children
        self._by_tag = {child.tag: name for name, child in children.items()}

    def send(self, request: Request) -> None:
        child = self._children.get(request.probe)
        if child is None or not self.alive:
            return
        echo = Echo(
            tag=child.tag,
            source_mac=child.mac,
            router_mac=child.router_macs[request.target.address.version],
            source=child.source(request.target.address),
            target=request.target.address,
            identifier=self._identifier,
            sequence=request.sequence,
            cookie=request.cookie,
        )
        try:
            self.tap.write(echo_request(echo))
        except OSError:
            self._break()

    def drain(self) -> None:
        """Take what has arrived."""
        for _ in range(READ_AT_ONCE if self.alive else 0):
            try:
                frame = self.tap.read()
            except OSError:
                self._break()
                return
            if frame is None:
                return
            self._take(frame)

    def _take(self, frame: bytes) -> None:
        reply = parse_reply(frame)
        if reply is None or reply.identifier != self._identifier:
            return
        name = self._by_tag.get(reply.tag)
        if name is not None and reply.target in self._children[name].sources:
            self._heard(name, reply)

    def _break(self) -> None:
        self.close()
        self._broken()

    def close(self) -> None:
        """The device vanishes. Again: nothing."""
        if self.alive:
            self.alive = False
            asyncio.get_running_loop().remove_reader(self.tap.fd)
            self.tap.close()
