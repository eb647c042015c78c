"""Bringing a lab up, as much at once as the order of things allows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from isthmus.errors import Problem, WorldError
from isthmus.lab import documents, foreign, hosts, ovn, rpc, state as states
from isthmus.lab.layout import Layout, Paths, SiteLayout
from isthmus.lab.netlink import Netlink, sysctl
from isthmus.lab.processes import run, start
from isthmus.lab.spec import Host
from isthmus.lab.state import State

KEEPER = Path(__file__).with_name("keeper.py")
Progress = Callable[[str], None]


class Builder:
    """Builds one lab; `state` is on disk before each thing it names exists."""

    def __init__(self, layout: Layout, state: State, progress: Progress) -> None:
        self.layout = layout
        self.state = state
        self.paths = Paths(state.directory)
        self.progress = progress
        self.templates = state.directory / "templates"
        self.datapath = state.datapath

    def build(self) -> None:
        """Everything. Raises WorldError, OSError, RpcError, TimeoutError."""
        with ThreadPoolExecutor(8) as pool:
            prepared = pool.submit(self.prepare)
            self.keep()
            self.underlay()
            prepared.result()
            self.progress("namespaces, keys")
            self.start_all(pool)
        self.wait()
        self.state.ready = True
        self.state.save()

    def prepare(self) -> None:
        """Folders, empty databases, keys, documents."""
        self.templates.mkdir()
        ovn.empty_databases(self.templates)
        from isthmus.lab.keys import make_keys

        for site in self.layout.sites:
            ovn.make_folders(self.paths, site.name, self.templates, ["OVN_Northbound", "OVN_Southbound"])
            for host in site.site.hosts:
                hosts.make_folders(self.paths, host.name, self.templates)
        ovn.make_folders(self.paths, "fabric", self.templates, ["OVN_IC_Northbound", "OVN_IC_Southbound"])
        for folder in (self.paths.tls, self.paths.operator / "run"):
            folder.mkdir(parents=True)
        make_keys(self.paths, self.layout)
        documents.write(self.paths, self.layout)

    def keep(self) -> None:
        """Start the keeper, then have it make all namespaces."""
        for node in self.layout.nodes:
            if node != "operator":
                self.paths.run(node).mkdir(parents=True, exist_ok=True)
        path = self.state.directory / "keeper.sock"
        maker = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert maker.stdin and maker.stdout
        with maker.stdin, maker.stdout:
            first = maker.stdout.readline()
            maker.wait()
            if not first:
                raise WorldError(Problem("NoKeeper", "namespaces cannot be made", remedy="run as root"))
            self.state.keeper = int(first)
            self.state.keeper_started = states.started(self.state.keeper)
            self.state.save()
            maker.stdin.write(b"go\n")
            maker.stdin.flush()
            if maker.stdout.readline() != b"ready\n":
                raise WorldError(Problem("NoKeeper", "the lab's first process died at once"))
        wanted: list[dict[str, str | None]] = [{"name": "underlay", "hostname": None, "run": None}]
        for node in self.layout.nodes:
            own = None if node == "operator" else str(self.paths.run(node))
            wanted.append({"name": node, "hostname": node, "run": own})
        wanted += [{"name": m.name, "hostname": None, "run": None} for m in self.layout.machines]
        self.state.namespaces = ask_keeper(self.state, {"create": wanted})
        self.state.save()

    def underlay(self) -> None:
        """A router with a link to every node, which drops packets that carry another node's source address."""
        state, file = self.state, self.layout.file
        here = state.path("underlay")
        sysctl(here, ipv4__ip_forward=1, ipv4__conf__default__rp_filter=int(file.underlay.filter))
        sysctl(here, ipv4__conf__all__rp_filter=int(file.underlay.filter), ipv6__conf__default__disable_ipv6=1)
        with Netlink(here) as router:
            for node in self.layout.nodes.values():
                there = state.path(node.name)
                sysctl(there, ipv6__conf__default__disable_ipv6=1, ipv4__conf__default__rp_filter=0)
                router.veth(
                    node.router_link, node.router_mac, "under", node.mac, there, file.underlay.mtu
                )
                router.address(node.router_link, node.router)
                router.neighbour(node.router_link, node.address.ip, node.mac)
                with Netlink(there) as own:
                    own.up("lo")
                    own.up("under")
                    if node.name not in self.hosts:
                        hosts.plain_uplink(own, node, "under")
                if self.datapath == "userspace" and node.name in self.hosts:
                    hosts.offloads_off(there, "under")
                    hosts.offloads_off(here, node.router_link)
        for machine in self.layout.machines:
            sysctl(
                state.path(machine.name),
                ipv6__conf__default__accept_ra=0,
                ipv6__conf__default__router_solicitations=0,
            )
            hosts.endpoint(state, machine, self.datapath)

    @property
    def hosts(self) -> set[str]:
        return {h.name for s in self.layout.sites for h in s.site.hosts}

    def start_all(self, pool: ThreadPoolExecutor) -> None:
        """Daemons; whoever needs another waits for it."""
        self.register()
        fabric = pool.submit(self.start_fabric)
        centrals = {s.name: pool.submit(self.start_central, s) for s in self.layout.sites}
        work: list[Future[None]] = [fabric, *centrals.values()]
        for site in self.layout.sites:
            for host in site.site.hosts:
                work.append(pool.submit(self.start_host, site, host, centrals[site.name]))
        for site in self.layout.sites:
            work.append(pool.submit(self.start_site, site, fabric, centrals[site.name]))
        for future in work:
            future.result()

    def register(self) -> None:
        """Put all daemons on record."""
        daemons = self.state.daemons
        for short, daemon in ovn.fabric(self.paths, self.address("fabric")).items():
            daemons[f"fabric/{short}"] = daemon
        for site in self.layout.sites:
            for short, daemon in ovn.central(self.paths, site, self.address(site.name)).items():
                daemons[f"{site.name}/{short}"] = daemon
            if site.site.ovn_ic:
                daemons[f"{site.name}/ovn-ic"] = ovn.ovn_ic(self.paths, self.layout, site)
            for host in site.site.hosts:
                for short, daemon in hosts.daemons(self.paths, host.name).items():
                    daemons[f"{host.name}/{short}"] = daemon
        self.state.save()

    def address(self, node: str) -> str:
        return str(self.layout.nodes[node].address.ip)

    def start(self, key: str) -> None:
        start(self.state, self.state.daemons[key])

    def start_fabric(self) -> None:
        self.start("fabric/ic-nb")
        self.start("fabric/ic-sb")

    def start_central(self, site: SiteLayout) -> None:
        self.start(f"{site.name}/sb")
        ovn.initialise_sb(self.paths, site, self.address(site.name))
        self.start(f"{site.name}/nb")
        ovn.initialise_nb(self.paths, site)

    def start_site(self, site: SiteLayout, fabric: Future[None], central: Future[None]) -> None:
        central.result()
        self.start(f"{site.name}/northd")
        if parts := foreign.commands(site):
            run(self.state, site.name, ["ovn-nbctl", *parts])
        self.start(f"{site.name}/front")
        fabric.result()
        if site.site.ovn_ic:
            self.start(f"{site.name}/ovn-ic")

    def start_host(self, site: SiteLayout, host: Host, central: Future[None]) -> None:
        self.start(f"{host.name}/ovsdb")
        hosts.configure(self.paths, self.layout, site, host, self.datapath)
        self.start(f"{host.name}/vswitchd")
        hosts.uplink(self.state, self.paths, self.layout.nodes[host.name], self.datapath)
        central.result()
        self.start(f"{host.name}/controller")

    def wait(self, timeout: float = 60.0) -> None:
        """Return when every chassis has registered and every endpoint's port is up."""
        deadline = time.monotonic() + timeout
        for site in self.layout.sites:
            chassis = {hosts.chassis(h) for h in site.site.hosts}
            ports = {m.name for m in site.machines if not m.external}

            def ready(
                rows: dict[str, rpc.Rows], chassis: set[str] = chassis, ports: set[str] = ports
            ) -> bool:
                up = {r["logical_port"] for r in rows["Port_Binding"].values() if r["up"] is True}
                return chassis <= {r["name"] for r in rows["Chassis"].values()} and ports <= up

            rpc.wait_until(
                ovn.socket_path(self.paths, site.name, "OVN_Southbound"),
                "OVN_Southbound",
                {"Chassis": ["name"], "Port_Binding": ["logical_port", "up"]},
                ready,
                max(0.1, deadline - time.monotonic()),
            )


def ask_keeper(state: State, request: dict[str, Any]) -> dict[str, dict[str, int]]:
    """One request to a lab's keeper. Raises WorldError with its words."""
    with socket.socket(socket.AF_UNIX) as connection:
        folder = os.open(state.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{folder}/keeper.sock")
        finally:
            os.close(folder)
        with connection.makefile("rwb") as stream:
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            answer = json.loads(stream.readline())
    if "error" in answer:
        raise WorldError(Problem("NoNamespace", str(answer["error"]), remedy="run as root"))
    return dict(answer)
