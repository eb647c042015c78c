"""Interfaces of this node's Pods: made when a container runtime asks, as OVN says that they must be.

One way: the port that the southbound database has for this node -> a link into the Pod's network namespace, a port of
the bridge that names it -> what Open vSwitch says once ovn-controller has made it work. A link that the Pod had in
another container is taken away first, or OVN might bind that one. A DEL does not wait for OVN: it ends its ADD.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from isthmus.agent import cni, vswitch
from isthmus.agent.cni import Refused, Request, Wiring
from isthmus.agent.netlink import HERE, Netlink, offloads_off, sysctl
from isthmus.agent.turns import Turns, whole
from isthmus.backends.ovsdb.client import Client
from isthmus.errors import Problem, Unreachable, WorldError

log = logging.getLogger(__name__)

PATIENCE = 90.0
"""Seconds that an ADD waits for a Pod's port, and for OVN to make it work; the plugin waits longer."""
LONGEST = 1 << 22
"""Bytes of a request: a GC names all attachments of the node, 100 bytes each."""
BLIND = "the databases of OVN cannot be reached from this node"
CONTAINER, IFNAME, NETWORK = "isthmus:container", "isthmus:ifname", "isthmus:network"
"""external_ids of an Interface of ours: the attachment that it is, and the network that the runtime named."""
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

    @property
    def plugin(self) -> Path:
        return self.plugins / "isthmus"

    @property
    def conflist(self) -> Path:
        return self.networks / CONFLIST

    def clear(self) -> None:
        """Leave nothing of ours there; first of all the runtime takes no more Pods. Raises WorldError."""
        for path in (self.conflist, self.plugin, self.socket):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise WorldError(Problem("PluginStays", str(error), remedy="remove that file yourself")) from error


class Pods:
    """Answers the plugin. `ovs` and `sb` are asked for each time: the agent may connect anew."""

    def __init__(self, place: Place, ovs: Client, sb: Callable[[], Client | None], bridge: Callable[[], str]) -> None:
        self._place, self._ovs, self._sb, self._bridge = place, ovs, sb, bridge
        self._turns = Turns()
        self._pulse = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.spent: dict[str, tuple[int, float]] = {}
        """Step of an ADD -> how often it was done, and seconds in all: until OVN has the `port`; the `link` into the
        Pod; its port on the `bridge`; until ovn-controller has `installed` it."""

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
        self._server = await asyncio.start_unix_server(self._serve, str(path), limit=LONGEST)
        path.chmod(0o600)
        _install(self._place.plugin, SHIM.read_bytes(), 0o755)
        text = json.dumps(cni.conflist(str(path)), indent=2) + "\n"
        _install(self._place.conflist, text.encode(), 0o644)
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
            question = await _question(reader)
            writer.write(await self._while_asked(reader, question))
        except asyncio.IncompleteReadError:
            log.warning("a plugin hung up in the middle of its question")
        finally:
            writer.close()

    async def _while_asked(self, reader: asyncio.StreamReader, question: cni.Question) -> bytes:
        """The answer. Raises CancelledError once the plugin has hung up: a runtime ends it when the Pod is unwanted."""
        work, end = asyncio.create_task(self._answer(question)), asyncio.create_task(reader.read())
        try:
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        return work.result()

    async def _answer(self, question: cni.Question) -> bytes:
        try:
            request = question.read()
            what = {"ADD": self._add, "DEL": self._delete, "CHECK": self._check, "STATUS": self._status, "GC": self._gc}
            return cni.success(await self._turns.take(request, partial(what[request.command], request)))
        except Refused as error:
            refused = error
        except TimeoutError:
            refused = Refused(cni.AGAIN, "OVN was not done in time", "see the log of the controller")
        except WorldError as error:
            refused = Refused(cni.AGAIN, "Open vSwitch cannot be asked", str(error))
        except OSError as error:
            refused = Refused(cni.IO, f"the interface cannot be made: {error}")
        except Exception as error:  # what nobody foresaw concerns this Pod, and nobody else's
            log.exception("a question of the plugin")
            refused = Refused(cni.AGAIN, "the agent failed", repr(error))
        return question.refusal(refused)

    # -- commands -------------------------------------------------------------------------------------------------

    async def _add(self, request: Request) -> dict[str, Any]:
        if request.again:
            # What an agent did that ended before it answered.
            await self._delete(request)
        await asyncio.to_thread(_vacant, request)
        if taken := next((ids[IFNAME] for ids in self._marks() if _is_elsewhere(ids, request)), None):
            raise Refused(cni.ENVIRONMENT, f"CNI_IFNAME {request.ifname!r}: the Pod has one port, and it is {taken}")
        async with asyncio.timeout(PATIENCE):
            with self._timed("port"):
                wired = await self._until(lambda: self._wiring(request))
            try:
                await whole(self._plug(request, wired))
                with self._timed("installed"):
                    await self._until(lambda: self._installed(request) or self._withdrawn(request))
                if self._withdrawn(request):
                    raise Refused(cni.AGAIN, f"OVN has the port {request.port} no longer: the Pod is gone")
            except BaseException:
                await whole(self._delete(request))
                raise
        return cni.result(request, wired)

    async def _plug(self, request: Request, wired: Wiring) -> None:
        await self._clear(lambda ids: ids.get("iface-id") == request.port or _is(ids, request))
        with self._timed("link"):
            await asyncio.to_thread(_link, request, wired, userspace=self._userspace())
        with self._timed("bridge"):
            await self._ovs.transact(self._plugged(request, wired), "isthmus agent")

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        count, seconds = self.spent.get(step, (0, 0.0))
        self.spent[step] = count + 1, seconds + time.monotonic() - begin

    async def _delete(self, request: Request) -> None:
        """Nothing to do is done."""
        await self._clear(lambda ids: _is(ids, request))
        await asyncio.to_thread(_unlink, request.link)

    async def _check(self, request: Request) -> None:
        if not request.previous:
            raise Refused(cni.CONFIG, "prevResult is missing", "CHECK compares with what ADD gave")
        if self._blind():
            raise Refused(cni.AGAIN, BLIND)
        wired = self._wiring(request)
        if wired is None:
            raise Refused(cni.BROKEN, f"OVN has no port {request.port} for this Pod here")
        if not self._installed(request):
            raise Refused(cni.BROKEN, f"the port {request.port} does not work in Open vSwitch")
        told = {str(ip.get("address")) for ip in request.previous["ips"]}
        if not {str(a) for a in wired.addresses} <= told:
            raise Refused(cni.BROKEN, f"the Pod's addresses are {', '.join(map(str, wired.addresses))} by now")
        await asyncio.to_thread(_stands, request, wired)

    async def _status(self, request: Request) -> None:
        if self._blind():
            raise Refused(cni.UNAVAILABLE, BLIND)
        if self._home() is None:
            raise Refused(cni.UNAVAILABLE, f"this node has no bridge {self._bridge()} yet")

    async def _gc(self, request: Request) -> None:
        """Take away whatever belongs to no attachment that there still is, of the network that is asked about."""
        valid = request.valid
        if valid is None:
            return
        await self._clear(lambda ids: ids.get(NETWORK) == request.network and _attachment(ids) not in valid)
        # What a crash left between the making of a link and its port on the bridge, or between their ends.
        known = {str(row["name"]) for row in self._ovs.rows["Interface"].values()}
        known |= {cni.link_name(*each) for each in valid} | {other.link for other in self._turns.requests}
        for _, name in socket.if_nameindex():
            if cni.is_link_name(name) and name not in known:
                await asyncio.to_thread(_unlink, name)

    async def _collect(self) -> None:
        """Take interfaces away whose link went with its Pod's namespace while nobody served the plugin."""
        marks = {name: _attachment(ids) for name, ids in self._ports() if CONTAINER in ids}
        gone = {marks[name] for name in await asyncio.to_thread(_missing, marks)}
        await self._clear(lambda ids: _attachment(ids) in gone)

    # -- what there is --------------------------------------------------------------------------------------------

    def _blind(self) -> bool:
        """What we know may be old."""
        sb = self._sb()
        return not self._ovs.synced or sb is None or not sb.synced

    def _wiring(self, request: Request) -> Wiring | None:
        """Of the very Pod: another one of its name may have been here before."""
        sb = self._sb()
        if sb is None or not sb.synced:
            return None
        row = next((r for r in sb.rows["Port_Binding"].values() if r["logical_port"] == request.port), None)
        wired = cni.wiring(row) if row else None
        return wired if wired and request.uid in ("", wired.uid) else None

    def _installed(self, request: Request) -> bool:
        return any(_is(ids, request) and ids.get("ovn-installed") == "true" for ids in self._marks())

    def _withdrawn(self, request: Request) -> bool:
        """The port, which was there, is gone: nobody wants the Pod any more."""
        return not self._blind() and self._wiring(request) is None

    def _marks(self) -> Iterator[dict[str, str]]:
        """Of the interfaces of Pods."""
        return (ids for _, ids in self._ports() if CONTAINER in ids)

    def _ports(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Interfaces with marks: their names, the marks."""
        for row in self._ovs.rows["Interface"].values():
            ids = row["external_ids"]
            if isinstance(ids, dict) and ids:
                yield str(row["name"]), ids

    def _home(self) -> str | None:
        """Our bridge, by its uuid."""
        return vswitch.find_bridge(self._ovs, self._bridge())

    def _userspace(self) -> bool:
        bridge = self._bridge()
        return any(r["name"] == bridge and r["datapath_type"] == "netdev" for r in self._ovs.rows["Bridge"].values())

    def _plugged(self, request: Request, wired: Wiring) -> list[dict[str, Any]]:
        home = self._home()
        if home is None:
            raise Refused(cni.AGAIN, f"this node has no bridge {self._bridge()} yet")
        marks = {
            "iface-id": wired.port,
            "iface-id-ver": wired.uid,
            "attached-mac": wired.mac,
            CONTAINER: request.container,
            IFNAME: request.ifname,
            NETWORK: request.network,
        }
        return vswitch.add(home, request.link, marks, 0)

    async def _clear(self, mine: Callable[[dict[str, str]], bool]) -> None:
        """Take interfaces off the bridge, and their links away. Raises WorldError where that cannot be known."""
        if not self._ovs.synced:
            raise Unreachable(self._ovs.failure or Problem("Unreachable", "Open vSwitch is not connected"))
        names = [name for name, ids in self._ports() if mine(ids)]
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


def _is_elsewhere(ids: dict[str, str], request: Request) -> bool:
    """The Pod's port is another interface of the same container."""
    here = ids.get("iface-id") == request.port and ids.get(CONTAINER) == request.container
    return here and ids.get(IFNAME) != request.ifname


# -- the kernel's side, in threads: they enter the Pod's network namespace -----------------------------------------


def _vacant(request: Request) -> None:
    """The Pod's network namespace is there, and has no interface of the name."""
    try:
        inside = Netlink(request.netns)
    except OSError as error:
        raise Refused(cni.ENVIRONMENT, f"CNI_NETNS {request.netns!r} is no network namespace", str(error)) from error
    with inside:
        try:
            inside.index(request.ifname)
        except OSError:
            return
    raise Refused(cni.ENVIRONMENT, f"CNI_IFNAME {request.ifname!r}: the container has such an interface already")


def _link(request: Request, wired: Wiring, *, userspace: bool) -> None:
    """The Pod's interface, whole, and the node's end of it."""
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
        for to, via in cni.routes_of(wired):
            inside.route(to, via)


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


def _stands(request: Request, wired: Wiring) -> None:
    """Both ends of the link are there and set up, with the Pod's MAC, addresses and routes."""
    try:
        with Netlink(HERE) as node, Netlink(request.netns) as inside:
            ups, mac = zip(inside.looks(request.ifname), node.looks(request.link), strict=True)
            addresses, routes = inside.addresses(request.ifname), inside.gateways()
    except OSError as error:
        raise Refused(cni.BROKEN, f"the Pod's interface {request.ifname} is not there", str(error)) from error
    if not all(ups):
        raise Refused(cni.BROKEN, f"the Pod's interface {request.ifname} is down")
    if mac[0] != wired.mac.lower():
        raise Refused(cni.BROKEN, f"the Pod's interface {request.ifname} has MAC {mac[0]}, not {wired.mac}")
    if missing := set(wired.addresses) - addresses:
        raise Refused(cni.BROKEN, f"the Pod's interface {request.ifname} has not {', '.join(map(str, missing))}")
    if gone := set(cni.expected_routes(request, wired)) - routes:
        raise Refused(cni.BROKEN, f"the Pod has no route to {', '.join(str(to) for to, _ in gone)}")


async def _question(reader: asyncio.StreamReader) -> cni.Question:
    """Raises IncompleteReadError. One that no plugin of ours sends is a question without a configuration."""
    try:
        again, length = map(int, (await reader.readline()).split())
        if not 0 <= length <= LONGEST:
            raise ValueError(length)
    except ValueError:
        return cni.Question(b"")
    return cni.Question(await reader.readexactly(length), bool(again))


def _install(path: Path, data: bytes, mode: int) -> None:
    """Replace a file at once, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(name).chmod(mode)
    Path(name).replace(path)
