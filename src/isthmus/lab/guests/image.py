"""What a guest boots: Debian's cloud kernel, and a RAM disk of busybox, a bare Python and our agent.

The kernel's package is downloaded and unpacked, never installed. Both lie in the cache, each in a folder named after
what it was made from; a folder is complete or it is not there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab.cache import complete, once, root
from isthmus.lab.guests import cpio

HERE = Path(__file__).parent
META_PACKAGE = "linux-image-cloud-amd64"
MODULES = {
    "virtio_ring": "",  # before virtio, which needs it
    "virtio": "",
    "virtio_pci_legacy_dev": "",
    "virtio_pci_modern_dev": "",
    "virtio_pci": "",
    "virtio_console": "",
    "failover": "",
    "net_failover": "",
    # The userspace datapath reads taps without offloads: without these every TCP connection hangs.
    "virtio_net": "csum=0 gso=0",
    "virtio_blk": "",
}
"""Kernel modules that a guest loads, in this order, with their options. What the kernel has built in is left out."""
DISK = 1
PYTHON, BUSYBOX = Path("/usr/bin/python3"), Path("/bin/busybox")
LIBRARY = ("os", "encodings/__init__", "encodings/aliases", "encodings/utf_8", "encodings/ascii", "encodings/latin_1")
"""All of Python's library that an interpreter opens as files when it starts; the rest is built in."""
COMPILE = """
import marshal, sys
from importlib.util import MAGIC_NUMBER
source, name = sys.argv[1:]
code = compile(open(source, "rb").read(), name, "exec", dont_inherit=True, optimize=2)
sys.stdout.buffer.write(MAGIC_NUMBER + bytes([1]) + bytes(11) + marshal.dumps(code))
"""
"""Compiles one module, as a file that is never held against its source."""


@dataclass(frozen=True, slots=True)
class Image:
    """The files of a guest; `key` names what they were made from.

    disk  an empty one of DISK GiB, as qcow2: who has no volumes must have a disk
    """

    key: str
    kernel: Path
    initrd: Path
    disk: Path


def image(say: Callable[[str], None], going: Callable[[], bool]) -> Image:
    """The guest image, from the cache or made now, while `going()`. Raises WorldError where a part cannot be had."""
    kernel = _kernel(say, going)
    contents = [*_programs(), *_python(), *_modules(kernel)]
    digest = hashlib.sha256(f"{kernel.name} {DISK}".encode())
    for entry in contents:
        digest.update(repr((entry.name, entry.mode, len(entry.data))).encode() + entry.data)
    key = digest.hexdigest()[:16]
    folder = root() / "guests" / key

    def make(new: Path) -> None:
        say("making the guests' RAM disk")
        (new / "initrd").write_bytes(cpio.archive(contents))
        # A hard link costs nothing, and an image stays whole when its kernel goes.
        os.link(kernel / "vmlinuz", new / "vmlinuz")
        _said(["qemu-img", "create", "-q", "-f", "qcow2", str(new / "disk"), f"{DISK}G"])

    once(folder, make, going)
    return Image(key, folder / "vmlinuz", folder / "initrd", folder / "disk")


# The kernel.


def cached() -> Path | None:
    """The newest kernel that is unpacked: a folder of `vmlinuz` and its `modules`."""
    found = [path for path in (root() / "kernels").glob("linux-*") if complete(path)]
    return max(found, key=_version, default=None)


def _kernel(say: Callable[[str], None], going: Callable[[], bool]) -> Path:
    """A kernel; downloaded where there is none."""
    if there := cached():
        return there
    package = _package()
    folder = root() / "kernels" / package.replace("linux-image-", "linux-")

    def make(new: Path) -> None:
        say(f"downloading {package}: once, 27 MB")
        with tempfile.TemporaryDirectory() as temporary:
            _apt(["apt-get", "download", package], temporary)
            deb = next(Path(temporary).glob("*.deb"))
            unpacked = Path(temporary) / "unpacked"
            subprocess.run(["dpkg-deb", "-x", deb, unpacked], check=True)
            shutil.copyfile(next(unpacked.glob("boot/vmlinuz-*")), new / "vmlinuz")
            (new / "modules").mkdir()
            for name in MODULES:
                for module in unpacked.rglob(f"{name}.ko"):
                    shutil.copyfile(module, new / "modules" / module.name)

    once(folder, make, going)
    return folder


def _version(folder: Path) -> list[int]:
    """
    >>> _version(Path("linux-6.1.0-56-cloud-amd64")) < _version(Path("linux-6.12.3-cloud-amd64"))
    True
    """
    return [int(number) for number in re.findall(r"\d+", folder.name.partition("-cloud")[0])]


def _package() -> str:
    """The package of the current cloud kernel."""
    said = _apt(["apt-cache", "depends", META_PACKAGE], "/")
    found = re.search(r"Depends: (linux-image-\S+)", said)
    if not found:
        raise WorldError(Problem("NoKernel", f"apt knows no {META_PACKAGE}", remedy="apt-get update"))
    return found[1]


def _apt(argv: list[str], folder: str) -> str:
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise WorldError(
            Problem("NoKernel", "no apt here to download a kernel with", remedy="use Debian 12, or copy its cache")
        ) from error
    if done.returncode:
        text = f"{' '.join(argv)}: {done.stderr.strip()[-500:]}"
        raise WorldError(Problem("NoKernel", text, remedy="apt-get update, with the network up"))
    return done.stdout


# The RAM disk.


def _programs() -> Iterator[cpio.Entry]:
    yield cpio.file("init", (HERE / "init").read_bytes(), 0o755)
    yield cpio.file("etc/udhcpc.sh", (HERE / "udhcpc.sh").read_bytes(), 0o755)
    yield cpio.file("bin/busybox", _bytes(BUSYBOX, "busybox-static"), 0o755)
    for applet in _said([str(BUSYBOX), "--list"]).split():
        if applet != "busybox":
            yield cpio.link(f"bin/{applet}", "busybox")
    for folder in ("proc", "sys", "dev"):
        yield cpio.directory(folder)
    # The kernel opens it before anything is mounted.
    yield cpio.Entry("dev/console", cpio.CHARACTER | 0o600, device=(5, 1))


def _modules(kernel: Path) -> Iterator[cpio.Entry]:
    order = ""
    for name, options in MODULES.items():
        path = kernel / "modules" / f"{name}.ko"
        if path.exists():
            order += f"{name} {options}".strip() + "\n"
            yield cpio.file(f"modules/{name}.ko", path.read_bytes())
    yield cpio.file("modules/order", order.encode())


def _python() -> Iterator[cpio.Entry]:
    """The machine's interpreter with what it needs to start, and the agent, compiled by it."""
    yield cpio.file("usr/bin/python3", _bytes(PYTHON, "python3"), 0o755)
    for library in re.findall(r"(/\S+) \(0x", _said(["ldd", str(PYTHON)])):
        yield cpio.file(library.lstrip("/"), Path(library).read_bytes(), 0o755)
    home = _said([str(PYTHON), "-I", "-S", "-c", "import os; print(os.path.dirname(os.__file__))"]).strip()
    yield cpio.directory(f"{home.lstrip('/')}/lib-dynload")
    for module in LIBRARY:
        yield _compiled(f"{home}/{module}.py", f"{home}/{module}.py")
    yield _compiled(str(HERE / "agent.py"), "/agent.py")


def _compiled(source: str, name: str) -> cpio.Entry:
    done = subprocess.run([PYTHON, "-I", "-S", "-c", COMPILE, source, name], capture_output=True, check=True)
    return cpio.file(f"{name.lstrip('/')}c", done.stdout)


def _said(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def _bytes(path: Path, package: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        remedy = f"apt-get install -y {package}"
        raise WorldError(Problem("LabNeeds", f"{path}: not there", remedy=remedy)) from error
