"""Sites of type `ovn`: an OVN deployment and nothing on top of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from isthmus.lab import foreign, hosts, ovn, rpc
from isthmus.lab.layout import Layout, Machine, SiteLayout
from isthmus.lab.processes import run
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon, State

if TYPE_CHECKING:
    from isthmus.lab.kinds import Site


class OvnKind:
    """See `kinds.Kind`."""

    def folders(self, lab: Site, site: SiteLayout) -> None:
        ovn.make_folders(lab.paths, site.name, lab.templates, ["OVN_Northbound", "OVN_Southbound"])
        for host in site.site.hosts:
            hosts.make_folders(lab.paths, host.name, lab.templates)

    def daemons(self, lab: Site, site: SiteLayout) -> dict[str, Daemon]:
        address = str(lab.layout.nodes[site.name].address.ip)
        found = {f"{site.name}/{k}": d for k, d in ovn.central(lab.paths, site, address).items()}
        if site.site.ovn_ic:
            found[f"{site.name}/ovn-ic"] = ovn.ovn_ic(lab.paths, lab.layout, site)
        for host in site.site.hosts:
            found |= {f"{host.name}/{k}": d for k, d in hosts.daemons(lab.paths, host.name).items()}
            if site.site.agents and host.gateway and not site.site.in_cluster:
                found[f"{host.name}/agent"] = hosts.agent(lab.paths, lab.layout, site, host)
        return found

    def start(self, lab: Site, site: SiteLayout, pool: ThreadPoolExecutor, fabric: Future[None]) -> list[Future[None]]:
        central = pool.submit(self._central, lab, site)
        work = [central]
        work += [pool.submit(self._host, lab, site, host, central) for host in site.site.hosts]
        work.append(pool.submit(self._rest, lab, site, fabric, central))
        return work

    def _central(self, lab: Site, site: SiteLayout) -> None:
        lab.start(f"{site.name}/sb")
        ovn.initialise_sb(lab.paths, site, str(lab.layout.nodes[site.name].address.ip))
        lab.start(f"{site.name}/nb")
        ovn.initialise_nb(lab.paths, site)

    def _rest(self, lab: Site, site: SiteLayout, fabric: Future[None], central: Future[None]) -> None:
        central.result()
        lab.start(f"{site.name}/northd")
        self.fill(lab, site)
        lab.start(f"{site.name}/front")
        fabric.result()
        if site.site.ovn_ic:
            lab.start(f"{site.name}/ovn-ic")

    def fill(self, lab: Site, site: SiteLayout) -> None:
        """What tenants have, where no other system makes it."""
        if parts := foreign.commands(site):
            run(lab.state, site.name, ["ovn-nbctl", *parts])

    def configure(self, lab: Site, site: SiteLayout, host: Host) -> None:
        """Fill the host's Open vSwitch database."""
        ports = {m.name: m.name for m in site.machines}
        hosts.configure(lab.paths, lab.layout, site, host, lab.datapath, ports)

    def _host(self, lab: Site, site: SiteLayout, host: Host, central: Future[None]) -> None:
        lab.start(f"{host.name}/ovsdb")
        self.configure(lab, site, host)
        lab.start(f"{host.name}/vswitchd")
        hosts.uplink(lab.state, lab.paths, lab.layout.nodes[host.name], lab.datapath)
        central.result()
        lab.start(f"{host.name}/controller")
        if f"{host.name}/agent" in lab.state.daemons:
            lab.start(f"{host.name}/agent")

    def wait(self, lab: Site, site: SiteLayout, deadline: float) -> None:
        """Every chassis has registered and has flows for what was written; every endpoint's port is up."""
        chassis = {hosts.chassis(h) for h in site.site.hosts}
        ports = {lab.state.ports.get(m.name, m.name) for m in site.machines if not m.external}
        southbound = ovn.socket_path(lab.paths, site.name, "OVN_Southbound")

        def bound(rows: dict[str, rpc.Rows]) -> bool:
            up = {r["logical_port"] for r in rows["Port_Binding"].values() if r["up"] is True}
            return chassis <= {r["name"] for r in rows["Chassis"].values()} and ports <= up

        def watch(tables: dict[str, list[str]], ready: Callable[[dict[str, rpc.Rows]], bool]) -> None:
            rpc.wait_until(southbound, "OVN_Southbound", tables, ready, max(0.1, deadline - time.monotonic()))

        watch({"Chassis": ["name"], "Port_Binding": ["logical_port", "up"]}, bound)
        # A port is up when its own host is ready for it; others may not know of it yet.
        northbound = ovn.socket_path(lab.paths, site.name, "OVN_Northbound")
        bump = {"op": "mutate", "table": "NB_Global", "where": [], "mutations": [["nb_cfg", "+=", 1]]}
        read = {"op": "select", "table": "NB_Global", "where": [], "columns": ["nb_cfg"]}
        number = rpc.transact(northbound, "OVN_Northbound", bump, read)[1]["rows"][0]["nb_cfg"]

        def settled(rows: dict[str, rpc.Rows]) -> bool:
            return all(r["nb_cfg"] >= number for r in rows["Chassis_Private"].values())

        watch({"Chassis_Private": ["nb_cfg"]}, settled)

    def port(self, state: State, layout: Layout, machine: Machine, make: bool) -> tuple[str, str]:
        if make:
            parts = [word for part in foreign.port(machine) for word in ("--", *part)]
            run(state, machine.site, ["ovn-nbctl", *parts])
        return machine.name, machine.mac

    def remove_port(self, state: State, layout: Layout, machine: Machine) -> None:
        run(state, machine.site, ["ovn-nbctl", "--if-exists", "lsp-del", machine.name])
