"""A lab as Python sees it: up, down, run things in it, break it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab import state as states
from isthmus.lab.build import Builder, Progress
from isthmus.lab.layout import Layout, Paths, layout
from isthmus.lab.processes import enter, environment
from isthmus.lab.spec import LabFile
from isthmus.lab.state import State


def choose_datapath(wanted: str) -> str:
    """`kernel` where the kernel has openvswitch, else `userspace`."""
    if wanted != "auto":
        return wanted
    if Path("/sys/module/openvswitch").exists():
        return "kernel"
    try:
        done = subprocess.run(["modprobe", "--quiet", "openvswitch"], stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        return "userspace"
    return "kernel" if done.returncode == 0 and Path("/sys/module/openvswitch").exists() else "userspace"


class Lab:
    """A lab that is up."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.layout: Layout = layout(LabFile.model_validate(state.file))
        self.paths = Paths(state.directory)

    @classmethod
    def open(cls, name: str) -> Lab:
        """The lab of that name. Raises WorldError unless it runs."""
        state = State.load(name)
        if not state.alive():
            raise WorldError(Problem("LabDead", f"lab {name!r} does not run", remedy=f"isthmus lab down {name}"))
        return cls(state)

    @classmethod
    def up(cls, file: LabFile, progress: Progress = lambda _: None) -> Lab:
        """Build a lab; whatever interrupts it, nothing is left. Raises WorldError where it exists already."""
        state = State(file.name, datapath=choose_datapath(file.datapath))
        states.base().mkdir(parents=True, exist_ok=True, mode=0o755)
        try:
            state.directory.mkdir(mode=0o700)
        except FileExistsError as error:
            raise WorldError(
                Problem("LabExists", f"there is a lab {file.name!r}", remedy=f"isthmus lab down {file.name}")
            ) from error
        try:
            plan = layout(file)
            state.file = file.model_dump(mode="json", by_alias=True)
            state.addresses = {n.name: str(n.address.ip) for n in plan.nodes.values()}
            state.save()
            Builder(plan, state, progress).build()
        except BaseException:
            states.remove(file.name)
            raise
        return cls(state)

    def down(self) -> None:
        states.remove(self.state.name)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def environment(self, where: str) -> dict[str, str]:
        extra = {"ISTHMUS_CONFIG": str(self.paths.config)} if where == "operator" else {}
        return environment(extra)

    def command(self, where: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in a host, a site's central node, an endpoint, or as the operator."""
        if where not in self.state.namespaces:
            raise WorldError(
                Problem("NoSuchPlace", f"the lab has no {where!r}", remedy="`isthmus lab status` lists places")
            )
        return enter(self.state, where, argv)

    def exec(self, where: str, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; output captured, exit code not checked."""
        return subprocess.run(
            self.command(where, argv),
            capture_output=True,
            text=True,
            env=self.environment(where),
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def replace_process(self, where: str, argv: Sequence[str]) -> None:
        """Become that command; does not return."""
        command = self.command(where, argv)
        os.execvpe(command[0], command, self.environment(where))
