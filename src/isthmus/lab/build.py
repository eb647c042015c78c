"""Bringing a lab up, as much at once as the order of things allows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from isthmus.agent.netlink import Netlink, offloads_off, sysctl
from isthmus.errors import Problem, WorldError
from isthmus.lab import documents, hosts, ovn
from isthmus.lab.keys import make_keys
from isthmus.lab.kinds import KINDS
from isthmus.lab.layout import Layout, Paths, SiteLayout, mac
from isthmus.lab.processes import start
from isthmus.lab.state import State, kill, started

KEEPER = Path(__file__).with_name("keeper.py")
Progress = Callable[[str], None]


class Builder:
    """Builds one lab; `state` is on disk before each thing it names exists."""

    def __init__(self, layout: Layout, state: State, progress: Progress) -> None:
        self.layout = layout
        self.state = state
        self.paths = Paths(state.directory)
        self._progress = progress
        self.templates = state.directory / "templates"
        self.datapath = state.datapath

    def build(self) -> None:
        """Everything. Raises WorldError, OSError, RpcError, TimeoutError."""
        pool = ThreadPoolExecutor(32)
        try:
            prepared = pool.submit(self.prepare)
            self.keep()
            self.underlay()
            prepared.result()
            self.progress("namespaces, keys")
            self.start_all(pool)
        except BaseException:
            # Work under way must not write to a directory that is about to go; without a keeper it ends at once.
            pool.shutdown(wait=False, cancel_futures=True)
            if self.state.alive():
                kill(self.state.keeper)
            raise
        finally:
            pool.shutdown()
        self.wait()
        self.state.ready = True
        self.state.save()

    def prepare(self) -> None:
        """Folders, empty databases, keys, documents."""
        self.templates.mkdir()
        ovn.empty_databases(self.templates)
        for site in self.layout.sites:
            KINDS[site.site.type].folders(self, site)
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
            self.state.keeper_started = started(self.state.keeper)
            self.state.save()
            maker.stdin.write(b"go\n")
            maker.stdin.flush()
            if maker.stdout.readline() != b"ready\n":
                raise WorldError(Problem("NoKeeper", "the lab's first process died at once"))
        wanted: list[dict[str, Any]] = [{"name": "underlay", "hostname": None, "run": None}]
        for node in self.layout.nodes:
            run = None if node == "operator" else str(self.paths.run(node))
            own = str(self.paths.own(node)) if node in self.layout.guest_hosts | self.layout.pod_hosts else None
            cgroups = node in self.layout.pod_hosts
            wanted.append({"name": node, "hostname": node, "run": run, "own": own, "cgroups": cgroups})
        spaces = [m.name for m in self.layout.machines if m.made]
        wanted += [{"name": name, "hostname": None, "run": None} for name in spaces]
        self.state.namespaces = ask_keeper(self.state, {"create": wanted})
        self.state.save()

    def underlay(self) -> None:
        """A router with a link to every node, which drops packets that carry another node's source address."""
        state, file = self.state, self.layout.file
        here = state.path("underlay")
        switching = {h.name for s in self.layout.sites for h in s.site.hosts}
        sysctl(here, ipv4__ip_forward=1, ipv6__conf__default__disable_ipv6=1)
        # Strict reverse path: a source that is not routed back to where it came from does not pass.
        sysctl(here, **{f"ipv4__conf__{c}__rp_filter": int(file.underlay.filter) for c in ("all", "default")})
        with Netlink(here) as router:
            for node in self.layout.nodes.values():
                there = state.path(node.name)
                sysctl(there, ipv6__conf__default__disable_ipv6=1)
                router.veth(node.router_link, node.router_mac, "under", node.mac, there, file.underlay.mtu)
                router.address(node.router_link, node.router)
                router.neighbour(node.router_link, node.address.ip, node.mac)
                with Netlink(there) as own:
                    own.up("lo")
                    own.up("under")
                    if node.name not in switching:
                        hosts.plain_uplink(own, node, "under")
                if self.datapath == "userspace" and node.name in switching:
                    offloads_off(there, "under")
                    offloads_off(here, node.router_link)
            for number, site in enumerate(self.layout.sites):
                if any(subnet.external for subnet in site.subnets):
                    self.physical(router, f"x{number}", site)
        for machine in self.layout.machines:
            if machine.made:
                hosts.endpoint(state, machine, self.datapath)

    def physical(self, router: Netlink, bridge: str, site: SiteLayout) -> None:
        """The site's physical network: a bridge that all its hosts have a link to."""
        router.bridge(bridge)
        for host in site.site.hosts:
            link, there = f"{bridge}-{self.layout.nodes[host.name].number}", self.state.path(host.name)
            router.veth(link, mac(link, host.name), hosts.EXTERNAL, mac(host.name, "external"), there, 1500)
            router.master(link, bridge)
            with Netlink(there) as own:
                own.up(hosts.EXTERNAL)
            if self.datapath == "userspace":
                offloads_off(there, hosts.EXTERNAL)
                offloads_off(self.state.path("underlay"), link)

    def start_all(self, pool: ThreadPoolExecutor) -> None:
        """Daemons; whoever needs another waits for it."""
        daemons = self.state.daemons
        for short, daemon in ovn.fabric(self.paths, self.address("fabric")).items():
            daemons[f"fabric/{short}"] = daemon
        for site in self.layout.sites:
            daemons.update(KINDS[site.site.type].daemons(self, site))
        self.state.save()
        fabric = pool.submit(self.start_fabric)
        work = [fabric]
        for site in self.layout.sites:
            work += KINDS[site.site.type].start(self, site, pool, fabric)
        for future in as_completed(work):
            future.result()  # the first that fails ends it all
        self.progress("daemons")

    def start_fabric(self) -> None:
        self.start("fabric/ic-nb")
        self.start("fabric/ic-sb")

    def progress(self, text: str) -> None:
        self._progress(text)

    def hold(self, processes: Mapping[str, int]) -> None:
        """Have the keeper hold network namespaces of processes of the lab, as places of these names."""
        wanted = [{"name": name, "pid": pid} for name, pid in processes.items()]
        self.state.namespaces |= ask_keeper(self.state, {"hold": wanted})
        self.state.save()

    def address(self, node: str) -> str:
        return str(self.layout.nodes[node].address.ip)

    def start(self, key: str) -> None:
        start(self.state, self.state.daemons[key])

    def wait(self, timeout: float = 60.0) -> None:
        """Return when every site is as its kind wants it. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        for site in self.layout.sites:
            KINDS[site.site.type].wait(self, site, deadline)


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
