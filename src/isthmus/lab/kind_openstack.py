"""Sites of type `openstack`: an OVN deployment with Keystone and Neutron on top, which make what tenants have."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from isthmus.lab import hosts
from isthmus.lab.kind_ovn import OvnKind
from isthmus.lab.layout import SiteLayout
from isthmus.lab.openstack import clouds, environment, mariadb, template
from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.openstack.parts import parts
from isthmus.lab.openstack.provision import Provision, plug_in
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon

if TYPE_CHECKING:
    from isthmus.lab.kinds import Site


class OpenstackKind(OvnKind):
    """See `kinds.Kind`."""

    def daemons(self, lab: Site, site: SiteLayout) -> dict[str, Daemon]:
        cloud = _cloud(lab, site)
        found = super().daemons(lab, site) | {f"{site.name}/mariadb": mariadb.daemon(cloud)}
        for part in parts(site.site):
            found |= {f"{site.name}/{short}": daemon for short, daemon in part.daemons(cloud).items()}
        return found

    def start(self, lab: Site, site: SiteLayout, pool: ThreadPoolExecutor, fabric: Future[None]) -> list[Future[None]]:
        cloud = _cloud(lab, site)
        data = pool.submit(self._data, lab, cloud)
        ovn = super().start(lab, site, pool, fabric)
        services = [
            pool.submit(self._service, lab, f"{site.name}/{short}", [data, *ovn])
            for part in parts(site.site)
            for short in part.daemons(cloud)
        ]
        return [data, *ovn, *services, pool.submit(self._provision, lab, cloud, services)]

    def fill(self, lab: Site, site: SiteLayout) -> None:
        """Nothing: all that is here is made through Neutron."""

    def configure(self, lab: Site, site: SiteLayout, host: Host) -> None:
        extra = {"ovn-cms-options": "enable-chassis-as-gw"} if host.gateway else {}
        hosts.configure(lab.paths, lab.layout, site, host, lab.datapath, {}, extra)

    def _data(self, lab: Site, cloud: Cloud) -> None:
        cloud.folder("tmp")
        cloud.folder("mysql")
        environment.install(cloud.line, lab.state, lab.progress)
        template.place(cloud, parts(cloud.site.site), lab.progress)
        clouds.write(cloud)
        clouds.tools(cloud, hosts.isthmus())

    def _service(self, lab: Site, key: str, needs: list[Future[None]]) -> None:
        for need in needs:
            need.result()
        lab.start(key)

    def _provision(self, lab: Site, cloud: Cloud, services: list[Future[None]]) -> None:
        for service in services:
            service.result()
        lab.progress(f"{cloud.name}: Keystone and Neutron answer")
        lab.state.ports |= Provision(cloud).everything()
        plug_in(lab.paths, list(cloud.site.machines), lab.state.ports)
        lab.progress(f"{cloud.name}: networks, routers and ports")


def _cloud(lab: Site, site: SiteLayout) -> Cloud:
    return Cloud(lab.state, lab.paths, lab.layout, site)
