"""Interfaces of this node's Pods: made when a container runtime asks, as OVN says that they must be.

One way: the port that the southbound database has for this node -> a link into the Pod's network namespace, a port of
the bridge that names it -> what Open vSwitch says once ovn-controller has made it work. What is asked twice is done
once; a link that an earlier try left behind is taken away first, or OVN might bind that one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

from isthmus.agent import cni, vswitch
from isthmus.agent.cni import Refused, Request, Wiring
from isthmus.agent.netlink import Netlink, offloads_off, sysctl
from isthmus.backends.ovsdb.client import Client
from isthmus.errors import WorldError
from isthmus.model.rows import Record

log = logging.getLogger(__name__)

PATIENCE = 90.0
"""Seconds that an ADD waits for a Pod's port, and for OVN to make it work; the plugin waits longer."""
HERE = "/proc/self/ns/net"
CONTAINER, IFNAME = "isthmus:container", "isthmus:ifname"
"""external_ids of an Interface of ours: the attachment that it is."""
SHIM = Path(__file__).with_name("cni_shim.py")
CONFLIST = "10-isthmus.conflist"
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Place:
    """Where this node's container runtime and we meet.

    socket    that the plugin connects to
    plugins   folder of the runtime's plugins
    networks  folder of its configurations
    """

    socket: Path
    plugins: Path
    networks: Path


class Pods:
    """Answers the plugin. `ovs` and `sb` are asked for each time: the agent may connect anew."""

    def __init__(self, place: Place, ovs: Client, sb: Callable[[], Client | None], bridge: Callable[[], str]) -> None:
        self._place, self._ovs, self._sb, self._bridge = place, ovs, sb, bridge
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pulse = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Something has changed in a database."""
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()

    # -- the plugin's door ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Let the runtime in: nodes are ready for Pods when the configuration is there. Raises OSError."""
        if self._server is not None:
            return
        path = self._place.socket
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        await self._collect()
        self._server = await asyncio.start_unix_server(self._serve, str(path))
        path.chmod(0o600)
        _install(self._place.plugins / "isthmus", SHIM.read_bytes(), 0o755)
        text = json.dumps(cni.conflist(str(path)), indent=2) + "\n"
        _install(self._place.networks / CONFLIST, text.encode(), 0o644)
        log.info("Pods of this node are served at %s", path)

    async def close(self) -> None:
        """Hang up on who waits: the plugin asks again whoever comes after us. Pods that are there stay as they are."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            answer = await self._while_asked(reader, json.loads(await reader.readline()))
        except ValueError:
            answer = Refused(cni.DECODING, "the plugin's request is not understood").answer
        except asyncio.CancelledError:
            writer.close()
            raise
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async def _while_asked(self, reader: asyncio.StreamReader, data: Any) -> dict[str, Any]:
        """The answer. Raises CancelledError once the plugin has hung up: a runtime ends it when the Pod is unwanted."""
        work, end = asyncio.create_task(self._answer(data)), asyncio.create_task(reader.read())
        try:
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        return work.result()

    async def _answer(self, data: Any) -> dict[str, Any]:
        try:
            request = cni.read(data)
            what = {"ADD": self._add, "DEL": self._delete, "CHECK": self._check, "STATUS": self._status, "GC": self._gc}
            # Requests of one container are served one after another: a DEL that overtakes its ADD would find nothing.
            async with self._locks[request.container]:
                return {"result": await what[request.command](request)}
        except Refused as error:
            return error.answer
        except TimeoutError:
            return Refused(cni.AGAIN, "OVN was not done in time", "see the log of the controller").answer
        except WorldError as error:
            return Refused(cni.AGAIN, "Open vSwitch cannot be asked", str(error)).answer
        except OSError as error:
            return Refused(cni.IO, f"the interface cannot be made: {error}").answer

    # -- commands -------------------------------------------------------------------------------------------------

    async def _add(self, request: Request) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            wired = await self._until(lambda: self._wiring(request))
            await self._clear(lambda ids: ids.get("iface-id") == request.port or _is(ids, request))
            await asyncio.to_thread(_link, request, wired, userspace=self._userspace())
            try:
                await self._ovs.transact(self._plugged(request, wired), "isthmus agent")
                await self._until(lambda: self._installed(request) or self._withdrawn(request))
                if self._withdrawn(request):
                    raise Refused(cni.AGAIN, f"OVN has the port {request.port} no longer: the Pod is gone")
            except BaseException:
                await asyncio.shield(self._clear(lambda ids: _is(ids, request)))
                raise
        return cni.result(request, wired)

    async def _delete(self, request: Request) -> None:
        """Nothing to do is done."""
        await self._clear(lambda ids: _is(ids, request))
        await asyncio.to_thread(_unlink, request.link)
        self._locks.pop(request.container, None)

    async def _check(self, request: Request) -> None:
        wired = self._wiring(request)
        if wired is None:
            raise Refused(cni.AGAIN, f"OVN has no port {request.port} for this Pod here")
        if not self._installed(request):
            raise Refused(cni.AGAIN, f"the port {request.port} does not work in Open vSwitch")
        told = {str(ip.get("address")) for ip in request.previous.get("ips") or ()}
        if told and told != {str(a) for a in wired.addresses}:
            raise Refused(cni.AGAIN, f"the Pod's addresses are {', '.join(map(str, wired.addresses))} by now")
        await asyncio.to_thread(_there, request)

    async def _status(self, request: Request) -> None:
        sb = self._sb()
        if not self._ovs.synced or sb is None or not sb.synced:
            raise Refused(cni.UNAVAILABLE, "the databases of OVN cannot be reached from this node")

    async def _gc(self, request: Request) -> None:
        """Take away whatever belongs to no attachment that there still is."""
        marks = {_attachment(ids) for _, _, ids in self._ports() if CONTAINER in ids}
        await self._clear(lambda ids: _attachment(ids) in marks - request.valid)

    async def _collect(self) -> None:
        """Take interfaces away whose link went with its Pod's namespace while nobody served the plugin."""
        marks = {name: _attachment(ids) for _, name, ids in self._ports() if CONTAINER in ids}
        gone = {marks[name] for name in await asyncio.to_thread(_missing, marks)}
        await self._clear(lambda ids: _attachment(ids) in gone)

    # -- what there is --------------------------------------------------------------------------------------------

    def _wiring(self, request: Request) -> Wiring | None:
        """Of the very Pod: another one of its name may have been here before."""
        sb = self._sb()
        if sb is None or not sb.synced:
            return None
        row = next((r for r in sb.rows["Port_Binding"].values() if r["logical_port"] == request.port), None)
        wired = cni.wiring(row) if row else None
        return wired if wired and request.uid in ("", wired.uid) else None

    def _installed(self, request: Request) -> bool:
        return any(_is(ids, request) and ids.get("ovn-installed") == "true" for _, _, ids in self._ports())

    def _withdrawn(self, request: Request) -> bool:
        """The port, which was there, is gone: nobody wants the Pod any more."""
        sb = self._sb()
        return sb is not None and sb.synced and self._wiring(request) is None

    def _ports(self) -> Iterator[tuple[Record, str, dict[str, str]]]:
        """Interfaces of our bridge with marks: the row, its port, the marks."""
        for row in self._ovs.rows["Interface"].values():
            ids = row["external_ids"]
            if isinstance(ids, dict) and ids:
                yield row, str(row["name"]), ids

    def _userspace(self) -> bool:
        bridge = self._bridge()
        return any(r["name"] == bridge and r["datapath_type"] == "netdev" for r in self._ovs.rows["Bridge"].values())

    def _plugged(self, request: Request, wired: Wiring) -> list[dict[str, Any]]:
        home = next((u for u, row in self._ovs.rows["Bridge"].items() if row["name"] == self._bridge()), None)
        if home is None:
            raise Refused(cni.AGAIN, f"this node has no bridge {self._bridge()} yet")
        marks = {
            "iface-id": wired.port,
            "iface-id-ver": wired.uid,
            "attached-mac": wired.mac,
            CONTAINER: request.container,
            IFNAME: request.ifname,
        }
        return vswitch.add(home, request.link, marks, 0)

    async def _clear(self, mine: Callable[[dict[str, str]], bool]) -> None:
        """Take interfaces off the bridge, and their links away."""
        names = [name for _, name, ids in self._ports() if mine(ids)]
        if names:
            await self._ovs.transact(vswitch.unplug(self._ovs, lambda ids: mine(dict(ids))), "isthmus agent")
        for name in names:
            await asyncio.to_thread(_unlink, name)

    async def _until(self, found: Callable[[], Found | None]) -> Found:
        """What is found, once it is; whoever waits bounds the time."""
        while True:
            pulse = self._pulse
            if value := found():
                return value
            await pulse.wait()


def _attachment(ids: dict[str, str]) -> tuple[str, str]:
    """Container and interface, as its marks say."""
    return ids.get(CONTAINER, ""), ids.get(IFNAME, "")


def _is(ids: dict[str, str], request: Request) -> bool:
    return _attachment(ids) == (request.container, request.ifname)


# -- the kernel's side, in threads: they enter the Pod's network namespace -----------------------------------------


def _link(request: Request, wired: Wiring, *, userspace: bool) -> None:
    """The Pod's interface, whole, and the node's end of it; anew where an agent made it and ended before it said so."""
    _unlink(request.link)
    # Nobody on the link configures the Pod, and its own address works at once.
    quiet = {f"ipv6__conf__default__{name}": 0 for name in ("accept_ra", "router_solicitations")}
    sysctl(request.netns, **quiet)
    with Netlink(request.netns) as inside:
        inside.up("lo")
        outer = cni.outer_mac(wired.mac)
        inside.veth(request.ifname, wired.mac, request.link, outer, HERE, wired.mtu)
        with Netlink(HERE) as node:
            node.up(request.link)
        if userspace:
            offloads_off(request.netns, request.ifname)
            offloads_off(HERE, request.link)
        for address in wired.addresses:
            inside.address(request.ifname, address)
        for gateway in wired.gateways:
            inside.route(ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0"), gateway.ip)


def _unlink(name: str) -> None:
    """Both ends go at once."""
    with Netlink(HERE) as node:
        try:
            node.delete(name)
        except OSError:
            return  # the Pod's namespace has taken it along


def _missing(names: Iterable[str]) -> list[str]:
    """Those that the node has no link of."""
    with Netlink(HERE) as node:
        found = []
        for name in names:
            try:
                node.index(name)
            except OSError:
                found.append(name)
        return found


def _there(request: Request) -> None:
    try:
        with Netlink(request.netns) as inside:
            inside.index(request.ifname)
    except OSError as error:
        raise Refused(cni.AGAIN, f"the Pod has no interface {request.ifname}", str(error)) from error


def _install(path: Path, data: bytes, mode: int) -> None:
    """Replace a file at once, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(name).chmod(mode)
    Path(name).replace(path)
