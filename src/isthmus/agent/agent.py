"""The agent: keeps the probe's devices, sends what is due, says what it found.

One pass (`_reconcile`) whatever woke it: local database -> where we are -> southbound ports -> devices and bridge ports
-> prober -> our keys in Chassis_Private. A view that is not complete changes nothing: probing goes on as it was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isthmus import __version__
from isthmus.agent import desired, hostlinks, vswitch
from isthmus.agent.hostlinks import HostLinks
from isthmus.agent.keeper import Keeper
from isthmus.agent.line import Line
from isthmus.agent.packets import Reply
from isthmus.agent.pods import Place, Pods
from isthmus.agent.probe import Prober, Verdict
from isthmus.backends.http import start_server
from isthmus.backends.ovsdb.client import Changed, Client
from isthmus.errors import LockHeld, NotReady, Problem, Unreachable, WorldError
from isthmus.model.rows import Record

log = logging.getLogger(__name__)

GATHER = 0.02
"""Seconds in which changes are gathered after a pass; the first one is not kept waiting."""

RETRY = 2.0
"""Seconds until the next try of what failed."""

FAREWELL = 2.0
"""Seconds that each database gets on a clean exit."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says.

    listen   IP:PORT of the metrics or None
    gateway  mark the chassis as one
    pods     serve Pods of this node as well
    """

    ovs: str = "unix:/var/run/openvswitch/db.sock"
    overrides: desired.Overrides = field(default_factory=desired.Overrides)
    listen: str | None = None
    client_ca: Path | None = None
    gateway: bool = False
    pods: Place | None = None


class Agent:
    """All trunks of one chassis. `run` until cancelled, or `retire`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._run_id = secrets.token_hex(8)
        self._identifier = secrets.randbits(16)
        self._wake = asyncio.Event()
        self._prober = Prober(changed=lambda _: self._wake.set())
        self._lines: dict[str, Line] = {}
        self._ports = desired.Ports()
        self._unread = True
        self._place: desired.Place | None = None
        self._leading = False
        self._announced = False
        self._keeper: Keeper | None = None
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._said: set[str] = set()
        self._words: dict[str, tuple[Verdict, str]] = {}
        self._ovs = vswitch.open_client(settings.ovs, vswitch.lock_name(settings.overrides.chassis), self._woken)
        self._sb: Client | None = None
        self._host: HostLinks | None = None
        self._pods = Pods(settings.pods, self._ovs, lambda: self._sb, self._bridge) if settings.pods else None

    # -- life ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled; then leave the bridge and the southbound database clean.

        Raises WorldError for what only a change of the command line can mend.
        """
        self._keeper = Keeper(self._settings.ovs, self._run_id)
        self._host = HostLinks(self._ovs, self._wake.set) if self._pods is not None else None
        self._ovs.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keeper.run())
                group.create_task(self._loop())
        finally:
            await asyncio.shield(self._leave())

    def _woken(self) -> None:
        self._wake.set()
        if self._pods is not None:
            self._pods.look()

    def _bridge(self) -> str:
        return self._place.bridge if self._place else ""

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._reconcile()
                self._all_well()
            except WorldError as error:
                self._complain(str(error))
                loop.call_later(RETRY, self._wake.set)
            await asyncio.sleep(GATHER)

    def _all_well(self) -> None:
        if not self._ovs.synced and self._ovs.failure is not None:
            self._complain(str(self._ovs.failure))
        elif self._said:
            self._said.clear()
            log.info("all is well again")

    def _complain(self, message: str) -> None:
        """Log, but a failure that lasts only once."""
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)

    # -- the pass -----------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        if self._ovs.synced:
            await self._look_around()
        if self._sb is None or self._place is None or not self._leading:
            return
        if self._sb.failure is not None and not self._sb.synced:
            raise Unreachable(self._sb.failure)
        if not self._sb.synced:
            return
        # The first thing said is that nothing is known: an earlier run may have left its last word.
        if not self._announced and not await self._publish():
            raise WorldError(_no_chassis(self._place.chassis))
        self._announced = True
        self._read_ports(self._sb, self._place)
        try:
            self._hold_devices(self._place)
        finally:
            self._probe()
        await self._plug(self._place)
        await self._publish()
        if self._pods is not None:
            await self._pods.open()
        if self._host is not None:
            await self._host.hold(self._sb, self._place.bridge, self._place.names)
        # Last: a port that somebody has taken keeps no Pod from its network.
        await self._listen(self._place)

    async def _look_around(self) -> None:
        """Take notice of the local database: who leads, which chassis this is, where its southbound database is."""
        if self._leading != self._ovs.has_lock:
            self._leading = self._ovs.has_lock
            log.info("serving this chassis" if self._leading else "another agent serves this chassis: standing by")
            self._announced = False
            if not self._leading:
                self._stop_probing()
        switch = next(iter(self._ovs.rows["Open_vSwitch"].values()), None)
        if switch is None:
            return
        if self._settings.gateway and self._leading and (operations := vswitch.mark_gateway(switch)):
            await self._ovs.transact(operations, "isthmus agent")
            log.info("this chassis is a gateway between zones now")
        place = desired.read_place(switch, self._ovs.rows["SSL"].values(), self._settings.overrides)
        if place != self._place:
            log.info("chassis %s, southbound %s", place.chassis, ",".join(place.southbound.remotes))
            await self._move(place)

    async def _move(self, place: desired.Place) -> None:
        """Begin, or begin anew, because the host's own configuration changed."""
        if any(remote.startswith("tcp:") for remote in place.southbound.remotes):
            log.warning("the southbound database is reached by tcp: whoever is on the way reads and writes with us")
        self._stop_probing()
        if self._sb is not None:
            await self._sb.stop()
        self._place, self._announced = place, False
        self._sb = southbound(place, self._woken, self._row_changed, everywhere=self._host is not None)
        self._sb.start()

    def _row_changed(self, table: str, *_: object) -> None:
        if table == "Port_Binding":
            self._unread = True
            if self._host is not None:
                self._host.look()

    def _stop_probing(self) -> None:
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._ports, self._unread = desired.Ports(), True
        self._probe()

    def _read_ports(self, sb: Client, place: desired.Place) -> None:
        """Parse the ports again if one of them changed: with a thousand it takes 35 ms."""
        if not self._unread:
            return
        self._unread = False
        ports = desired.read_ports(sb.rows["Port_Binding"].values(), place.names)
        for complaint in ports.complaints:
            if complaint not in self._ports.complaints:
                log.warning("%s", complaint)
        self._ports = ports

    def _hold_devices(self, place: desired.Place) -> None:
        """A device for each trunk, with the ports behind it. Raises WorldError when one cannot be made."""
        for trunk in self._lines.keys() - self._ports.trunks:
            self._lines.pop(trunk).close()
        for trunk in self._ports.trunks:
            if trunk not in self._lines or not self._lines[trunk].alive:
                self._lines[trunk] = Line(trunk, place.chassis, self._identifier, self._heard, self._wake.set)
        for trunk, line in self._lines.items():
            line.carry({name: c for name, c in self._ports.children.items() if c.trunk == trunk})

    async def _plug(self, place: desired.Place) -> None:
        """The bridge's ports for exactly these devices."""
        if not self._ovs.synced:
            return
        taps = {trunk: line.tap.name for trunk, line in self._lines.items()}
        operations = vswitch.plug(self._ovs, place.bridge, taps, place.chassis, self._run_id)
        if operations:
            await self._ovs.transact(operations, "isthmus agent")

    # -- probing ------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Probe the ports that ovn-controller has claimed; of others nothing is said."""
        now = asyncio.get_running_loop().time()
        active = {
            name: child.probe
            for name, child in self._ports.children.items()
            if child.bound and child.trunk in self._lines
        }
        self._prober.configure(active, now)
        self._tick()

    def _tick(self) -> None:
        """Read, judge, send, and come again when the next request is due."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines = list(self._lines.values())
        for line in lines:
            line.drain()
        for request in self._prober.due(loop.time()):
            child = self._ports.children.get(request.probe)
            if child is not None and child.trunk in self._lines:
                self._lines[child.trunk].send(request)
        when = self._prober.wake_at()
        if when is not None:
            self._timer = loop.call_at(when, self._tick)

    def _heard(self, name: str, reply: Reply) -> None:
        now = asyncio.get_running_loop().time()
        self._prober.answered(name, reply.source, reply.sequence, reply.payload, now)

    # -- saying -------------------------------------------------------------------------------------------

    async def _publish(self) -> bool:
        """Write what changed of our keys. False when the chassis has no row (yet)."""
        assert self._sb is not None
        wanted = {desired.AGENT: desired.announcement(__version__, self._endpoint())}
        words = {name: self._word(name) for name in self._prober.names()}
        self._words = {name: word for name, word in words.items() if word is not None}
        wanted |= {desired.RESULT + name: text for name, (_, text) in self._words.items()}
        return await write_keys(self._sb, wanted)

    def _word(self, name: str) -> tuple[Verdict, str] | None:
        """A verdict and its text.

        The old text while the verdict is the old one, for clocks drift apart; and while nothing is known under a new
        generation, for the text names the generation that it is about.
        """
        verdict, old = self._prober.verdicts().get(name), self._words.get(name)
        if verdict is None or (old is not None and old[0] == verdict):
            return old
        now, wall = asyncio.get_running_loop().time(), datetime.now(UTC)
        return verdict, desired.result(verdict, now, wall)

    def _endpoint(self) -> str | None:
        return f"https://{self._settings.listen}/metrics" if self._settings.listen else None

    async def _listen(self, place: desired.Place) -> None:
        if self._settings.listen is None or self._server is not None:
            return
        from isthmus.agent import metrics  # noqa: PLC0415  # the library costs start-up time

        tls = place.southbound.tls
        if tls is None:
            raise WorldError(
                Problem("NoCertificate", "--listen needs a certificate", remedy="give --ca, --cert and --key")
            )
        client_ca = self._settings.client_ca or tls.ca_file
        try:
            context = metrics.tls_context(tls.cert_file, tls.key_file, client_ca)
        except OSError as error:
            raise WorldError(Problem("NoCertificate", f"cannot serve metrics: {error}")) from error
        spent = self._pods.spent if self._pods is not None else None
        pages = {"/metrics": lambda: metrics.page(self._prober, spent)}
        self._server = await start_server(self._settings.listen, context, pages)

    # -- leaving ------------------------------------------------------------------------------------------

    async def _leave(self) -> None:
        """Ports off the bridge, results out of the southbound database, `isthmus:agent` says stopped."""
        if self._timer is not None:
            self._timer.cancel()
        said = {desired.AGENT: desired.announcement(__version__, self._endpoint(), stopped=True)}
        clean = await self._withdraw(said) if self._leading else True
        for line in self._lines.values():
            line.close()
        if self._pods is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await self._pods.close()
        if self._host is not None:
            self._host.close()
        if self._keeper is not None:
            await self._keeper.dismiss(clean)
        if self._server is not None:
            self._server.close()
        for client in (self._sb, self._ovs):
            if client is not None:
                await client.stop()

    async def _withdraw(self, keys: dict[str, str]) -> bool:
        """Our ports and all keys but `keys`; False when ports may remain."""
        try:
            async with asyncio.timeout(FAREWELL):
                operations = vswitch.unplug(self._ovs, lambda ids: ids.get(vswitch.RUN) == self._run_id)
                if operations:
                    await self._ovs.transact(operations, "isthmus agent: clean exit")
        except (WorldError, TimeoutError) as error:
            log.warning("ports remain on the bridge: %s", error)
            return False
        try:
            async with asyncio.timeout(FAREWELL):
                if self._sb is not None:
                    await write_keys(self._sb, keys)
        except (WorldError, TimeoutError) as error:
            log.warning("results remain in the southbound database: %s", error)
        return True


# -- the southbound database --------------------------------------------------------------------------------


def southbound(
    place: desired.Place, wake: Callable[[], None], changed: Changed | None = None, *, everywhere: bool = False
) -> Client:
    """A replica of what concerns this chassis: its own row, ports requested for it, and those that are `everywhere`."""
    requested: list[Any] = [["type", "==", "localport"]] if everywhere else []
    requested += [["options", "includes", ["map", [["requested-chassis", name]]]] for name in sorted(place.names)]
    return Client(
        place.southbound,
        "OVN_Southbound",
        {"Port_Binding": desired.PORT_BINDING, "Chassis_Private": desired.CHASSIS},
        where={"Port_Binding": requested, "Chassis_Private": [["name", "==", place.chassis]]},
        wake=wake,
        changed=changed,
    )


def chassis_row(sb: Client | None) -> Record | None:
    return next(iter(sb.rows["Chassis_Private"].values()), None) if sb is not None else None


async def write_keys(sb: Client, wanted: dict[str, str]) -> bool:
    """Make our keys of the chassis' row those wanted. False when there is no row. Raises WorldError."""
    row = chassis_row(sb)
    if row is None:
        return False
    if mutations := desired.changes(row, wanted):
        where = [["_uuid", "==", ["uuid", row["_uuid"]]]]
        await sb.transact([{"op": "mutate", "table": "Chassis_Private", "where": where, "mutations": mutations}])
    return True


def _no_chassis(name: str) -> Problem:
    return Problem(
        "NoChassis",
        f"the southbound database has no row of the chassis {name}",
        remedy="check that ovn-controller runs and has the same name",
    )


async def retire(settings: Settings, patience: float = 10.0) -> None:
    """Remove every port, key and file that an agent left on this chassis, for good.

    Raises LockHeld while an agent runs, NotReady when a database does not answer in `patience` seconds, WorldError when
    a file cannot be removed.
    """
    wake = asyncio.Event()
    ovs = vswitch.open_client(settings.ovs, vswitch.lock_name(settings.overrides.chassis), wake.set)
    sb: Client | None = None
    ovs.start()
    try:
        async with asyncio.timeout(patience):
            await _synced(ovs, wake)
            if not ovs.has_lock:
                raise LockHeld(Problem("AgentRuns", "an agent serves this chassis", remedy="stop it first"))
            switch = next(iter(ovs.rows["Open_vSwitch"].values()))
            place = desired.read_place(switch, ovs.rows["SSL"].values(), settings.overrides)
            if operations := vswitch.unplug(ovs, lambda ids: ids.get(vswitch.CHASSIS) == place.chassis):
                await ovs.transact(operations, "isthmus agent: retired")
            await hostlinks.remove(ovs)
            sb = southbound(place, wake.set)
            sb.start()
            await _synced(sb, wake)
            await write_keys(sb, {})
        if settings.pods is not None:
            settings.pods.clear()
    except TimeoutError as error:
        failed = (sb or ovs).failure
        raise NotReady(failed or Problem("Unreachable", "a database does not answer")) from error
    finally:
        for client in (sb, ovs):
            if client is not None:
                with suppress(asyncio.CancelledError):
                    await client.stop()


async def _synced(client: Client, wake: asyncio.Event) -> None:
    while not client.synced:
        wake.clear()
        await wake.wait()
