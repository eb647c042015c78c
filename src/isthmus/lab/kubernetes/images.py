"""Container images without a registry: archives in the layout of the OCI image specification, 1.0."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import machine
from typing import Any

BUSYBOX_PROGRAM = Path("/bin/busybox")
PAUSE = "docker.io/isthmus/busybox:1"
"""The image that holds a Pod's namespaces; full, or containerd would look for a registry."""
APPLETS = ("sh", "sleep", "cat", "ls", "ps", "id", "env", "ip", "ping", "nc", "wget", "httpd", "hostname", "true")
"""Names in /bin; everything else is `busybox NAME`."""


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What the kernel calls this machine -> what images call it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an image: its name without a leading slash, and what it is: bytes, or the target of a link.

    A name that ends in a slash is a directory; others are made as they are needed, of mode 755.
    """

    name: str
    data: bytes = b""
    link: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Layer:
    """Files of an image: a gzipped tar, and the SHA-256 of the tar in it."""

    packed: bytes
    digest: str


def busybox() -> list[Entry]:
    """Everything of an image with Debian's busybox, which needs no library."""
    program = Entry("bin/busybox", BUSYBOX_PROGRAM.read_bytes(), mode=0o755)
    links = [Entry(f"bin/{name}", link="busybox") for name in APPLETS]
    users = [Entry("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n"), Entry("etc/group", b"root:x:0:\n")]
    return [program, *links, *users]


def layer(entries: Iterable[Entry]) -> Layer:
    """The same entries give the same bytes."""
    tar = _tar(entries)
    return Layer(gzip.compress(tar, compresslevel=1, mtime=0), hashlib.sha256(tar).hexdigest())


def archive(name: str, layers: Iterable[Layer], config: Mapping[str, Any]) -> bytes:
    """A tar of one image; the same layers give the same bytes.

    name    with registry and tag
    layers  the lowest first
    config  as the specification's image configuration has it under `config`: Cmd, Env, …
    """
    stack = list(layers)
    blobs: dict[str, bytes] = {}

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    packed = [blob("layer.v1.tar+gzip", each.packed) for each in stack]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{each.digest}" for each in stack]}
    image = {"architecture": ARCHITECTURES[machine()], "os": "linux", "config": dict(config), "rootfs": rootfs}
    manifest = {"schemaVersion": 2, "config": blob("config.v1+json", _json(image)), "layers": packed}
    named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = blob("manifest.v1+json", _json(manifest)) | {"annotations": named}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(_index(index))} | blobs
    return _tar(Entry(path, data) for path, data in files.items())


def _index(manifest: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": [manifest]}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(entries: Iterable[Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as file:
        folders: set[str] = set()
        for entry in entries:
            for folder in _above(entry.name, folders):
                info = tarfile.TarInfo(folder)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                file.addfile(info)
            info = tarfile.TarInfo(entry.name)
            info.mode = entry.mode
            if entry.name.endswith("/"):
                info.type = tarfile.DIRTYPE
                folders.add(entry.name.rstrip("/"))
            if entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
            info.size = len(entry.data)
            file.addfile(info, io.BytesIO(entry.data))
    return out.getvalue()


def _above(name: str, known: set[str]) -> Iterator[str]:
    """Folders of a file or a folder that are not `known` yet, the outermost first; they are from now on."""
    parts = name.rstrip("/").split("/")[:-1]
    for end in range(1, len(parts) + 1):
        folder = "/".join(parts[:end])
        if folder not in known:
            known.add(folder)
            yield folder
