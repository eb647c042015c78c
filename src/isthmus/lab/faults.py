"""Breaking a lab on purpose, and mending it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from isthmus.agent.netlink import Netlink, sysctl
from isthmus.lab import processes
from isthmus.lab.layout import Layout
from isthmus.lab.state import Daemon, State


@dataclass(frozen=True, slots=True)
class DaemonHandle:
    """One daemon of a lab."""

    state: State
    key: str
    daemon: Daemon
    after: Callable[[], None] | None = None
    """What its machine does when it has started."""

    @property
    def running(self) -> bool:
        fd = processes.process(self.state, self.daemon)
        if fd is None:
            return False
        processes.close(fd)
        return True

    def start(self) -> None:
        """Start it; returns when it is ready. Nothing to do when it runs."""
        if self.running:
            return
        processes.start(self.state, self.daemon)
        if self.after:
            self.after()

    def stop(self) -> None:
        """Ask it to end and wait for that."""
        processes.stop(self.state, self.daemon)

    def kill(self) -> None:
        """kill -9."""
        processes.stop(self.state, self.daemon, signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop it in its tracks: it keeps its connections and locks and says nothing."""
        processes.send(self.state, self.daemon, signal.SIGSTOP)

    def resume(self) -> None:
        processes.send(self.state, self.daemon, signal.SIGCONT)

    @property
    def log(self) -> Path:
        """Its log file as seen from outside."""
        return processes.log_file(self.state, self.daemon)


class Faults:
    """What a Lab can do to its network."""

    state: State
    layout: Layout

    def unplug_uplink(self, node: str) -> None:
        """Set the underlay's end of the node's link down."""
        with Netlink(self.state.path("underlay")) as router:
            router.up(self.layout.nodes[node].router_link, up=False)

    def plug_uplink(self, node: str) -> None:
        """Set it up again, with the neighbour entry that the kernel forgot."""
        it = self.layout.nodes[node]
        with Netlink(self.state.path("underlay")) as router:
            router.up(it.router_link)
            router.neighbour(it.router_link, it.address.ip, it.mac)

    def part(self, one: str, other: str) -> None:
        """Drop all packets between two nodes, without a word to either."""
        self._between(one, other, on=True)

    def join(self, one: str, other: str) -> None:
        """Undo `part`."""
        self._between(one, other, on=False)

    def _between(self, one: str, other: str, on: bool) -> None:
        a, b = (ip_network(self.layout.nodes[n].address.ip) for n in (one, other))
        with Netlink(self.state.path("underlay")) as router:
            router.drop(a, b, on)
            router.drop(b, a, on)

    def filter(self, on: bool) -> None:
        """Whether the underlay drops packets that carry another host's source address."""
        where, value = self.state.path("underlay"), int(on)
        links = [node.router_link for node in self.layout.nodes.values()]
        sysctl(where, **{f"ipv4__conf__{link}__rp_filter": value for link in ("all", *links)})
