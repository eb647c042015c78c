"""Kubernetes' own programs, built once for a machine from a small Go module that names them.

`module/` pins every line of code by its hash. Where the machine's Go is older than that code asks, one that is pinned
too comes the way Go itself would get it, as the module golang.org/toolchain; Debian 12's 1.19 cannot do that by itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab import state as states
from isthmus.lab.cache import complete, once, root
from isthmus.lab.processes import environment
from isthmus.lab.state import State

MODULE = Path(__file__).with_name("module")
TOOLCHAIN = Path(__file__).with_name("toolchain")
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
OTHER_PLACES = "/usr/local/go/bin"
"""Where a Go that no package brought is, beside the PATH."""
TELL = 20.0
"""Seconds between two lines of progress."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Go:
    """The machine's Go; `version` as (1, 26, 8)."""

    program: str
    version: tuple[int, ...]

    @property
    def suffices(self) -> bool:
        return self.version >= _numbers(_one(r"^go ([\d.]+)$", MODULE / "go.mod"))


@cache
def version() -> str:
    """Of Kubernetes, as `v1.34.4`."""
    return _one(r"^\t?(?:require )?k8s\.io/kubernetes (v[\d.]+)", MODULE / "go.mod")


@cache
def go() -> Go | None:
    """The machine's Go, of any age."""
    program = shutil.which("go", path=f"{environment()['PATH']}:{OTHER_PLACES}")
    if not program:
        return None
    local = environment({"GOTOOLCHAIN": "local"})
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False, env=local).stdout
    found = re.search(r"go(\d[\d.]*)", said)
    return Go(program, _numbers(found[1])) if found else None


def compiler() -> str:
    """What builds, as `go1.26.8`: part of what the programs are made of. Raises WorldError where there is no Go."""
    found = _go()
    return "go" + ".".join(map(str, found.version)) if found.suffices else pinned()


def pinned() -> str:
    """The Go that is fetched where the machine's is too old."""
    return _one(r"v0\.0\.1-(go[\d.]+\d)\.linux", TOOLCHAIN / "go.mod")


def path() -> Path:
    """Where the programs are, or will be: in its `bin`. Raises WorldError where there is no Go."""
    made_of = hashlib.sha256(compiler().encode())
    for file in ("go.mod", "go.sum"):
        made_of.update((MODULE / file).read_bytes())
    return root() / f"kubernetes-{version()}-{made_of.hexdigest()[:16]}"


def cached() -> bool:
    return complete(path())


def install(state: State, progress: Progress) -> None:
    """See that the programs are there. Raises WorldError with Go's words.

    The processes carry the mark of the lab that they work for, and end with it.
    """

    def make(folder: Path) -> None:
        progress(f"building Kubernetes {version()} with {compiler()}: once, seven minutes on two processors")
        _Build(folder, state, progress).run()

    once(path(), make, state.alive)


class _Build:
    """One build; what Go downloads and compiles on the way stays in the cache's `go`, for the next version."""

    def __init__(self, folder: Path, state: State, progress: Progress) -> None:
        self._folder, self._state, self._progress = folder, state, progress
        home = root() / "go"
        self._environment = environment(
            {
                states.MARK: state.mark,
                "GOTOOLCHAIN": "local",
                "GOWORK": "off",
                "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
                "GOMODCACHE": str(home / "modules"),
                "GOCACHE": str(home / "build"),
                "CGO_ENABLED": "0",
            }
        )

    def run(self) -> None:
        own = _go()
        program = own.program if own.suffices else self._toolchain(own.program)
        packages = [f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS]
        deps = self._said([program, "list", "-deps", *packages], MODULE)
        where = "k8s.io/component-base/version"
        major, minor, _ = version().removeprefix("v").split(".")
        named = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        flags = " ".join(["-s", "-w", *(f"-X {where}.{key}={value}" for key, value in named.items())])
        (self._folder / "bin").mkdir()
        build = [program, "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(self._folder / "bin"), *packages]
        self._watched(build, len(deps.splitlines()))

    def _toolchain(self, program: str) -> str:
        """A newer Go, from the module cache; modules have no executable files."""
        said = json.loads(self._said([program, "mod", "download", "-json", "golang.org/toolchain"], TOOLCHAIN))
        folder = Path(said["Dir"])
        for file in [*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").rglob("*")]:
            if file.is_file():
                file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        return str(folder / "bin" / "go")

    def _said(self, argv: Sequence[str], where: Path) -> str:
        """What a command prints; its errors are in the log."""
        with self._log.open("ab") as log:
            done = subprocess.run(
                argv, cwd=where, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=log, text=True, check=False,
            )  # fmt: skip
        self._checked(done.returncode)
        return done.stdout

    def _watched(self, argv: Sequence[str], packages: int) -> None:
        """Run a build that prints one line for each package; tell now and then how far it is."""
        begin = self._log.stat().st_size
        # Its output is a file, not a pipe that would outlive it.
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                argv, cwd=MODULE, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        told = time.monotonic()
        while True:
            try:
                return self._checked(process.wait(timeout=0.5))
            except subprocess.TimeoutExpired:
                pass
            if not self._state.alive():
                process.kill()
            if time.monotonic() > told + TELL:
                told = time.monotonic()
                done = self._log.read_bytes()[begin:].count(b"\n")
                self._progress(f"building Kubernetes: {done} of at most {packages} packages")

    @property
    def _log(self) -> Path:
        return self._folder / "build.log"

    def _checked(self, code: int) -> None:
        if code:
            said = self._log.read_text(errors="replace").strip()[-2000:]
            raise WorldError(
                Problem("BuildFailed", f"Kubernetes {version()}: {said}", remedy="see that Go reaches a module proxy")
            )


def _go() -> Go:
    if found := go():
        return found
    raise WorldError(Problem("LabNeeds", "there is no Go", remedy="apt-get install -y golang-go"))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip(".").split("."))


def _one(pattern: str, file: Path) -> str:
    found = re.search(pattern, file.read_text(encoding="utf-8"), re.M)
    assert found, f"{file} names no {pattern}"
    return found[1]
