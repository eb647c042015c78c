"""Nova's share in bringing a site up: hosts that run guests, and the guests."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

from isthmus.lab import hosts
from isthmus.lab.guests.image import Image, image
from isthmus.lab.layout import Machine
from isthmus.lab.openstack import compute
from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.openstack.servers import Servers, console, until
from isthmus.lab.spec import Host

if TYPE_CHECKING:
    from isthmus.lab.kinds import Site


class Boot:
    """One site's. `submit` says what there is to do, in the order in which one waits for another."""

    def __init__(self, lab: Site, cloud: Cloud) -> None:
        self.lab, self.cloud = lab, cloud
        self.machines = [m for m in cloud.site.machines if m.guest]

    def submit(
        self, pool: ThreadPoolExecutor, data: Future[None], services: dict[str, Future[None]], provision: Future[None]
    ) -> list[Future[None]]:
        """All work. `services` by short name; `provision` is done when the endpoints have ports."""
        picture = pool.submit(image, self.lab.progress, self.lab.state.alive)
        started = {
            host.name: pool.submit(self._host, host, [data, services["rabbitmq"]])
            for host in self.cloud.site.site.hosts
            if self.cloud.site.site.runs_guests(host)
        }
        offer = pool.submit(self._offer, picture, [services[name] for name in ("keystone", "glance", "nova")])
        zones = pool.submit(self._zones, offer, started)
        return [*started.values(), zones, pool.submit(self._boot, offer, [zones, provision])]

    def _host(self, host: Host, needs: list[Future[None]]) -> None:
        compute.prepare(self.cloud, host)
        self.lab.start(f"{host.name}/virtlogd")
        self.lab.start(f"{host.name}/libvirtd")
        for need in needs:
            need.result()
        compute.configure(self.cloud, host)
        self.lab.start(f"{host.name}/nova-compute")

    def _offer(self, picture: Future[Image], needs: list[Future[None]]) -> Servers:
        for need in needs:
            need.result()
        servers = Servers(self.cloud)
        servers.upload(picture.result())
        servers.offer()
        return servers

    def _zones(self, offer: Future[Servers], started: dict[str, Future[None]]) -> None:
        for host in started.values():
            host.result()
        offer.result().zones(started, self.lab.state.alive)

    def _boot(self, offer: Future[Servers], needs: list[Future[None]]) -> None:
        for need in needs:
            need.result()
        servers = offer.result()
        self.lab.progress(f"{self.cloud.name}: Nova knows its hosts")
        state = self.lab.state
        made = servers.create(self.machines, state.ports)
        state.servers |= made
        state.save()
        self.lab.progress(f"{self.cloud.name}: {len(made)} servers asked for")
        looks = count()

        def up() -> bool:
            # Consoles cost nothing to look at; Nova is asked now and then, whether one has failed.
            if next(looks) % 8 == 7:
                servers.active(made)
            return all(self._up(m) for m in self.machines)

        until(up, f"{self.cloud.name}: all guests", state.alive)
        until(lambda: servers.active(made), f"{self.cloud.name}: all servers active", state.alive)
        if self.lab.datapath == "userspace":
            for host in {machine.host for machine in self.machines}:
                hosts.widen(state, self.lab.paths, host)
        self.lab.progress(f"{self.cloud.name}: all of them have booted")

    def _up(self, machine: Machine) -> bool:
        """Whether the guest has said that it has its address, and that its agent listens."""
        path = console(self.cloud.paths, machine, self.lab.state.servers[machine.name])
        said = path.read_text(errors="replace") if path.exists() else ""
        return all(f"isthmus guest: {what}" in said for what in ("eth0 ", "agent"))
