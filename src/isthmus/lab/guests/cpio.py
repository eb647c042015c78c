"""The kernel's initial RAM disk, as bytes: a `newc` archive that is the same whenever its contents are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DIRECTORY, FILE, LINK, CHARACTER = 0o040000, 0o100000, 0o120000, 0o020000


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in an archive: `mode` with its type; `device` is (major, minor) of a device file."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    return Entry(name, DIRECTORY | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, FILE | mode, data)


def link(name: str, target: str) -> Entry:
    return Entry(name, LINK | 0o777, target.encode())


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive. Directories that names need are added; every time is 0 and every owner root.

    >>> archive([file("a/b", b"hi")]).startswith(b"070701")
    True
    """
    made: dict[str, Entry] = {}
    for entry in entries:
        parents = entry.name.split("/")[:-1]
        for end in range(1, len(parents) + 1):
            name = "/".join(parents[:end])
            made.setdefault(name, directory(name))
        made[entry.name] = entry
    out = bytearray()
    for number, entry in enumerate([*made.values(), Entry("TRAILER!!!", 0)], start=1):
        out += _header(number, entry)
        out += entry.data
        out += bytes(-len(out) % 4)
    return bytes(out)


def _header(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links, owner, group, time = 1, 0, 0, 0
    fields = (number, entry.mode, owner, group, links, time, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return header + bytes(-len(header) % 4)
