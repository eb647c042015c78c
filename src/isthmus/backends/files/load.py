"""Documents of a file or directory. `load` for the command line, `load_lenient` for `serve`."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from isthmus.api import DERIVED, Draft, Listing, assemble, parse
from isthmus.backends.files.yamltext import Malformed, decode_json, decode_yaml
from isthmus.errors import IntentError, Problem
from isthmus.model.intent import Configuration, Origin, Tls

SUFFIXES = (".yaml", ".yml", ".json")
Read = Callable[[Path, list[Problem]], list[Draft]]
"""Documents of a file; adds its problems to the list."""

FILE_LIMIT = 64 * 1024 * 1024
"""Bytes in one file."""


def load(path: Path | str) -> Configuration:
    """All documents of a file, or of a directory's files, in order of their names.

    Raises IntentError with everything that is wrong.
    """
    return load_drafts(path)[0]


def load_drafts(path: Path | str) -> tuple[Configuration, list[Draft]]:
    """The same, and the documents as they are written."""
    listing, drafts = _load(path)
    problems = [p for p in listing.problems if p.code not in DERIVED]
    if problems:
        raise IntentError(*problems)
    return listing.configuration, drafts


def load_lenient(path: Path | str) -> Listing:
    """The same, with the bad documents set aside.

    A path that is missing, empty or does not parse is not `listed`; nor is one with a document that cannot be
    told to belong to an object (unknown kind, no name): an object that is not here may still be wanted.
    """
    return _load(path)[0]


class Reader:
    """`load_lenient` for somebody who reads again and again: a file that has not changed is not parsed again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[object, list[Draft], list[Problem]]] = {}

    def listing(self, path: Path) -> Listing:
        before, self._known = self._known, {}
        return _load(path, lambda file, problems: self._read(file, problems, before))[0]

    def _read(
        self, file: Path, problems: list[Problem], before: Mapping[Path, tuple[object, list[Draft], list[Problem]]]
    ) -> list[Draft]:
        try:
            # taken before the content, so that a change in between is seen as one next time
            version: object = version_of(file)
        except OSError:
            return _read(file, problems)
        known = before.get(file)
        if known is None or known[0] != version:
            found: list[Problem] = []
            known = version, _read(file, found), found
        if not known[2]:
            self._known[file] = known
        problems += known[2]
        # `assemble` writes on the drafts
        return [copy(draft) for draft in known[1]]


def copy(draft: Draft) -> Draft:
    return replace(draft, problems=list(draft.problems))


def version_of(file: Path | os.DirEntry[str]) -> tuple[int, ...]:
    """Changes whenever the file does. Raises OSError."""
    found = file.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _load(path: Path | str, read: Read | None = None) -> tuple[Listing, list[Draft]]:
    root = Path(path)
    problems: list[Problem] = []
    drafts: list[Draft] = []
    for file in _files(root, problems):
        drafts += (read or _read)(file, problems)
    if not drafts and not problems:
        remedy = "write one, or name another path"
        problems.append(Problem("NoDocuments", "there is no document", str(path), remedy=remedy))
    for draft in drafts:
        _check_tls(draft)
    listing = assemble(drafts)
    if problems:
        every = sorted([*problems, *listing.problems], key=lambda p: (p.file, p.document or 0))
        listing = listing._replace(problems=tuple(every), listed=False)
    return listing, drafts


def _files(root: Path, problems: list[Problem]) -> list[Path]:
    """Files to read; adds a problem where the path itself is of no use."""
    try:
        mode = root.stat().st_mode
        if not stat.S_ISDIR(mode):
            return [root]
        with os.scandir(root) as entries:
            named = [e for e in entries if e.name.endswith(SUFFIXES) and not e.name.startswith(".")]
        # a link that leads nowhere is a document that we cannot see, not one that is gone
        there = [e.name for e in named if e.is_file() or (e.is_symlink() and not (root / e.name).exists())]
        files = [root / name for name in sorted(there)]
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        problems.append(
            Problem("NoSuchFile", f"cannot be read: {said}", str(root), remedy="name a file or directory with -f")
        )
        return []
    if not files:
        remedy = f"put files there that end in {', '.join(SUFFIXES)}"
        problems.append(Problem("NoDocuments", "the directory has no documents", str(root), remedy=remedy))
    return files


def _read(file: Path, problems: list[Problem]) -> list[Draft]:
    drafts: list[Draft] = []
    base = file.parent.absolute()
    try:
        data = _bytes(file)
        if not data and file.suffix != ".json":
            # Somebody is just writing it, as likely as not: no reason to take anything away.
            problems.append(Problem("NoDocuments", "the file is empty", str(file), remedy="fill it, or remove it"))
            return []
        for index, value in enumerate(decode(data, file.suffix)):
            drafts.append(parse(value, Origin(str(file), index), base))
    except OSError as error:
        problems.append(Problem("NoSuchFile", f"cannot be read: {error.strerror}", str(file), remedy="check its mode"))
    except Malformed as bad:
        problems.append(Problem(bad.code, bad.message, str(file), bad.index, remedy=bad.remedy))
    return drafts


def _bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        data = stream.read(FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise Malformed("TooLarge", f"more than {FILE_LIMIT} bytes", None, "split it")
    return data


def decode(data: bytes, suffix: str) -> Iterator[object]:
    """The documents of a file's content. Raises Malformed."""
    if suffix == ".json":
        return decode_json(data)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed("NotUtf8", f"not UTF-8 (line {line})", None, "save it as UTF-8") from None
    return decode_yaml(data)


# TLS files


def _check_tls(draft: Draft) -> None:
    if draft.tls is not None:
        draft.add(_tls_problems(draft.tls))


def _tls_problems(tls: Tls) -> Iterator[Problem]:
    for field, path, holds in (
        ("caFile", tls.ca_file, b"CERTIFICATE-----"),
        ("certFile", tls.cert_file, b"CERTIFICATE-----"),
        ("keyFile", tls.key_file, b"PRIVATE KEY-----"),
    ):
        at = f"spec.tls.{field}"
        try:
            with path.open("rb") as stream:
                found = holds in stream.read(1 << 20)
        except OSError as error:
            said = f"{path} cannot be read: {error.strerror}"
            yield Problem("TlsFile", said, field=at, remedy="name a readable file, relative to this document")
        else:
            if not found:
                said = f"{path} holds no {'private key' if b'KEY' in holds else 'certificate'} in PEM"
                yield Problem("TlsFile", said, field=at, remedy="convert it, or name another file")
