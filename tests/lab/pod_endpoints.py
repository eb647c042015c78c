"""Pods as endpoints of a lab: its traffic is sent from them, and counted where it arrives."""

from __future__ import annotations

from ipaddress import ip_interface

from isthmus.lab import hosts
from isthmus.lab.build import ask_keeper
from isthmus.lab.kubernetes import provision
from isthmus.lab.kubernetes.cluster import Cluster
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine
from isthmus.lab.state import State

from .kubernetes_steps import get, ports


class PodLab(Lab):
    """A lab, with Pods that a test has made in it.

    pods  by the names of their ports
    """

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.pods: dict[str, Machine] = {}

    @property
    def machines(self) -> tuple[Machine, ...]:
        return (*super().machines, *self.pods.values())

    def take(self, space: str, name: str, site: str = "cluster") -> str:
        """Let a Pod that runs be an endpoint; its name. Again where it has begun anew, in another namespace."""
        found, layout = get(self, "pod", name, "-n", space), self.site_layout(site)
        process = provision.process(Cluster(self.state, self.paths, self.layout, layout), found)
        port = f"{name}.{space}"
        mac, *addresses = ports(self, site)[port]["addresses"]
        self.state.namespaces |= ask_keeper(self.state, {"hold": [{"name": port, "pid": process}]})
        self.pods[port] = Machine(
            name=port,
            site=site,
            tenant=space,
            router=None,
            switch=ports(self, site)[port]["subnet"],
            host=found["spec"]["nodeName"],
            addresses=tuple(map(ip_interface, addresses)),
            gateways=(),
            gateway_mac="",
            mac=mac,
            mtu=1442,
            link="",
            external=False,
            listed=False,
            pod=True,
        )
        if self.state.datapath == "userspace":
            hosts.widen(self.state, self.paths, self.pods[port].host)
        return port
