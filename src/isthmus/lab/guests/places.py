"""Guests as places of a lab: where their links are, and the way into them."""

from __future__ import annotations

from isthmus.lab.guests.channel import Channel
from isthmus.lab.layout import Layout, Machine
from isthmus.lab.state import State


class Guests:
    """What a Lab knows of its guests, all by the endpoint's name."""

    state: State
    layout: Layout

    @property
    def channels(self) -> dict[str, Channel]:
        """The way into each guest."""
        return {m.name: Channel(self.state, m.host, self.state.servers[m.name]) for m in self._guests()}

    @property
    def taps(self) -> dict[str, tuple[str, str]]:
        """(host, link) of the host's end of each guest's link: Nova names it after the port."""
        return {m.name: (m.host, f"tap{self.state.ports[m.name][:11]}") for m in self._guests()}

    def _guests(self) -> list[Machine]:
        if not self.state.servers:
            return []
        return [m for m in self.layout.machines if m.name in self.state.servers]
