"""Programs of others, Kubernetes' own above all, built once for a machine from small Go modules that name them.

`module/`, `cnitool/` and `conformance/` pin every line of code by its hash. Where the machine's Go is older than that
code asks, one that is pinned too comes the way Go itself would get it, as the module golang.org/toolchain; Debian 12's
1.19 cannot do that by itself.
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

TOOLCHAIN = Path(__file__).with_name("toolchain")
OTHER_PLACES = "/usr/local/go/bin"
"""Where a Go that no package brought is, beside the PATH."""
TELL = 20.0
"""Seconds between two lines of progress."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Module:
    """A folder with a go.mod and a go.sum, and what is built from it.

    name      of its folder in the cache
    origin    the module of others whose version it is known by
    commands  packages; a program is called as the last part of its package
    tests     packages whose tests are a program, `NAME.test`
    cost      how long a build takes, for whoever waits
    """

    name: str
    folder: Path
    origin: str
    commands: tuple[str, ...]
    tests: tuple[str, ...] = ()
    cost: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} {version(self)}"


PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
KUBERNETES = Module(
    "kubernetes",
    Path(__file__).with_name("module"),
    "k8s.io/kubernetes",
    tuple(f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS),
    cost="seven minutes on two processors",
)
CNITOOL = Module(
    "cnitool",
    Path(__file__).with_name("cnitool"),
    "github.com/containernetworking/cni",
    ("github.com/containernetworking/cni/cnitool",),
    cost="seconds",
)
CONFORMANCE = Module(
    "conformance",
    Path(__file__).with_name("conformance"),
    "k8s.io/kubernetes",
    ("k8s.io/kubernetes/test/images/agnhost", "github.com/onsi/ginkgo/v2/ginkgo"),
    tests=("k8s.io/kubernetes/test/e2e",),
    cost="six minutes on two processors",
)
MODULES = (KUBERNETES, CNITOOL, CONFORMANCE)


@dataclass(frozen=True, slots=True)
class Go:
    """The machine's Go; `version` as (1, 26, 8)."""

    program: str
    version: tuple[int, ...]

    @property
    def suffices(self) -> bool:
        return self.version >= _numbers(_one(r"^go ([\d.]+)$", KUBERNETES.folder / "go.mod"))


@cache
def version(module: Module = KUBERNETES) -> str:
    """Of what is built, as `v1.34.4`."""
    return _one(rf"^\t?(?:require )?{re.escape(module.origin)} (v[\d.]+)", module.folder / "go.mod")


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


def path(module: Module = KUBERNETES) -> Path:
    """Where the programs are, or will be: in its `bin`. Raises WorldError where there is no Go."""
    made_of = hashlib.sha256(compiler().encode())
    for file in ("go.mod", "go.sum"):
        made_of.update((module.folder / file).read_bytes())
    return root() / f"{module.name}-{version(module)}-{made_of.hexdigest()[:16]}"


def cached(module: Module = KUBERNETES) -> bool:
    return complete(path(module))


def install(state: State, progress: Progress, module: Module = KUBERNETES) -> None:
    """See that the programs are there. Raises WorldError with Go's words.

    The processes carry the mark of the lab that they work for, and end with it.
    """

    def make(folder: Path) -> None:
        progress(f"building {module.title} with {compiler()}: once, {module.cost}")
        _Build(module, folder, state, progress).run()

    once(path(module), make, state.alive)


class _Build:
    """One build; what Go downloads and compiles on the way stays in the cache's `go`, for the next version."""

    def __init__(self, module: Module, folder: Path, state: State, progress: Progress) -> None:
        self._module, self._folder, self._state, self._progress = module, folder, state, progress
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
        module, place = self._module, self._folder / "bin"
        own = _go()
        program = own.program if own.suffices else self._toolchain(own.program)
        deps = self._said([program, "list", "-deps", *module.commands], module.folder)
        flags = ["-trimpath", "-ldflags", " ".join(["-s", "-w", *_stamps(module)])]
        place.mkdir()
        build = [program, "build", "-v", *flags, "-o", str(place), *module.commands]
        self._watched(build, len(deps.splitlines()))
        for test in module.tests:
            # Go does not say how far it is with these.
            self._progress(f"building {module.name}: {test}")
            name = f"{place}/{Path(test).name}.test"
            self._said([program, "test", "-c", *flags, "-o", name, test], module.folder)

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
                argv, cwd=self._module.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
                self._progress(f"building {self._module.name}: {done} of at most {packages} packages")

    @property
    def _log(self) -> Path:
        return self._folder / "build.log"

    def _checked(self, code: int) -> None:
        if code:
            said = self._log.read_text(errors="replace").strip()[-2000:]
            raise WorldError(
                Problem("BuildFailed", f"{self._module.title}: {said}", remedy="see that Go reaches a module proxy")
            )


def _stamps(module: Module) -> list[str]:
    """What tells Kubernetes' programs their version."""
    if module.origin != KUBERNETES.origin:
        return []
    major, minor, _ = version(module).removeprefix("v").split(".")
    named = {"gitVersion": version(module), "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return [f"-X k8s.io/component-base/version.{key}={value}" for key, value in named.items()]


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
