"""The Python environment that OpenStack's programs live in: pinned, hashed, outside the tree, one for all labs."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab import state as states
from isthmus.lab.cache import complete, once, root
from isthmus.lab.processes import environment
from isthmus.lab.state import State

DEBIAN = Path("/usr/lib/python3/dist-packages")


def lock_file(line: str) -> Path:
    """What is installed for a release line of Neutron: every package with version and hashes."""
    return Path(__file__).with_name(f"line-{line}.lock")


@cache
def key(line: str) -> str:
    """Another environment for other packages or another Python."""
    pinned = [text for text in lock_file(line).read_text(encoding="utf-8").splitlines() if "#" not in text]
    made_of = "\n".join([*pinned, sys.version, sys.base_prefix])
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def path(line: str) -> Path:
    """Where the environment of a line is, or will be."""
    return root() / f"openstack-{line}-{key(line)}"


def cached(line: str) -> bool:
    return complete(path(line))


def install(line: str, state: State, progress: Callable[[str], None]) -> None:
    """See that the environment is there. Raises WorldError with pip's words.

    The processes carry the mark of the lab that they work for, and end with it.
    """
    marked = environment({states.MARK: state.mark, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})

    def run(folder: Path, argv: list[str]) -> None:
        log = folder / "install.log"
        with log.open("ab") as out:
            # Its output is a file, not a pipe that would outlive it.
            code = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=marked, check=False
            ).returncode
        if code:
            said = log.read_text(errors="replace").strip()[-2000:]
            remedy = "see that pip reaches a package index"
            raise WorldError(Problem("InstallFailed", f"OpenStack's packages (Neutron {line}): {said}", remedy=remedy))

    def make(folder: Path) -> None:
        progress(f"installing Neutron {line} and what goes with it: once, a few minutes, 600 MB")
        run(folder, [sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
        run(folder, [*pip, "--requirement", str(lock_file(line))])
        link_libvirt(folder)

    once(path(line), make, state.alive)


def link_libvirt(folder: Path) -> None:
    """Let the environment see Debian's binding of its libvirt, where it is: one of PyPI's would need a compiler."""
    (packages,) = folder.glob("lib/python3.*/site-packages")
    for name in DEBIAN.glob("libvirt*.*"):
        if name.suffix in (".py", ".so"):
            (packages / name.name).symlink_to(name)


def programs(line: str, *, nova: bool) -> dict[str, str]:
    """Versions of OpenStack's programs in that environment."""
    wanted = ("keystone", "neutron", *(("nova", "placement", "glance") if nova else ()))
    pinned = dict(re.findall(r"^(?:openstack-)?([a-z]+)==([\d.]+)", lock_file(line).read_text(encoding="utf-8"), re.M))
    return {name: pinned[name] for name in wanted}
