"""Endpoints that come and go while a lab is up: machines on switches that somebody made later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from ipaddress import ip_address, ip_interface
from typing import Any

from isthmus.agent.netlink import Netlink
from isthmus.errors import Problem, WorldError
from isthmus.lab import hosts, rpc
from isthmus.lab.build import ask_keeper
from isthmus.lab.kinds import KINDS
from isthmus.lab.layout import Layout, Machine, Paths, SiteLayout, mac
from isthmus.lab.ovn import socket_path
from isthmus.lab.processes import run
from isthmus.lab.state import State


class Plugs:
    """What a Lab can do with endpoints."""

    state: State
    layout: Layout

    @property
    def plugged(self) -> tuple[Machine, ...]:
        """Endpoints that were plugged in after the lab came up."""
        return tuple(_decode(each) for each in self.state.plugged)

    def plug(
        self,
        name: str,
        *,
        site: str,
        switch: str,
        host: str,
        addresses: Sequence[str],
        gateways: Sequence[str] = (),
        tenant: str | None = None,
        mtu: int = 1442,
        make_port: bool = True,
        security_groups: Sequence[str] | None = None,
        port_security: bool = True,
        timeout: float = 10.0,
    ) -> Machine:
        """Start an endpoint and return when its port is up. On openstack the tenant's member makes a Neutron port.

        addresses        each with its prefix length
        make_port        false: the Logical_Switch_Port `name` exists, and says the MAC address itself; on openstack the
                         Neutron port of that name, whose MAC address is taken
        security_groups  on openstack: names; default: the project's `default`
        port_security    on openstack: false: any address, and no security groups
        Raises WorldError, TimeoutError.
        """
        taken = {m.name for m in (*self.layout.machines, *self.plugged)}
        if name in taken or name in self.layout.nodes:
            raise WorldError(Problem("NameTaken", f"the lab has {name!r} already", remedy="choose another"))
        machine = Machine(
            name=name,
            site=site,
            tenant=tenant,
            router=None,
            switch=switch,
            host=host,
            addresses=tuple(ip_interface(a) for a in addresses),
            gateways=tuple(ip_address(g) for g in gateways),
            gateway_mac="",
            mac=mac(name),
            mtu=mtu,
            link=f"pl{self.state.serial}",
            external=False,
            listed=False,
            security_groups=None if security_groups is None else tuple(security_groups),
            port_security=port_security,
        )
        kind = KINDS[self.site_layout(site).site.type]
        port, address = kind.port(self.state, self.layout, machine, make_port)
        machine = replace(machine, mac=address)
        self.state.serial += 1
        self.state.plugged.append(_encode(machine))
        self.state.ports[name] = port
        self.state.save()
        self.state.namespaces |= ask_keeper(self.state, {"create": [{"name": name, "hostname": None, "run": None}]})
        self.state.save()
        hosts.endpoint(self.state, machine, self.state.datapath)
        self._connect(machine, port, timeout)
        return machine

    def _connect(self, machine: Machine, port: str, timeout: float) -> None:
        """Put the host's end of its link on the integration bridge as that port, and wait until OVN has it up."""
        options = ["--", "set", "Interface", machine.link, f"external_ids:iface-id={port}"]
        run(self.state, machine.host, ["ovs-vsctl", "add-port", "br-int", machine.link, *options])
        if self.state.datapath == "userspace":
            hosts.widen(self.state, Paths(self.state.directory), machine.host)
        rpc.wait_until(
            socket_path(Paths(self.state.directory), machine.site, "OVN_Southbound"),
            "OVN_Southbound",
            {"Port_Binding": ["logical_port", "up"]},
            lambda rows: any(r["logical_port"] == port and r["up"] is True for r in rows["Port_Binding"].values()),
            timeout,
        )

    def site_layout(self, name: str) -> SiteLayout:
        """Raises KeyError."""
        return {s.name: s for s in self.layout.sites}[name]

    def unplug(self, name: str, *, remove_port: bool = True) -> None:
        """Take a plugged endpoint away again."""
        machine = next(m for m in self.plugged if m.name == name)
        run(self.state, machine.host, ["ovs-vsctl", "--if-exists", "del-port", "br-int", machine.link])
        with Netlink(self.state.path(machine.host)) as host:
            host.delete(machine.link)
        if remove_port:
            KINDS[self.site_layout(machine.site).site.type].remove_port(self.state, self.layout, machine)
        self.state.ports.pop(name, None)
        self.state.plugged = [each for each in self.state.plugged if each["name"] != name]
        self.state.save()


def _encode(machine: Machine) -> dict[str, Any]:
    """As JSON can say it."""
    values = asdict(machine)
    for key in ("addresses", "gateways"):
        values[key] = [str(each) for each in values[key]]
    return values


def _decode(values: dict[str, Any]) -> Machine:
    return Machine(
        **values
        | {
            "addresses": tuple(map(ip_interface, values["addresses"])),
            "gateways": tuple(map(ip_address, values["gateways"])),
            "routes": (),
            "security_groups": None if (groups := values["security_groups"]) is None else tuple(groups),
        }
    )
