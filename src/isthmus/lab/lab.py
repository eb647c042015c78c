"""A lab as Python sees it: up, down, run things in it, break it, look at its databases."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from isthmus.errors import IntentError, Problem, WorldError
from isthmus.lab import hosts, ovn, rpc
from isthmus.lab import state as states
from isthmus.lab.build import Builder, Progress
from isthmus.lab.faults import DaemonHandle, Faults
from isthmus.lab.guests.places import Guests
from isthmus.lab.interrupts import noted
from isthmus.lab.kubernetes.cluster import kubeconfig_file
from isthmus.lab.layout import (
    FRONT_PORT,
    IC_NB_PORT,
    IC_SB_PORT,
    NB_PORT,
    SB_PORT,
    Layout,
    Machine,
    Paths,
    SiteLayout,
    layout,
)
from isthmus.lab.openstack import clouds
from isthmus.lab.plug import Plugs
from isthmus.lab.processes import enter, enter_light, environment
from isthmus.lab.spec import LabFile
from isthmus.lab.state import State

if TYPE_CHECKING:
    from openstack.connection import Connection


def choose_datapath(wanted: str) -> str:
    """`kernel` where the kernel has openvswitch, else `userspace`."""
    if wanted != "auto":
        return wanted
    module = Path("/sys/module/openvswitch")
    if not module.exists():
        try:
            subprocess.run(["modprobe", "--quiet", "openvswitch"], stderr=subprocess.DEVNULL, check=False)
        except FileNotFoundError:
            return "userspace"
    return "kernel" if module.exists() else "userspace"


class Lab(Faults, Plugs, Guests):
    """A lab that is up. Made by `Lab.up` or `Lab.open`; as a context manager it is gone afterwards."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.layout: Layout = layout(LabFile.model_validate(state.file))
        self.paths = Paths(state.directory)

    @property
    def name(self) -> str:
        return self.state.name

    @classmethod
    def open(cls, name: str) -> Lab:
        """The lab of that name. Raises IntentError where there is none, WorldError unless it runs."""
        state = State.load(name)
        if not state.alive():
            raise WorldError(Problem("LabDead", f"lab {name!r} does not run", remedy=f"isthmus lab down --name {name}"))
        try:
            return cls(state)
        except ValidationError as error:
            raise states.other_version(name) from error

    @classmethod
    def up(cls, file: LabFile, progress: Progress = lambda _: None) -> Lab:
        """Build a lab; whatever interrupts it, nothing is left. Raises WorldError where it exists already."""
        state = State(file.name, datapath=choose_datapath(file.datapath))

        def build() -> None:
            plan = layout(file)
            state.file = file.model_dump(mode="json", by_alias=True)
            state.addresses = {n.name: str(n.address.ip) for n in plan.nodes.values()}
            state.save()
            Builder(plan, state, progress).build()

        with noted() as interrupts:
            state.create()
            try:
                interrupts.watch(build, partial(states.stop, file.name))
            except BaseException:
                states.remove(file.name)
                raise
        return cls(state)

    def down(self) -> None:
        """Remove everything; nothing to do when it is gone."""
        states.remove(self.state.name)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # Places and what is in them.

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Endpoints, of the lab file and plugged in later; without guests that have no server any more."""
        there = tuple(m for m in self.layout.machines if not m.guest or m.name in self.state.servers)
        return there + self.plugged

    def machine(self, name: str) -> Machine:
        """Raises KeyError."""
        return {m.name: m for m in self.machines}[name]

    def port(self, name: str) -> str:
        """The Logical_Switch_Port of an endpoint: its name, or on openstack the id of its Neutron port."""
        return self.state.ports.get(name, name)

    def site(self, name: str) -> SiteHandle:
        """Raises KeyError."""
        return SiteHandle(self, self.site_layout(name))

    @property
    def sites(self) -> tuple[SiteHandle, ...]:
        return tuple(SiteHandle(self, s) for s in self.layout.sites)

    def host(self, name: str) -> HostHandle:
        """Raises KeyError."""
        for site in self.sites:
            for host in site.layout.site.hosts:
                if host.name == name:
                    return HostHandle(self, name, host.chassis or name, host.gateway, site.name)
        raise KeyError(name)

    @property
    def fabric(self) -> FabricHandle:
        return FabricHandle(self)

    def daemon(self, key: str) -> DaemonHandle:
        """`SITE/{nb,sb,northd,front,ovn-ic}`, `HOST/{ovsdb,vswitchd,controller,agent}`, `fabric/{ic-nb,ic-sb}`.

        On sites of type openstack also `SITE/{mariadb,keystone,neutron,neutron-maintenance}`. Raises KeyError.
        """
        node, _, short = key.partition("/")
        after = partial(self._uplink, node) if short == "vswitchd" else None
        return DaemonHandle(self.state, key, self.state.daemons[key], after)

    def _uplink(self, node: str) -> None:
        """A userspace bridge comes back without its address."""
        hosts.uplink(self.state, self.paths, self.layout.nodes[node], self.state.datapath)

    # Running commands.

    def environment(self, where: str) -> dict[str, str]:
        """What a command sees: the mark of its lab; the operator also ISTHMUS_CONFIG and the clouds."""
        extra = {states.MARK: self.state.mark}
        if where == "operator":
            extra |= self.operator(self.paths.programs)
        return environment(extra)

    def operator(self, programs: Path) -> dict[str, str]:
        """What makes a command the operator's; `programs` is the folder of tools beside `isthmus`."""
        found = {
            "ISTHMUS_CONFIG": str(self.paths.config),
            # The operator's `isthmus` is the one that made the lab.
            "PATH": f"{Path(hosts.isthmus()).parent}:{programs}:{environment()['PATH']}",
        }
        if clouds.file(self.paths).exists():
            found["OS_CLIENT_CONFIG_FILE"] = str(clouds.file(self.paths))
        if kubeconfig_file(self.paths).exists():
            found["KUBECONFIG"] = str(kubeconfig_file(self.paths))
        return found

    def command(self, where: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in a host, a site's central node, an endpoint, or as the operator.

        To be used with `environment(where)`. For the operator and endpoints its process is the command's own; on
        other nodes the command lives in the lab's PID namespace, and is killed when its parent ends. A guest gets all
        of the input first, and what it writes comes at the end.
        """
        if where in self.state.servers:
            return [hosts.isthmus(), "lab", "exec", "--name", self.name, where, "--", *argv]
        if where not in self.state.namespaces:
            raise IntentError(
                Problem("NoSuchPlace", f"the lab has no {where!r}", remedy="`isthmus lab status` lists places")
            )
        if where in self.layout.nodes and where != "operator":
            return enter(self.state, where, ["setpriv", "--pdeathsig", "KILL", "--", *argv])
        return enter_light(self.state, where, argv)

    def exec(
        self, where: str, argv: Sequence[str], *, input: str | None = None, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; output captured, exit code not checked. Raises WorldError for a silent guest."""
        if channel := self.channels.get(where):
            return channel.run(argv, input=input, timeout=timeout)
        return subprocess.run(
            self.command(where, argv),
            capture_output=True,
            text=True,
            env=self.environment(where),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            timeout=timeout,
            check=False,
        )

    def popen(self, where: str, argv: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start a command; options as of `subprocess.Popen`."""
        options.setdefault("env", self.environment(where))
        process: subprocess.Popen[str] = subprocess.Popen(self.command(where, argv), text=True, **options)  # type: ignore[call-overload]
        return process

    def replace_process(self, where: str, argv: Sequence[str]) -> None:
        """Become that command; does not return."""
        command = self.command(where, argv)
        os.execvpe(command[0], command, self.environment(where))

    # Databases.

    def databases(self) -> dict[str, tuple[Path, str]]:
        """`nb/SITE`, `sb/SITE`, `ic-nb`, `ic-sb` -> unix socket and OVSDB's name."""
        found = {}
        for site in self.sites:
            found[f"nb/{site.name}"] = site.nb_unix, "OVN_Northbound"
            found[f"sb/{site.name}"] = site.sb_unix, "OVN_Southbound"
        found["ic-nb"] = self.fabric.nb_unix, "OVN_IC_Northbound"
        found["ic-sb"] = self.fabric.sb_unix, "OVN_IC_Southbound"
        return found

    def snapshot(self, *wanted: str) -> dict[str, dict[str, rpc.Rows]]:
        """All rows of databases (default: every `nb/SITE` and `ic-nb`): database -> table -> uuid -> column -> JSON."""
        known = self.databases()
        names = wanted or tuple(n for n in known if n.startswith("nb/") or n == "ic-nb")
        return {name: rpc.snapshot(*known[name]) for name in names}


@dataclass(frozen=True, slots=True)
class SiteHandle:
    """One site."""

    lab: Lab
    layout: SiteLayout

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def zone(self) -> str:
        return self.layout.zone

    @property
    def address(self) -> str:
        """Of the central node, on the underlay."""
        return self.lab.state.addresses[self.name]

    @property
    def nb_unix(self) -> Path:
        return ovn.socket_path(self.lab.paths, self.name, "OVN_Northbound")

    @property
    def sb_unix(self) -> Path:
        return ovn.socket_path(self.lab.paths, self.name, "OVN_Southbound")

    @property
    def nb(self) -> str:
        """Remote for the operator."""
        return f"ssl:{self.address}:{NB_PORT}"

    @property
    def sb(self) -> str:
        """Remote for the operator: the front."""
        return f"ssl:{self.address}:{FRONT_PORT}"

    @property
    def sb_chassis(self) -> str:
        """Remote for chassis: with the role ovn-controller."""
        return f"ssl:{self.address}:{SB_PORT}"

    @property
    def hosts(self) -> tuple[HostHandle, ...]:
        return tuple(self.lab.host(h.name) for h in self.layout.site.hosts)

    @property
    def machines(self) -> tuple[Machine, ...]:
        return tuple(m for m in self.lab.machines if m.site == self.name)

    def nbctl(self, *arguments: str) -> str:
        """What `ovn-nbctl ARGUMENTS…` prints. Raises WorldError."""
        return _tool(self.lab, self.name, "ovn-nbctl", arguments)

    def sbctl(self, *arguments: str) -> str:
        """What `ovn-sbctl ARGUMENTS…` prints. Raises WorldError."""
        return _tool(self.lab, self.name, "ovn-sbctl", arguments)

    def daemon(self, short: str) -> DaemonHandle:
        return self.lab.daemon(f"{self.name}/{short}")

    def cloud(self, user: str = "admin") -> Connection:
        """The site's OpenStack as `admin`, `isthmus` (the service user) or a tenant; usable from this process.

        Raises KeyError.
        """
        from isthmus.lab.openstack.connection import connect  # noqa: PLC0415  # takes half a second

        return connect(self.lab.state.path("operator"), clouds.read(self.lab.paths)[clouds.entry(self.name, user)])

    def cut(self) -> None:
        """Its databases are out of the operator's reach: silence. Hosts and their traffic are not touched."""
        self.lab.part("operator", self.name)

    def heal(self) -> None:
        self.lab.join("operator", self.name)


@dataclass(frozen=True, slots=True)
class HostHandle:
    """One host."""

    lab: Lab
    name: str
    chassis: str
    gateway: bool
    site: str

    @property
    def address(self) -> str:
        """On the underlay: the encapsulation address."""
        return self.lab.state.addresses[self.name]

    @property
    def ovs_unix(self) -> Path:
        return self.lab.paths.run(self.name) / "openvswitch" / "db.sock"

    def exec(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self.lab.exec(self.name, argv)

    def daemon(self, short: str) -> DaemonHandle:
        return self.lab.daemon(f"{self.name}/{short}")

    def cut(self) -> None:
        """Take its uplink away."""
        self.lab.unplug_uplink(self.name)

    def heal(self) -> None:
        self.lab.plug_uplink(self.name)


@dataclass(frozen=True, slots=True)
class FabricHandle:
    """The interconnection databases."""

    lab: Lab

    @property
    def address(self) -> str:
        return self.lab.state.addresses["fabric"]

    @property
    def nb(self) -> str:
        return f"ssl:{self.address}:{IC_NB_PORT}"

    @property
    def sb(self) -> str:
        return f"ssl:{self.address}:{IC_SB_PORT}"

    @property
    def nb_unix(self) -> Path:
        return ovn.socket_path(self.lab.paths, "fabric", "OVN_IC_Northbound")

    @property
    def sb_unix(self) -> Path:
        return ovn.socket_path(self.lab.paths, "fabric", "OVN_IC_Southbound")

    def daemon(self, short: str) -> DaemonHandle:
        return self.lab.daemon(f"fabric/{short}")

    def nbctl(self, *arguments: str) -> str:
        """What `ovn-ic-nbctl ARGUMENTS…` prints. Raises WorldError."""
        return _tool(self.lab, "fabric", "ovn-ic-nbctl", arguments)

    def sbctl(self, *arguments: str) -> str:
        """What `ovn-ic-sbctl ARGUMENTS…` prints. Raises WorldError."""
        return _tool(self.lab, "fabric", "ovn-ic-sbctl", arguments)

    def lose(self, short: str) -> None:
        """Lose the database `ic-nb` or `ic-sb` for good and start an empty one in its place."""
        name = {"ic-nb": "OVN_IC_Northbound", "ic-sb": "OVN_IC_Southbound"}[short]
        daemon = self.daemon(short)
        daemon.kill()
        ovn.empty(self.lab.paths, "fabric", self.lab.state.directory / "templates", name)
        daemon.start()


def _tool(lab: Lab, where: str, tool: str, arguments: Sequence[str]) -> str:
    done = lab.exec(where, [tool, *arguments])
    if done.returncode:
        raise WorldError(Problem("CommandFailed", f"{tool} in {where}: {done.stderr.strip()}"))
    return done.stdout
