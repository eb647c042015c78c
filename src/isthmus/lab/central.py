"""A site's central node as its services see it: where things are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.layout import Layout, Paths, SiteLayout
from isthmus.lab.state import State


@dataclass(frozen=True, slots=True)
class Central:
    """One site of a lab, and the node that everything of it but hosts runs on."""

    state: State
    paths: Paths
    layout: Layout
    site: SiteLayout

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def address(self) -> str:
        """Of the central node, on the underlay."""
        return str(self.layout.nodes[self.name].address.ip)

    @property
    def run(self) -> Path:
        """The central node's /run."""
        return self.paths.run(self.name)

    def folder(self, name: str) -> Path:
        """`name` in the central node's /run, made where it is not there."""
        path = self.run / name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def write(self, name: str, text: str) -> None:
        """A file in the node's /run/etc, which may hold secrets."""
        secret(self.run / "etc" / name, text)


def secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads, in folders that only she enters."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
