"""What a machine needs for a lab, what it has, and the command that gets the rest."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab.ovn import SCHEMAS
from isthmus.lab.processes import environment

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


def examine() -> list[Check]:
    """Everything a lab needs, in the order of repair."""
    return [_root(), *_programs(), *_schemas(), _python(), _tun(), _datapath()]


def require() -> None:
    """Raises WorldError with all that is missing and how to get it."""
    missing = [c for c in examine() if not c.ok]
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


def _programs() -> list[Check]:
    path = environment()["PATH"]
    checks = []
    for program, package in PROGRAMS.items():
        where = shutil.which(program, path=path)
        checks.append(
            Check(program, bool(where), where or "not there", "" if where else f"apt-get install -y {package}")
        )
    return checks


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
    ok = importlib.util.find_spec("cryptography") is not None
    return Check("cryptography", ok, "yes" if ok else "not there", "" if ok else "pip install 'isthmus[lab]'")


def _tun() -> Check:
    ok = Path("/dev/net/tun").exists()
    return Check("/dev/net/tun", ok, "yes" if ok else "not there", "" if ok else "modprobe tun")


def _datapath() -> Check:
    kernel = Path("/sys/module/openvswitch").exists()
    return Check(
        "datapath", True, "the kernel's" if kernel else "userspace: the kernel has no openvswitch module loaded"
    )
