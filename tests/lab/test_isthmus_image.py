"""The image of Isthmus: made of what is here, once, and always the same."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

from isthmus.api import workloads
from isthmus.errors import WorldError
from isthmus.lab.cache import complete
from isthmus.lab.kubernetes import isthmus_image

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made with an empty cache."""
    folder = tmp_path_factory.mktemp("image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISTHMUS_CACHE", str(folder / "cache"))
        isthmus_image.write(folder / "isthmus.tar")
    return folder / "isthmus.tar"


def layers(image: Path) -> list[tarfile.TarFile]:
    with tarfile.open(image) as outer:
        read = {m.name: outer.extractfile(m).read() for m in outer.getmembers() if m.isfile()}  # type: ignore[union-attr]
    (named,) = json.loads(read["index.json"])["manifests"]
    assert named["annotations"]["io.containerd.image.name"] == workloads.IMAGE
    manifest = json.loads(read["blobs/sha256/" + named["digest"].removeprefix("sha256:")])
    packed = [read["blobs/sha256/" + found["digest"].removeprefix("sha256:")] for found in manifest["layers"]]
    return [tarfile.open(fileobj=io.BytesIO(data)) for data in packed]


def test_the_python_in_it_runs_the_command_that_is_in_it(image: Path, tmp_path: Path) -> None:
    """Nothing of the machine is seen: by the image's own dynamic linker, in the image's own folder."""
    for layer in layers(image):
        layer.extractall(tmp_path)
    libraries = f"{tmp_path}/usr/lib/x86_64-linux-gnu"
    linker = [f"{tmp_path}/usr/lib64/ld-linux-x86-64.so.2", "--inhibit-cache", "--library-path", libraries]
    program = next((tmp_path / "usr/bin").glob("python3.*"))
    code = (
        "import sys, isthmus.cli.serve, isthmus.agent.agent, isthmus.controller.networks;"
        "import ssl, lightkube, openstack, yaml;"
        "from isthmus.cli.main import main; main(['--version']);"
        "print([m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)])"
    )
    environment = {"PYTHONHOME": f"{tmp_path}/usr", "PYTHONPATH": f"{tmp_path}/{isthmus_image.LIBRARIES}"}
    done = subprocess.run(
        [*linker, str(program), "-S", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    version, modules = done.stdout.splitlines()
    assert version.startswith("isthmus ")
    assert [name for name in modules.strip("[]").split(", ") if str(tmp_path) not in name] == []


def test_it_is_the_same_when_it_is_made_again_and_comes_from_the_cache(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    isthmus_image.write(tmp_path / "anew.tar")
    made = {path for path in (tmp_path / "cache").iterdir() if complete(path)}
    assert {path.name.rpartition("-")[0] for path in made} == {"image-python", "image-isthmus"}
    times = {path: path.stat().st_mtime_ns for path in made}
    isthmus_image.write(tmp_path / "again.tar")
    assert {path: path.stat().st_mtime_ns for path in made} == times
    digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (image, *tmp_path.glob("*.tar"))}
    assert len(digests) == 1


def test_it_holds_no_laboratory_and_nothing_that_is_only_for_development(image: Path) -> None:
    _, own = layers(image)
    names = own.getnames()
    assert "opt/isthmus/isthmus/agent/cni_shim.py" in names
    assert [name for name in names if "/lab" in name or "demo" in name] == []
    found = {each.name.lower() for each in isthmus_image.libraries("isthmus", *isthmus_image.EXTRAS)}
    assert {"lightkube", "openstacksdk", "pyyaml", "h2"} <= found
    assert not {"pytest", "pydantic", "mypy"} & found
    assert distribution("isthmus").name not in found


def test_a_library_that_is_missing_is_named_and_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution_but_for_one(name: str) -> Distribution:
        if name == "openstacksdk":
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(isthmus_image, "distribution", distribution_but_for_one)
    with pytest.raises(WorldError, match=r"openstacksdk: not there.*pip install '\.\[kubernetes,openstack,lab\]'"):
        isthmus_image.libraries("isthmus", *isthmus_image.EXTRAS)
