"""Guests as places of a lab: where their links are, the way into them, and their servers."""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab import hosts
from isthmus.lab.guests.channel import Channel
from isthmus.lab.layout import Layout, Machine, Paths
from isthmus.lab.openstack import keystone
from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.openstack.servers import Server, console
from isthmus.lab.state import State


class Guests:
    """What a Lab can do with its guests, all by the endpoint's name."""

    state: State
    layout: Layout
    paths: Paths

    @property
    def channels(self) -> dict[str, Channel]:
        """The way into each guest."""
        return {m.name: Channel(self.state, m.host, self.state.servers[m.name]) for m in self._guests()}

    @property
    def taps(self) -> dict[str, tuple[str, str]]:
        """(host, link) of the host's end of each guest's link: Nova names it after the port."""
        return {m.name: (m.host, f"tap{self.state.ports[m.name][:11]}") for m in self._guests()}

    def server(self, name: str) -> Server:
        """A guest's server, to stop, start, reboot or delete it. Raises WorldError where there is none."""
        machine = self._guest(name)
        (site,) = (s for s in self.layout.sites if s.name == machine.site)
        cloud = Cloud(self.state, self.paths, self.layout, site)
        return Server(
            name=name,
            id=self.state.servers[name],
            api=keystone.client(cloud, machine.tenant or "admin"),
            going=self.state.alive,
            prepare=lambda: self._begins_anew(machine),
            ready=lambda: self._answers(machine),
            forget=lambda: self._forget(name),
        )

    def console(self, name: str) -> Path:
        """The file of what a guest has written to its console. Raises WorldError where it is none."""
        return console(self.paths, self._guest(name), self.state.servers[name])

    def _begins_anew(self, machine: Machine) -> None:
        """A guest is about to boot: what it talked about before is over."""
        if self.state.datapath == "userspace":
            hosts.forget_connections(self.paths, machine.host, self.state.ports[machine.name])

    def _answers(self, machine: Machine) -> bool:
        """Whether a guest that was started answers; its link is a new one."""
        if not self.channels[machine.name].listens():
            return False
        if self.state.datapath == "userspace":
            hosts.widen(self.state, self.paths, machine.host)
        return True

    def _guest(self, name: str) -> Machine:
        for machine in self._guests():
            if machine.name == name:
                return machine
        raise WorldError(
            Problem("NoServer", f"the lab has no server {name!r}", remedy="`isthmus lab status` lists all")
        )

    def _guests(self) -> list[Machine]:
        if not self.state.servers:
            return []
        return [m for m in self.layout.machines if m.name in self.state.servers]

    def _forget(self, name: str) -> None:
        del self.state.servers[name]
        self.state.save()
