"""What a machine needs for a lab, what it has, and the command that gets the rest."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab.guests import image
from isthmus.lab.kubernetes import node
from isthmus.lab.kubernetes import programs as kubernetes
from isthmus.lab.openstack import environment as openstack
from isthmus.lab.openstack import rabbitmq
from isthmus.lab.ovn import SCHEMAS
from isthmus.lab.processes import environment
from isthmus.lab.spec import LINES, LabFile

PROGRAMS = {
    "ovsdb-server": "openvswitch-switch",
    "ovsdb-tool": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "ovn-nbctl": "ovn-common",
    "ovn-northd": "ovn-central",
    "ovn-controller": "ovn-host",
    "ovn-ic": "ovn-ic",
    "stunnel4": "stunnel4",
    "nsenter": "util-linux",
}
"""Program -> the Debian package that has it."""
LIBRARIES = ("cryptography", "packaging", "pydantic")
"""What the lab needs besides Isthmus itself."""
OPENSTACK = {
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
"""As PROGRAMS; only sites of type openstack need them."""
GUESTS = {
    "virsh": "libvirt-clients",
    "virtlogd": "libvirt-daemon",
    "libvirtd": "libvirt-daemon",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "busybox": "busybox-static",
}
"""As PROGRAMS; only clouds with Nova need them."""
GUESTS_FILES = {
    rabbitmq.PROGRAM: "rabbitmq-server",
    "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so": "libvirt-daemon-driver-qemu",
    str(openstack.DEBIAN / "libvirt.py"): "python3-libvirt",
}
"""File -> the Debian package that has it; only clouds with Nova need them."""
CLUSTERS = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
}
"""As PROGRAMS; only sites of type kubernetes need them."""
CLUSTERS_FILES = {node.LOOPBACK: "containernetworking-plugins"}
"""File -> the Debian package that has it; only sites of type kubernetes need them."""
WATCHES = {"cluster": 6, "host": 7}
"""Inotify instances of a control plane, and of a kubelet with its containerd, as counted."""
WATCHES_SETTING = "fs.inotify.max_user_instances"
WATCHES_LIMIT = Path("/proc/sys", WATCHES_SETTING.replace(".", "/"))
SCHEMA_PACKAGES = {
    "OVN_IC_Northbound": "ovn-ic-db",
    "OVN_IC_Southbound": "ovn-ic-db",
    "Open_vSwitch": "openvswitch-switch",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a lab needs; `remedy` only where it is missing."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def examine(file: LabFile | None = None) -> list[Check]:
    """Everything that a lab needs, or any lab without a file, in the order of repair."""
    checks = [_root(), *_programs(PROGRAMS), *_schemas(), _python(), _tun(), _datapath()]
    if file is None or any(site.type == "openstack" for site in file.sites):
        checks += [*_programs(OPENSTACK), *(_openstack(line) for line in LINES)]
    if file is None or any(site.runs_guests(host) for site in file.sites for host in site.hosts):
        checks += [*_programs(GUESTS), *_files(GUESTS_FILES), _overlay(), _kernel()]
    if file is None or any(site.type == "kubernetes" for site in file.sites):
        checks += [*_programs(CLUSTERS), *_files(CLUSTERS_FILES), _overlay(), _kubernetes(), _watches(file)]
    checks = list(dict.fromkeys(checks))
    return checks


def require(file: LabFile) -> None:
    """Raises WorldError with all that is missing for a lab and how to get it."""
    missing = [c for c in examine(file) if not c.ok]
    if not missing:
        return
    packages = sorted({c.remedy.rpartition(" ")[2] for c in missing if c.remedy.startswith("apt-get")})
    problems = [Problem("LabNeeds", f"{c.name}: {c.found}", remedy=c.remedy) for c in missing]
    if len(packages) > 1:
        problems.append(Problem("LabNeeds", "all at once", remedy=f"apt-get install -y {' '.join(packages)}"))
    raise WorldError(*problems)


def _root() -> Check:
    ok = os.geteuid() == 0
    return Check("root", ok, "yes" if ok else "no", "" if ok else "run as root: a lab makes namespaces")


def _programs(wanted: Mapping[str, str]) -> list[Check]:
    path = environment()["PATH"]
    checks = []
    for program, package in wanted.items():
        where = shutil.which(program, path=path)
        checks.append(
            Check(program, bool(where), where or "not there", "" if where else f"apt-get install -y {package}")
        )
    return checks


def _files(wanted: Mapping[str, str]) -> list[Check]:
    checks = []
    for file, package in wanted.items():
        there = Path(file).exists()
        found, remedy = (file, "") if there else ("not there", f"apt-get install -y {package}")
        checks.append(Check(Path(file).name, there, found, remedy))
    return checks


def _overlay() -> Check:
    """What a host that runs guests writes to /etc and /var stays its own."""

    def known() -> bool:
        return "\toverlay\n" in Path("/proc/filesystems").read_text(encoding="ascii")

    if not known() and (modprobe := shutil.which("modprobe", path=environment()["PATH"])):
        subprocess.run([modprobe, "--quiet", "overlay"], stderr=subprocess.DEVNULL, check=False)
    ok = known()
    return Check("overlay filesystems", ok, "yes" if ok else "no", "" if ok else "modprobe overlay")


def _kernel() -> Check:
    """Not being there is no fault: `lab up` gets it."""
    there = image.cached()
    return Check(
        "guests' kernel", True, str(there) if there else "not cached; the first lab with guests gets it by apt"
    )


def _schemas() -> list[Check]:
    checks = []
    for name, path in SCHEMAS.items():
        ok = Path(path).exists()
        package = SCHEMA_PACKAGES.get(name, "ovn-common")
        checks.append(
            Check(f"schema of {name}", ok, path if ok else "not there", "" if ok else f"apt-get install -y {package}")
        )
    return checks


def _python() -> Check:
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    remedy = "in a clone of Isthmus: pip install '.[lab]'" if missing else ""
    return Check("libraries of the lab", not missing, f"not there: {', '.join(missing)}" if missing else "yes", remedy)


def _openstack(line: str) -> Check:
    """Not being there is no fault: `lab up` gets it."""
    there = openstack.cached(line)
    found = (
        str(openstack.path(line)) if there else "not cached; the first lab with it installs it, from a package index"
    )
    return Check(f"OpenStack with Neutron {line}", True, found)


def _kubernetes() -> Check:
    """Its programs not being there is no fault, if there is a Go that can build them: `lab up` does."""
    name = f"Kubernetes {kubernetes.version()}"
    if not kubernetes.go():
        return Check(name, False, "no Go to build it with", "apt-get install -y golang-go")
    if kubernetes.cached():
        return Check(name, True, str(kubernetes.path()))
    found = "not cached; the first lab with it builds it"
    return Check(name, True, f"{found} with {kubernetes.compiler()}: seven minutes on two processors")


def _watches(file: LabFile | None) -> Check:
    """Kubernetes' programs end when the kernel lets root watch no more files; other labs count as well."""
    clusters = [site for site in file.sites if site.type == "kubernetes"] if file else []
    needed = sum(WATCHES["cluster"] + WATCHES["host"] * len(site.hosts) for site in clusters)
    limit = int(WATCHES_LIMIT.read_text(encoding="ascii"))
    used = sum(_links(folder).count("anon_inode:inotify") for folder in Path("/proc").glob("[0-9]*/fd"))
    ok = used + needed <= limit
    found = f"{used} of {limit} in use" + (f", {needed} needed" if needed else "")
    return Check("inotify instances", ok, found, "" if ok else f"sysctl -w {WATCHES_SETTING}={2 * (used + needed)}")


def _links(folder: Path) -> list[str]:
    """What a process has open; nothing of one that has ended, or is somebody else's."""
    found = []
    with suppress(OSError):
        for each in folder.iterdir():
            with suppress(OSError):
                found.append(str(each.readlink()))
    return found


def _tun() -> Check:
    ok = Path("/dev/net/tun").exists()
    return Check("/dev/net/tun", ok, "yes" if ok else "not there", "" if ok else "modprobe tun")


def _datapath() -> Check:
    kernel = Path("/sys/module/openvswitch").exists()
    return Check(
        "datapath", True, "the kernel's" if kernel else "userspace: the kernel has no openvswitch module loaded"
    )
