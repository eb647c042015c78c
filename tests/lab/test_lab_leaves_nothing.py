"""Whatever ends a lab, nothing of it is left; and labs do not see each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from isthmus.lab import spec, state, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import LabFactory, unique_name

pytestmark = pytest.mark.lab

COMMAND = [sys.executable, "-m", "isthmus.cli.main", "lab"]


_OPEN: dict[str, int] = {}
"""Namespaces of labs under test: the kernel gives the number of one that is gone to the next that anybody makes."""


def inodes(keeper: int) -> set[str]:
    """The namespaces that a keeper holds, as `net:[4026532…]`; open until `assert_nothing_left`."""
    ours = {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("net", "mnt", "uts")}
    held = set()
    for fd in Path(f"/proc/{keeper}/fd").iterdir():
        # The keeper is at work: a descriptor that it has just closed is none that it holds.
        with suppress(FileNotFoundError):
            target = str(fd.readlink())
            if target.startswith(("net:", "mnt:", "uts:")) and target not in ours:
                if target not in _OPEN:
                    _OPEN[target] = os.open(fd, os.O_RDONLY)
                held.add(target)
    return held


def users(namespaces: set[str]) -> list[str]:
    """Processes but this one that live in or hold one of the namespaces."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            links = [*(process / "ns").iterdir(), *(process / "fd").iterdir()]
        except OSError:
            continue
        for link in links:
            try:
                if str(link.readlink()) in namespaces:
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append(f"{process.name} {link.name} {line}")
            except OSError:
                continue
    return found


def links() -> list[str]:
    return sorted(p.name for p in Path("/sys/class/net").iterdir())


def processes_about(name: str) -> list[str]:
    """Command lines that name the lab."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if name in line:
                found.append(line)
    return found


def assert_nothing_left(name: str, namespaces: set[str], links_before: list[str]) -> None:
    assert not (state.base() / name).exists()
    assert name not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert processes_about(name) == []
    assert users(namespaces) == []
    for namespace in namespaces:
        os.close(_OPEN.pop(namespace))
    assert links() == links_before


def test_down_removes_processes_namespaces_links_mounts_and_files(lab_factory: LabFactory) -> None:
    before = links()
    lab = lab_factory("two-sites")
    held = inodes(lab.state.keeper)
    assert len(held) > 40 and users(held)
    outside, inside = (
        lab.popen(place, ["sh", "-c", "echo there; exec sleep 1000"], stdout=subprocess.PIPE)
        for place in ("operator", "cloud-1")
    )
    for process in (outside, inside):
        # Not before it has entered: a lab that goes away while nsenter opens its doors is another test's matter.
        assert process.stdout is not None and process.stdout.readline() == "there\n"
    lab.down()
    assert outside.wait() == -signal.SIGKILL
    inside.wait()
    for process in (outside, inside):
        assert process.stdout is not None
        process.stdout.close()
    assert_nothing_left(lab.name, held, before)


def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


STAGES = {
    "directory": ".",
    "first record": "state.json",
    "keeper": "keeper.sock",
    "keys": "operator/config",
    "first database": "nodes/fabric/run/ovn/ovn_ic_nb_db.pid",
    "switches": "nodes/cloud-1/run/openvswitch/ovs-vswitchd.pid",
    "northd": "nodes/cloud/run/ovn/ovn-northd.pid",
    "controllers": "nodes/cluster-3/run/ovn/ovn-controller.pid",
}


CLOUD = str(Path(__file__).with_name("openstack.yaml"))
CLOUD_STAGES = {
    "copied databases": "nodes/cloud/run/mysql/data/ibdata1",
    "database server": "nodes/cloud/run/mysql/mysqld.sock",
    "keystone": "nodes/cloud/run/keystone.pid",
    "neutron": "nodes/cloud/run/neutron.pid",
    "first networks": "nodes/cloud/run/log/neutron.log: POST /v2.0/networks",
}
"""A file, or what a file says."""


def start(name: str, stage: str) -> subprocess.Popen[bytes]:
    """`isthmus lab up` in its own process group, at the moment when a file of the stage appears."""
    wanted, lab = (STAGES[stage], "two-sites") if stage in STAGES else (CLOUD_STAGES[stage], CLOUD)
    process = subprocess.Popen([*COMMAND, "up", lab, "--name", name], start_new_session=True, stderr=-3, stdout=-3)
    file, _, text = wanted.partition(": ")
    path = state.base() / name / file
    until(lambda: path.exists() and (not text or text in path.read_text(errors="replace")), 180 if text else 60)
    return process


def keeper_of(name: str) -> int:
    return state.State.load(name).keeper if (state.base() / name / "state.json").exists() else 0


def interrupt(name: str, process: subprocess.Popen[bytes], number: signal.Signals, before: list[str]) -> None:
    """Send it, and nothing may be left; Ctrl-C in a terminal goes to the whole group."""
    keeper = keeper_of(name)
    held = inodes(keeper) if keeper else set()
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    assert process.wait(20) == 130
    assert_nothing_left(name, held, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("stage", [*STAGES, *CLOUD_STAGES])
def test_a_signal_while_it_is_built_leaves_nothing(stage: str, number: signal.Signals) -> None:
    before, name = links(), unique_name()
    interrupt(name, start(name, stage), number, before)


@pytest.mark.full
@pytest.mark.parametrize("stage", ["directory", "first record", "keeper"])
def test_ctrl_c_a_little_later_leaves_nothing(stage: str) -> None:
    """Faults of a few microseconds: a signal after the directory and before the `try`, or in the start of a thread."""
    before = links()
    for microseconds in range(0, 6000, 100):
        name = unique_name()
        process = start(name, stage)
        time.sleep(microseconds / 1e6)
        interrupt(name, process, signal.SIGINT, before)


@pytest.mark.parametrize("stage", [*STAGES, *CLOUD_STAGES])
def test_kill_9_while_it_is_built_and_down_leave_nothing(stage: str) -> None:
    before, name = links(), unique_name()
    process = start(name, stage)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    keeper = keeper_of(name)
    held = inodes(keeper) if keeper and state.started(keeper) else set()
    assert subprocess.run([*COMMAND, "down", "--name", name], check=False).returncode == 0
    assert_nothing_left(name, held, before)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_what_installs_openstack_ends_with_the_lab(
    end: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, name = links(), unique_name()
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    process = subprocess.Popen([*COMMAND, "up", CLOUD, "--name", name], start_new_session=True, stderr=-3, stdout=-3)
    until(lambda: bool(processes_about(f"{tmp_path}/openstack")), 60)
    held = inodes(keeper_of(name))
    os.killpg(process.pid, end) if end == signal.SIGINT else process.kill()
    process.wait(20)
    assert subprocess.run([*COMMAND, "down", "--name", name], check=False).returncode == 0
    assert_nothing_left(name, held, before)
    assert processes_about(str(tmp_path)) == []
    assert not list(tmp_path.glob("*/complete"))


def test_kill_9_of_the_keeper_and_down_leave_nothing(lab_factory: LabFactory) -> None:
    before = links()
    lab = lab_factory("two-sites")
    held = inodes(lab.state.keeper)
    os.kill(lab.state.keeper, signal.SIGKILL)
    lab.down()
    assert_nothing_left(lab.name, held, before)


def test_down_of_one_lab_does_not_touch_another(lab_factory: LabFactory) -> None:
    first, second = lab_factory("two-sites"), lab_factory("two-sites")
    pair = ("cloud-a-web-1", "cloud-a-db-2")
    with traffic.Stream(second, *pair) as stream:
        stream.wait()
        first.down()
        report = stream.report()
    assert report.received == report.sent > 0
    assert second.name in state.names() and first.name not in state.names()


def test_a_name_is_taken_once(lab_factory: LabFactory) -> None:
    lab = lab_factory("two-sites")
    with pytest.raises(state.WorldError, match="there is a lab"):
        Lab.up(spec.load("two-sites", name=lab.name))
    assert lab.daemon("cloud/nb").running
