"""A host: its Open vSwitch, its ovn-controller, its uplink, and the endpoints on it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from isthmus.agent.netlink import Netlink, offloads_off, sysctl
from isthmus.lab import rpc
from isthmus.lab.layout import AGENT_PORT, SB_PORT, Layout, Machine, Node, Paths, SiteLayout
from isthmus.lab.ovn import QUIET
from isthmus.lab.pki import Authority, bundle
from isthmus.lab.processes import run
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon, State

DEFAULT = "0.0.0.0/0"
EXTERNAL = "external"
"""The host's link to the site's physical network."""
ROOM = Path(__file__).with_name("room.py")
PHYSICAL = "physical"
"""Name of the physical network of external switches."""


def daemons(paths: Paths, host: str) -> dict[str, Daemon]:
    run = paths.run(host)
    common = ("--log-file=/run/log/{}.log", *QUIET, "--detach", "--no-chdir")
    keys = (
        "--private-key=/run/pki/chassis-key.pem",
        "--certificate=/run/pki/chassis.pem",
        "--ca-cert=/run/pki/sb-ca.pem",
    )

    def daemon(program: str, folder: str, *arguments: str) -> Daemon:
        options = (
            f"--pidfile=/run/{folder}/{program}.pid",
            *(c.format(program) for c in common),
        )
        return Daemon(host, [program, *arguments, *options], str(run / folder / f"{program}.pid"))

    return {
        "ovsdb": daemon(
            "ovsdb-server",
            "openvswitch",
            "/run/openvswitch/conf.db",
            "--remote=punix:/run/openvswitch/db.sock",
        ),
        "vswitchd": daemon(
            "ovs-vswitchd",
            "openvswitch",
            "unix:/run/openvswitch/db.sock",
        ),
        "controller": daemon(
            "ovn-controller",
            "ovn",
            "unix:/run/openvswitch/db.sock",
            *keys,
        ),
    }


def agent(paths: Paths, layout: Layout, site: SiteLayout, host: Host) -> Daemon:
    """`isthmus agent` with the chassis' own key. It does not put itself into the background."""
    own, home = layout.nodes[host.name].address.ip, layout.nodes[site.name].address.ip
    return Daemon(
        host.name,
        [
            isthmus(),
            "agent",
            f"--chassis={chassis(host)}",
            f"--sb=ssl:{home}:{SB_PORT}",
            "--ca=/run/pki/sb-ca.pem",
            "--cert=/run/pki/chassis.pem",
            "--key=/run/pki/chassis-key.pem",
            "--ovs=unix:/run/openvswitch/db.sock",
            f"--listen={own}:{AGENT_PORT}",
        ],
        str(paths.run(host.name) / "agent.pid"),
        foreground=True,
    )


def isthmus() -> str:
    """The command that belongs to the interpreter that runs us."""
    beside = Path(sys.executable).with_name("isthmus")
    return str(beside) if beside.exists() else shutil.which("isthmus") or "isthmus"


def make_folders(paths: Paths, host: str, templates: Path) -> None:
    run = paths.run(host)
    for folder in ("ovn", "log", "pki", "openvswitch"):
        (run / folder).mkdir(parents=True)
    shutil.copyfile(templates / "Open_vSwitch", run / "openvswitch" / "conf.db")


def chassis(host: Host) -> str:
    return host.chassis or host.name


def host_pki(paths: Paths, host: Host, address: str, sb_ca: Authority) -> None:
    """The chassis' own key pair; its common name is the chassis' name, which is what RBAC compares."""
    pki = paths.run(host.name) / "pki"
    sb_ca.issue(pki, "chassis", common_name=chassis(host), names=(address, host.name))
    bundle(pki / "sb-ca.pem", sb_ca)


def configure(
    paths: Paths,
    layout: Layout,
    site: SiteLayout,
    host: Host,
    datapath: str,
    ports: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Fill the host's Open vSwitch database in one transaction, before ovs-vswitchd starts.

    ports  endpoint -> iface-id, of those who have one already
    extra  more external_ids of the host
    """
    node = layout.nodes[host.name]
    kind = "netdev" if datapath == "userspace" else "system"
    ids = {
        "system-id": chassis(host),
        "hostname": host.name,
        "ovn-remote": f"ssl:{layout.nodes[site.name].address.ip}:{SB_PORT}",
        "ovn-encap-type": "geneve",
        "ovn-encap-ip": str(node.address.ip),
        "ovn-bridge-datapath-type": kind,
        "ovn-remote-probe-interval": "60000",
        "ovn-openflow-probe-interval": "60",
    }
    if host.gateway:
        ids["ovn-is-interconn"] = "true"
    ids |= extra or {}
    mine = [m for m in site.machines if m.host == host.name and m.made]
    bridges = _Bridges(kind)
    bridges.add("br-int", {}, "secure", [(m.link, ports.get(m.name, "")) for m in mine if not m.external])
    external = [m for m in mine if m.external]
    if any(s.external for s in site.subnets):
        ids["ovn-bridge-mappings"] = f"{PHYSICAL}:br-ext"
        bridges.add("br-ext", {}, "standalone", [(EXTERNAL, ""), *((m.link, "") for m in external)])
    if datapath == "userspace":
        # The tunnel's address must be on a bridge that owns the uplink, or this datapath finds no way out.
        bridges.add("br-phy", {"hwaddr": node.mac}, "standalone", [("under", "")])
    rpc.transact(
        paths.run(host.name) / "openvswitch" / "db.sock",
        "Open_vSwitch",
        *bridges.operations,
        {
            "op": "insert",
            "table": "Open_vSwitch",
            "row": {
                "external_ids": rpc.ovsdb_map(ids),
                "bridges": ["set", bridges.names],
                "other_config": rpc.ovsdb_map({"n-handler-threads": "1", "n-revalidator-threads": "1"}),
                "next_cfg": 1,
            },
        },
    )


class _Bridges:
    """Rows of bridges with their ports and interfaces."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.operations: list[dict[str, Any]] = []
        self.names: list[list[str]] = []

    def add(self, name: str, config: dict[str, str], mode: str, links: list[tuple[str, str]]) -> None:
        """A bridge with links, each with its iface-id or ""."""
        ports = [self._port(name, "", "internal")] + [self._port(link, iface) for link, iface in links]
        self._insert(
            "Bridge",
            name,
            {
                "name": name,
                "datapath_type": self._kind,
                "fail_mode": mode,
                "ports": ["set", ports],
                "other_config": rpc.ovsdb_map(config),
            },
        )
        self.names.append(["named-uuid", _row("Bridge", name)])

    def _port(self, name: str, iface: str, kind: str = "") -> list[str]:
        ids = {"iface-id": iface} if iface else {}
        self._insert("Interface", name, {"name": name, "type": kind, "external_ids": rpc.ovsdb_map(ids)})
        interface = ["named-uuid", _row("Interface", name)]
        self._insert("Port", name, {"name": name, "interfaces": interface})
        return ["named-uuid", _row("Port", name)]

    def _insert(self, table: str, name: str, row: dict[str, Any]) -> None:
        self.operations.append({"op": "insert", "table": table, "uuid-name": _row(table, name), "row": row})


def _row(table: str, name: str) -> str:
    return f"{table}_{name.replace('-', '_')}"


def uplink(state: State, paths: Paths, node: Node, datapath: str) -> None:
    """Give the host its address, on the bridge or on the link itself, and its way to everybody else.

    The only neighbour is the underlay's router. It is pinned, and so is the way there: the userspace datapath drops the
    packet that makes it ask for a neighbour, and those that it sends while it reads the kernel's routes again, which it
    does whenever a link comes or goes.
    """
    link = "br-phy" if datapath == "userspace" else "under"
    with Netlink(state.path(node.name)) as netlink:
        netlink.wait(link, 10)
        plain_uplink(netlink, node, link)
        netlink.up("br-int")
    if datapath == "userspace":
        control = _control(paths, node.name, "openvswitch", "ovs-vswitchd")
        rpc.appctl(control, "tnl/neigh/aging", "3600")
        rpc.appctl(control, "tnl/neigh/set", "br-phy", str(node.router.ip), node.router_mac)
        rpc.appctl(control, "ovs/route/add", DEFAULT, "br-phy", str(node.router.ip))
        widen(state, paths, node.name)


def widen(state: State, paths: Paths, host: str) -> None:
    """Give the userspace datapath room for what comes while it is not scheduled (`room`)."""
    run(state, host, [sys.executable, "-I", "-S", str(ROOM), _pid(paths, host, "openvswitch", "ovs-vswitchd")])


def forget_connections(paths: Paths, host: str, port: str) -> None:
    """Have the userspace datapath forget the connections of a logical port that is about to begin anew.

    Open vSwitch 3.1.0 ends by an assertion (`conn_update_state`) when a connection that OVN committed with `nat` has
    expired, was not swept away yet, and gets a packet: as DHCP's answer does when a guest boots again a minute later.
    Expired ones are found by their zone only.
    """
    zones = rpc.appctl(_control(paths, host, "ovn", "ovn-controller"), "ct-zone-list")
    for name, _, zone in (line.rpartition(" ") for line in zones.splitlines()):
        if name == port:
            rpc.appctl(_control(paths, host, "openvswitch", "ovs-vswitchd"), "dpctl/flush-conntrack", f"zone={zone}")


def _control(paths: Paths, host: str, folder: str, daemon: str) -> Path:
    """The socket by which a daemon of a host takes commands."""
    return paths.run(host) / folder / f"{daemon}.{_pid(paths, host, folder, daemon)}.ctl"


def _pid(paths: Paths, host: str, folder: str, daemon: str) -> str:
    """Its process id in the lab's PID namespace."""
    return (paths.run(host) / folder / f"{daemon}.pid").read_text(encoding="utf-8").strip()


def plain_uplink(netlink: Netlink, node: Node, link: str) -> None:
    """Address, neighbour and default route on `link`."""
    netlink.up(link)
    netlink.address(link, node.address)
    netlink.neighbour(link, node.router.ip, node.router_mac)
    netlink.route(ip_network(DEFAULT), node.router.ip)


def endpoint(state: State, machine: Machine, datapath: str) -> None:
    """Give an endpoint its link to its host, addresses and default routes."""
    # Nobody on the link configures the endpoint, and its own address works at once.
    quiet = {f"ipv6__conf__default__{key}": 0 for key in ("accept_ra", "router_solicitations")}
    sysctl(state.path(machine.name), **quiet)
    with Netlink(state.path(machine.name)) as netlink:
        netlink.up("lo")
        netlink.veth(
            "eth0",
            machine.mac,
            machine.link,
            "0e" + machine.mac[2:],
            state.path(machine.host),
            machine.mtu,
        )
        with Netlink(state.path(machine.host)) as host:
            host.up(machine.link)
        if datapath == "userspace":
            offloads_off(state.path(machine.name), "eth0")
            offloads_off(state.path(machine.host), machine.link)
        for address in machine.addresses:
            netlink.address("eth0", address)
        for gateway in machine.gateways:
            netlink.route(ip_network(DEFAULT if gateway.version == 4 else "::/0"), gateway)
        for prefix, nexthop in machine.routes:
            netlink.route(prefix, nexthop)
