"""Every command that README and docs show is run, in the order in which they show it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from documents import ROOT, commands, yaml_blocks
from isthmus.lab import state
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import LabFactory

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guests")]

HERE = Path(__file__).parent
TIMEOUT = 60.0
READY = "import urllib.request as u; u.urlopen('http://{}/readyz', timeout=1)"


class Shell:
    """Runs a document's lines one after the other; `export` holds for those that follow."""

    def __init__(self, environment: Mapping[str, str], directory: Path, prefix: tuple[str, ...] = ()) -> None:
        self.environment = {**environment}
        self.directory, self.prefix = directory, prefix
        self.timeout = TIMEOUT

    def run(self, line: str) -> None:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value
            return
        process = subprocess.Popen(
            [*self.prefix, "sh", "-c", f"cd {self.directory} && exec {line}"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            if line.startswith("isthmus serve"):
                self._until_ready(shlex.split(line)[-1])
                process.terminate()
            said, _ = process.communicate(timeout=self.timeout)
        finally:
            process.kill()
        assert process.returncode == 0, f"{line}: exit code {process.returncode}\n{said}"

    def _until_ready(self, address: str) -> None:
        """Until what serves there is ready: it does not end by itself."""
        ask = [*self.prefix, sys.executable, "-c", READY.format(address)]
        deadline = time.monotonic() + TIMEOUT
        while subprocess.run(ask, stderr=subprocess.DEVNULL, timeout=TIMEOUT, check=False).returncode:
            assert time.monotonic() < deadline, f"nothing is ready at {address}"


@pytest.fixture
def lab(lab_factory: LabFactory) -> Lab:
    """The deployments of README's documents, with these as the operator's."""
    lab = lab_factory(str(HERE / "readme.yaml"))
    config = lab.paths.config
    ours = {d["metadata"]["name"]: d["spec"] for d in yaml.safe_load_all((config / "fabric.yaml").read_text())}
    documents = list(yaml.safe_load_all("".join(yaml_blocks(ROOT / "README.md"))))
    for document in documents:
        if place := ours.get(document["metadata"]["name"]):
            # where it is, and with which keys: nothing else is changed
            document["spec"].pop("tls", None)
            document["spec"] |= {key: place[key] for key in ("northbound", "southbound", "tls")}
    (config / "fabric.yaml").unlink()
    (config / "documents.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
    (config.parent / "my-documents").symlink_to(config)
    return lab


def as_operator(lab: Lab) -> Shell:
    return Shell(lab.environment("operator"), lab.paths.operator, tuple(lab.command("operator", [])))


def test_the_commands_of_the_readme_do_what_it_says(lab: Lab) -> None:
    shell = as_operator(lab)
    lines = [line for line in commands(ROOT / "README.md") if not line.startswith("./run")]
    assert len(lines) >= 9
    for line in lines:
        shell.run(line)


def test_the_commands_of_the_command_line_document_run(lab: Lab) -> None:
    shell = as_operator(lab)
    lines = commands(ROOT / "docs" / "command-line.md")
    assert len(lines) >= 15
    for line in lines:
        # This lab has no projects: tests/lab/test_verify_openstack.py traces from one.
        if not line.startswith("isthmus demo") and "/my-project/" not in line:
            shell.run(line)


@contextmanager
def elsewhere() -> Iterator[dict[str, str]]:
    """Labs of one's own, so that one without a name is not mistaken for another's. Short: sockets lie below it."""
    directory = tempfile.mkdtemp(prefix="i", dir="/tmp")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    before = os.environ.get("ISTHMUS_LAB_DIR")
    os.environ["ISTHMUS_LAB_DIR"] = f"{directory}/l"
    try:
        yield {**os.environ, "PATH": path}
        assert state.names() == []
    finally:
        for name in state.names():
            state.remove(name)
        if before is None:
            del os.environ["ISTHMUS_LAB_DIR"]
        else:
            os.environ["ISTHMUS_LAB_DIR"] = before
        Path(directory).rmdir()


def test_the_commands_of_the_lab_document_run(tmp_path: Path) -> None:
    with elsewhere() as environment:
        shell = Shell(environment, tmp_path)
        lines = commands(ROOT / "docs" / "lab.md")
        assert shlex.split(lines[-1])[:3] == ["isthmus", "lab", "down"]
        for line in lines:
            shell.run(line)


@pytest.mark.full
def test_the_commands_of_the_guest_document_run(tmp_path: Path) -> None:
    with elsewhere() as environment:
        shell = Shell(environment, tmp_path)
        shell.timeout = 300.0  # eight guests boot on emulated processors
        for line in [*commands(ROOT / "docs" / "guests.md"), "isthmus lab down"]:
            shell.run(line)


def test_the_lab_file_of_the_lab_document_makes_a_lab_whose_neighbour_reaches_a_tenant(tmp_path: Path) -> None:
    block, _ = yaml_blocks(ROOT / "docs" / "lab.md")
    (tmp_path / "lab.yaml").write_text(block, encoding="utf-8")
    with elsewhere() as environment:
        shell = Shell(environment, tmp_path)
        for line in (
            "isthmus lab up lab.yaml",
            "isthmus lab status",
            "isthmus lab exec neighbour -- ping -c 3 -W 5 10.1.1.11",
            "isthmus lab exec vm-a -- ping -c 3 -W 5 10.1.1.11",
            "isthmus lab down",
        ):
            shell.run(line)


def test_the_cloud_of_the_lab_document_makes_a_lab(tmp_path: Path) -> None:
    _, block = yaml_blocks(ROOT / "docs" / "lab.md")
    lab = {"name": "cloud-lab", "tenants": 1, "sites": yaml.safe_load(block)}
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(lab), encoding="utf-8")
    with elsewhere() as environment:
        shell = Shell(environment, tmp_path)
        shell.timeout = 600.0  # the first one on a machine installs OpenStack
        for line in (
            "isthmus lab up lab.yaml",
            "isthmus lab exec operator -- openstack --os-cloud cloud-a network list",
            "isthmus lab exec cloud-a-web-1 -- ping -c 3 -W 5 10.1.1.12",
            "isthmus lab down",
        ):
            shell.run(line)


def test_the_demos_of_documents_run(tmp_path: Path) -> None:
    with elsewhere() as environment:
        shell = Shell(environment, tmp_path)
        lines = [c for c in commands(ROOT / "docs" / "command-line.md") if c.startswith("isthmus demo")]
        assert lines
        for line in lines:
            shell.run(line)
