"""Labs to measure in, and commands in them that start at a known moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.lab import spec, state
from isthmus.lab.lab import Lab


@contextmanager
def lab(what: str | Path = "two-sites", *, name: str, tenants: int | None = 1) -> Iterator[Lab]:
    """A lab that is gone afterwards; also one of that name that an interrupted run left."""
    file = spec.load(what, name=f"bench-{name}", tenants=tenants)
    state.remove(file.name)
    with Lab.up(file) as found:
        yield found


class Gate:
    """A command of the operator, ready to run: its shell waits for a line, so that entering the lab costs no time."""

    def __init__(self, lab: Lab, argv: Sequence[str], where: str = "operator", **options: Any) -> None:
        self._process = lab.popen(
            where,
            ["sh", "-c", 'read -r go; exec "$@"', "sh", *argv],
            stdin=subprocess.PIPE,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            env=environment(lab, where),
            **options,
        )
        time.sleep(0.05)

    def open(self) -> int:
        """Run it; returns when, in nanoseconds since the epoch."""
        assert self._process.stdin is not None
        at = time.time_ns()
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return at

    def end(self, timeout: float = 60.0) -> str:
        """Its output. Raises RuntimeError where it failed."""
        out, err = self._process.communicate(timeout=timeout)
        if self._process.returncode:
            raise RuntimeError(f"exit {self._process.returncode}: {err.strip()} {out.strip()}")
        return str(out)


def environment(lab: Lab, where: str = "operator") -> dict[str, str]:
    """As users have it: Python may keep its bytecode."""
    return {k: v for k, v in lab.environment(where).items() if not k.startswith("PYTHON")}


def operator(lab: Lab, *argv: str, timeout: float = 60.0) -> str:
    """Run `isthmus ARGV…` in the operator's namespace to its end. Raises RuntimeError where it failed."""
    gate = Gate(lab, ["isthmus", *argv])
    gate.open()
    return gate.end(timeout)


@contextmanager
def serving(lab: Lab, settled: float) -> Iterator[subprocess.Popen[str]]:
    """A running `serve`, its process; what is inside begins `settled` seconds after it was started."""
    process = lab.popen(
        "operator", ["isthmus", "serve"], env=environment(lab),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        time.sleep(settled)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def bare(lab: Lab) -> Path:
    """A configuration of Fabric and Sites alone, beside the lab's own: applied with --prune it removes everything."""
    path = lab.paths.operator / "bare"
    path.mkdir(exist_ok=True)
    shutil.copy(lab.paths.config / "fabric.yaml", path)
    return path


def compile_bytecode() -> None:
    """Once, so that no measured process compiles; as installing a package does."""
    import compileall  # noqa: PLC0415

    import isthmus  # noqa: PLC0415

    compileall.compile_dir(os.path.dirname(str(isthmus.__file__)), quiet=2)  # noqa: PTH120
