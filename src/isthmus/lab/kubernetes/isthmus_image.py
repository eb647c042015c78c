"""The image of Isthmus: this machine's Python, the libraries that `serve` and `agent` need in a cluster, our package.

Everything is taken from this machine, and lies in the image where it lies here; no registry and no package index is
asked. Of two layers, each made once for what is in it, ours is the upper and small one: it changes often.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import isthmus
from isthmus.api.workloads import IMAGE, USER
from isthmus.errors import Problem, WorldError
from isthmus.lab.cache import once, root
from isthmus.lab.kubernetes.images import Entry, Layer, archive, layer
from isthmus.lab.processes import environment

LIBRARIES = "opt/isthmus"
"""Where our package and what it needs are in the image."""
EXTRAS = ("kubernetes", "openstack")
"""Of our package, beside what it needs anyway."""
LEFT_OUT = {
    *("__pycache__", "test", "tests", "idlelib", "lib2to3", "tkinter", "turtledemo", "ensurepip", "pydoc_data"),
    *("distutils", "venv", "site-packages", "dist-packages"),
}
"""Folders of the standard library that nothing of ours looks into; `config-…`, for who embeds Python, is another."""
OF_THE_INSTALLER = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""Files beside a library that say how it came here."""
OF_THE_LAB = {"lab", "cli/lab.py", "cli/demo.py"}
"""What of our package has no use in a cluster."""
PROGRAMS = {"nft": "nftables"}
"""What the agent runs beside Python -> the Debian package that has it."""
UNNAMED = ("libgcc_s.so.1",)
"""Shared libraries that no file names: the C library loads this one to end a thread."""
COMMAND = """#!{python}
import sys
from isthmus.cli.main import main
sys.exit(main())
"""
CONFIG = {
    "Entrypoint": ["/usr/bin/isthmus"],
    "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PYTHONPATH=/{LIBRARIES}", "PYTHONDONTWRITEBYTECODE=1"],
    "WorkingDir": "/",
}


def write(path: Path, going: Callable[[], bool] = lambda: True) -> None:
    """Write the image as an archive; quick where its layers are in the cache. Raises OSError, WorldError.

    going  as `cache.once` takes it
    """
    layers = [_layer("python", _python(), going), _layer("isthmus", _own(), going)]
    path.write_bytes(archive(IMAGE, layers, CONFIG))


def _layer(name: str, entries: Iterable[Entry], going: Callable[[], bool]) -> Layer:
    """Of the cache, keyed by every byte that goes in."""
    wanted = sorted(entries, key=lambda entry: entry.name)
    made_of = hashlib.sha256(sys.version.encode())
    for entry in wanted:
        made_of.update(f"\0{entry.name}\0{entry.link}\0{entry.mode}\0{len(entry.data)}\0".encode() + entry.data)
    folder = root() / f"image-{name}-{made_of.hexdigest()[:16]}"
    once(folder, lambda there: _make(there, wanted), going)
    return Layer((folder / "layer.tar.gz").read_bytes(), (folder / "digest").read_text(encoding="ascii"))


def _make(folder: Path, entries: list[Entry]) -> None:
    made = layer([*entries, *_compiled(folder / "tree", entries)])
    (folder / "layer.tar.gz").write_bytes(made.packed)
    (folder / "digest").write_text(made.digest, encoding="ascii")


def _compiled(tree: Path, entries: Iterable[Entry]) -> list[Entry]:
    """What Python would make of sources at each start; it believes it whatever a file's date, for files have none."""
    for entry in entries:
        if entry.name.endswith(".py"):
            path = tree / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.data)
    words = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", "-s", str(tree), str(tree)]
    # Sets of constants are in one order, always; and a lab that is built meanwhile has its own interpreter.
    subprocess.run(words, env={"PYTHONHASHSEED": "0"}, check=True)
    found = [Entry(str(path.relative_to(tree)), path.read_bytes()) for path in sorted(tree.rglob("*.pyc"))]
    shutil.rmtree(tree)
    return found


# -- what is in it -------------------------------------------------------------------------------------------------


def _python() -> Iterator[Entry]:
    """All but ours."""
    program, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib")).resolve()
    programs = [program, *map(_program, PROGRAMS)]
    files = {_name(file): file for file in (*programs, *_standard(library))} | _installed(libraries("isthmus", *EXTRAS))
    linked = [*programs, *(file for file in files.values() if ".so" in file.suffixes)]
    files |= {_name(file): file for file in _shared(linked)}
    for name, file in files.items():
        yield Entry(name, file.read_bytes(), mode=0o755 if os.access(file, os.X_OK) else 0o644)
    for name in ("bin", "sbin", "lib", "lib64"):
        if (here := Path("/", name)).is_symlink():
            yield Entry(name, link=str(here.readlink()))
    yield Entry("var/run", link="/run")
    if (name := "usr/bin/python3") != _name(program):
        yield Entry(name, link=str(program))
    yield Entry("etc/passwd", f"root:x:0:0::/:/sbin/nologin\nisthmus:x:{USER}:{USER}::/:/sbin/nologin\n".encode())
    yield Entry("etc/group", f"root:x:0:\nisthmus:x:{USER}:\n".encode())


def _program(name: str) -> Path:
    if found := shutil.which(name, path=environment()["PATH"]):
        return Path(found)
    raise WorldError(Problem("LabNeeds", f"{name}: not there", remedy=f"apt-get install -y {PROGRAMS[name]}"))


def _name(file: Path) -> str:
    """In the image: where the file is, through links that lead to its folder."""
    return str((file.parent.resolve() / file.name).relative_to("/"))


def _standard(library: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(library):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        yield from (Path(where, name) for name in names)


def _installed(needed: Iterable[Distribution]) -> dict[str, Path]:
    """Name in the image -> file here, of libraries from Python's package index."""
    found = {}
    for each in needed:
        for file in each.files or ():
            if not {"..", "__pycache__"} & set(file.parts) and file.name not in OF_THE_INSTALLER:
                found[f"{LIBRARIES}/{file}"] = Path(str(file.locate()))
    return found


def _shared(programs: Iterable[Path]) -> list[Path]:
    """Shared libraries that programs and libraries are linked with, as the dynamic linker finds them here."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
    found = {Path(name) for name in re.findall(r"^\t(?:\S+ => )?(/\S+) \(", said, re.M)}
    beside = next(path.parent for path in found if path.name.startswith("libc.so"))
    return sorted(found | {beside / name for name in UNNAMED})


def _own() -> Iterator[Entry]:
    """Our package and its command."""
    here = Path(isthmus.__file__).parent
    for where, folders, names in os.walk(here):
        folders[:] = [name for name in folders if name != "__pycache__" and name not in OF_THE_LAB]
        for file in (Path(where, name) for name in names):
            if (name := str(file.relative_to(here))) not in OF_THE_LAB:
                yield Entry(f"{LIBRARIES}/isthmus/{name}", file.read_bytes())
    yield Entry("usr/bin/isthmus", COMMAND.format(python=Path(sys.executable).resolve()).encode(), mode=0o755)


def _here(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        remedy = f"in a clone of Isthmus: pip install '.[{','.join(EXTRAS)},lab]'"
        raise WorldError(Problem("LabNeeds", f"{name}: not there", remedy=remedy)) from error


def libraries(name: str, *extras: str) -> list[Distribution]:
    """Everything that a library that is installed here, with extras of it, needs; without itself.

    Raises WorldError for one that is missing.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    left = [(name, extra) for extra in ("", *extras)]
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        for text in distribution(each[0]).requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": each[1]}):
                found[canonicalize_name(wanted.name)] = _here(wanted.name)
                left += [(wanted.name, more) for more in ("", *wanted.extras)]
    return [found[key] for key in sorted(found)]
