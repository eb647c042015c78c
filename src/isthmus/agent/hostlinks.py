"""The node's own way to Pods, kept as `hostpath` says: ports of the bridge, addresses, routes, packet filter.

It outlives the agent: what stands is read again, and only what differs is touched.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

from isthmus.agent import vswitch
from isthmus.agent.hostpath import Door, HostPath, host_path
from isthmus.agent.netlink import HERE, MAIN, TABLE, LinkEvents, Netlink, sysctl
from isthmus.backends.ovsdb.client import Client
from isthmus.errors import Problem, WorldError
from isthmus.model.rows import Record, mapping

DOOR, ADDRESSES = "isthmus:door", "isthmus:addresses"
"""external_ids of an Interface of ours: the switch port that it is, and what it was made with."""
BEFORE_OURS, BEFORE_MAIN = 32764, 32765
"""Priorities of rules: the main table's own routes but the default ones, our table, and then whatever there was."""


class HostLinks:
    """Of one node; `wake` is called when a door of it has changed."""

    def __init__(self, ovs: Client, wake: Callable[[], None]) -> None:
        self._ovs, self._wake = ovs, wake
        self._events = LinkEvents()
        asyncio.get_running_loop().add_reader(self._events, self._link_changed)
        self._stale = True
        self._wanted = HostPath()
        self._done: HostPath | None = None
        self._rules = ""
        self._opened: dict[str, tuple[int, Door]] = {}
        """Device -> the kernel's number for it, and what it was made to be."""

    def look(self) -> None:
        """A port of this chassis has changed."""
        self._stale = True

    def close(self) -> None:
        """Everything stays as it is."""
        asyncio.get_running_loop().remove_reader(self._events)
        self._events.close()

    def _link_changed(self) -> None:
        names = self._events.changed()
        if names is None or names & {door.device for door in self._wanted.doors}:
            # One that comes back under its old name has nothing of what it had.
            self._stale, self._done = True, None
            self._wake()

    async def hold(self, sb: Client, bridge: str, names: frozenset[str]) -> None:
        """Make it so. Raises WorldError when something of it cannot be done now."""
        if not self._stale or not self._ovs.synced:
            return
        self._stale = False
        self._wanted = host_path(sb.rows["Port_Binding"].values(), names)
        if self._wanted == self._done:
            return
        self._done = self._wanted
        try:
            await self._ports(bridge)
            await asyncio.to_thread(self._configure)
        except OSError as error:
            self._stale, self._done = True, None
            said = f"the node's way to Pods cannot be made: {error}"
            remedy = "run the agent as root, with nftables installed"
            raise WorldError(Problem("NoHostPath", said, remedy=remedy)) from error
        except WorldError:
            self._stale, self._done = True, None
            raise

    async def _ports(self, bridge: str) -> None:
        """Exactly the doors as internal ports of the bridge."""
        home = vswitch.find_bridge(self._ovs, bridge)
        wanted = {door.device: door for door in self._wanted.doors}
        there = {str(r["name"]): r for r in self._ovs.rows["Interface"].values() if DOOR in mapping(r["external_ids"])}
        right = {name for name, row in there.items() if name in wanted and _is(row, wanted[name])}
        gone = {mapping(there[name]["external_ids"])[DOOR] for name in there.keys() - right}
        operations = vswitch.unplug(self._ovs, lambda ids: ids.get(DOOR) in gone)
        if home is not None:
            for number, name in enumerate(sorted(wanted.keys() - right)):
                door = wanted[name]
                marks = {"iface-id": door.port, DOOR: door.port, ADDRESSES: _written(door)}
                more = {"type": "internal", "mac": door.mac, "mtu_request": door.mtu}
                operations += vswitch.add(home, name, marks, number, more)
        if operations:
            await self._ovs.transact(operations, "isthmus agent")

    def _configure(self) -> None:
        """The kernel's side, of the doors that are there already; of the others when the kernel says so."""
        wanted = self._wanted
        if wanted.doors and wanted.rules != self._rules:
            # Before anything that it stops.
            _nft(wanted.rules)
            self._rules = wanted.rules
        with Netlink(HERE) as node:
            ready = {door.device for door in wanted.doors if self._open(node, door)}
            routes = {way for way in wanted.routes if not way.link or way.link in ready}
            for way in (there := node.ways()) - routes:
                node.way(way, on=False)
            for way in routes - there:
                node.way(way)
            if wanted.doors:
                for version in (4, 6):
                    node.rule(version, BEFORE_OURS, MAIN, longer_than=0)
                    node.rule(version, BEFORE_MAIN, TABLE)
        if 4 in wanted.forward:
            sysctl(HERE, ipv4__ip_forward=1)
        if 6 in wanted.forward:
            sysctl(HERE, ipv6__conf__all__forwarding=1)

    def _open(self, node: Netlink, door: Door) -> bool:
        """Its addresses, and up; False while the kernel does not have it."""
        try:
            index = node.index(door.device)
        except OSError:
            return False
        if self._opened.get(door.device) != (index, door):
            # Loose: what Pods of the default VPC send comes in by another door than answers go out by.
            sysctl(HERE, **{f"ipv4__conf__{door.device}__rp_filter": 2})
            sysctl(HERE, **{f"ipv6__conf__{door.device}__{name}": 0 for name in ("disable_ipv6", "accept_ra")})
            node.up(door.device)
            for address in door.addresses:
                node.address(door.device, address)
            self._opened[door.device] = index, door
        return True


async def remove(ovs: Client) -> None:
    """Take everything of it away, for good."""
    if operations := vswitch.unplug(ovs, lambda ids: DOOR in ids):
        await ovs.transact(operations, "isthmus agent: retired")
        await asyncio.to_thread(_clean)


def _clean() -> None:
    _nft("table inet isthmus\ndelete table inet isthmus\n")
    with Netlink(HERE) as node:
        for way in node.ways():
            node.way(way, on=False)
        for version in (4, 6):
            node.rule(version, BEFORE_OURS, MAIN, longer_than=0, on=False)
            node.rule(version, BEFORE_MAIN, TABLE, on=False)


def _nft(script: str) -> None:
    """Raises OSError with what nft says."""
    try:
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True, capture_output=True, timeout=30)
    except subprocess.CalledProcessError as error:
        raise OSError(f"nft: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError("nft does not answer") from error


def _is(row: Record, door: Door) -> bool:
    ids = mapping(row["external_ids"])
    same = ids.get("iface-id") == ids.get(DOOR) == door.port and ids.get(ADDRESSES) == _written(door)
    return same and (row["type"], row["mac"], row["mtu_request"]) == ("internal", door.mac, door.mtu)


def _written(door: Door) -> str:
    return " ".join(map(str, door.addresses))
