"""Sites of type `openstack`: an OVN deployment with Keystone and Neutron on top, which make what tenants have."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from isthmus.lab import hosts, ovn, tools
from isthmus.lab.kind_ovn import OvnKind
from isthmus.lab.layout import Layout, Machine, Paths, SiteLayout
from isthmus.lab.openstack import clouds, compute, environment, keystone, mariadb, ports, template
from isthmus.lab.openstack.boot import Boot
from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.openstack.parts import parts
from isthmus.lab.openstack.provision import Provision
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon, State

if TYPE_CHECKING:
    from isthmus.lab.kinds import Site


LOOK = 0.1
"""Seconds between two questions."""
MANY = 20
"""From so many ports on Neutron is asked less often: to answer keeps it from knowing."""
STUCK = 30.0
"""Seconds in which no further port has become known: then none will."""


class OpenstackKind(OvnKind):
    """See `kinds.Kind`."""

    def daemons(self, lab: Site, site: SiteLayout) -> dict[str, Daemon]:
        cloud = _cloud(lab, site)
        found = super().daemons(lab, site) | {f"{site.name}/mariadb": mariadb.daemon(cloud)}
        for part in parts(site.site):
            found |= {f"{site.name}/{short}": daemon for short, daemon in part.daemons(cloud).items()}
        for host in site.site.hosts:
            if site.site.runs_guests(host):
                found |= {f"{host.name}/{short}": daemon for short, daemon in compute.daemons(cloud, host.name).items()}
        return found

    def start(self, lab: Site, site: SiteLayout, pool: ThreadPoolExecutor, fabric: Future[None]) -> list[Future[None]]:
        cloud = _cloud(lab, site)
        data = pool.submit(self._data, lab, cloud)
        ovn = super().start(lab, site, pool, fabric)
        services = {
            short: pool.submit(self._service, lab, f"{site.name}/{short}", [data, *ovn])
            for part in parts(site.site)
            for short in part.daemons(cloud)
        }
        provision = pool.submit(self._provision, lab, cloud, [services["keystone"], services["neutron"]])
        work = [data, *ovn, *services.values(), provision]
        return work + Boot(lab, cloud).submit(pool, data, services, provision) if site.site.cloud.nova else work

    def fill(self, lab: Site, site: SiteLayout) -> None:
        """Nothing: all that is here is made through Neutron."""

    def configure(self, lab: Site, site: SiteLayout, host: Host) -> None:
        extra = {"ovn-cms-options": "enable-chassis-as-gw"} if host.gateway else {}
        hosts.configure(lab.paths, lab.layout, site, host, lab.datapath, {}, extra)

    def wait(self, lab: Site, site: SiteLayout, deadline: float) -> None:
        """Neutron, too, knows that its ports are up, and has said so in OVN: nothing more comes of its own accord."""
        super().wait(lab, site, deadline)
        cloud = _cloud(lab, site)
        admin, northbound = keystone.client(cloud), ovn.socket_path(lab.paths, site.name, "OVN_Northbound")
        mine = {lab.state.ports[m.name] for m in site.machines if m.name in lab.state.ports}
        left, moved = len(mine) + 1, time.monotonic()
        while still := ports.unsettled(admin, northbound, mine):
            if len(still) < left:
                left, moved = len(still), time.monotonic()
            if time.monotonic() > max(deadline, moved + STUCK):
                raise TimeoutError(f"{site.name}: Neutron does not know that ports are up: {', '.join(sorted(still))}")
            time.sleep(LOOK if left < MANY else LOOK * 10)

    def _data(self, lab: Site, cloud: Cloud) -> None:
        cloud.folder("tmp")
        cloud.folder("mysql")
        environment.install(cloud.line, lab.state, lab.progress)
        template.place(cloud, parts(cloud.site.site), lab.progress)
        clouds.write(cloud)
        tools.offer(cloud, "openstack", cloud.program("openstack"))

    def _service(self, lab: Site, key: str, needs: list[Future[None]]) -> None:
        for need in needs:
            need.result()
        lab.start(key)

    def _provision(self, lab: Site, cloud: Cloud, apis: list[Future[None]]) -> None:
        for api in apis:
            api.result()
        lab.progress(f"{cloud.name}: Keystone and Neutron answer")
        lab.state.ports |= Provision(cloud).everything()
        ports.plug_in(lab.paths, [m for m in cloud.site.machines if not m.guest], lab.state.ports)
        lab.progress(f"{cloud.name}: networks, routers and ports")

    def port(self, state: State, layout: Layout, machine: Machine, make: bool) -> tuple[str, str]:
        cloud = _of(state, layout, machine)
        return (ports.make(cloud, machine), machine.mac) if make else ports.find(cloud, machine.name)

    def remove_port(self, state: State, layout: Layout, machine: Machine) -> None:
        ports.remove(_of(state, layout, machine), state.ports[machine.name])


def _of(state: State, layout: Layout, machine: Machine) -> Cloud:
    site = next(s for s in layout.sites if s.name == machine.site)
    return Cloud(state, Paths(state.directory), layout, site)


def _cloud(lab: Site, site: SiteLayout) -> Cloud:
    return Cloud(lab.state, lab.paths, lab.layout, site)
