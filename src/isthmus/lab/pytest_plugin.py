"""Labs as pytest fixtures.

Use it in a conftest.py: `pytest_plugins = ["isthmus.lab.pytest_plugin"]`.

    def test_something(two_sites): two_sites.exec("operator", ["isthmus", "status"])
    def test_other(lab_factory): lab = lab_factory("three-sites", tenants=5)

`two_sites` and `three_sites` live as long as the module; `lab_factory` makes labs of a test's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

from isthmus.lab import spec
from isthmus.lab.lab import Lab

_numbers = count(1)


class LabFactory(Protocol):
    def __call__(
        self,
        file: str | Path | dict[str, Any],
        *,
        tenants: int | None = None,
        name: str | None = None,
        agents: bool | None = None,
    ) -> Lab: ...


def unique_name() -> str:
    """A name that no other run on this machine uses."""
    return f"t{os.getpid()}-{next(_numbers)}x"  # the last letter: no name begins another


def _make(
    file: str | Path | dict[str, Any],
    *,
    tenants: int | None = None,
    name: str | None = None,
    agents: bool | None = None,
) -> Lab:
    name = name or unique_name()
    if isinstance(file, dict):
        return Lab.up(spec.parse(file, name=name, tenants=tenants, agents=agents))
    return Lab.up(spec.load(str(file), name=name, tenants=tenants, agents=agents))


@pytest.fixture
def lab_factory() -> Iterator[LabFactory]:
    """Makes labs from a built-in's name, a path or a mapping; all are gone after the test."""
    made: list[Lab] = []

    def make(
        file: str | Path | dict[str, Any],
        *,
        tenants: int | None = None,
        name: str | None = None,
        agents: bool | None = None,
    ) -> Lab:
        lab = _make(file, tenants=tenants, name=name, agents=agents)
        made.append(lab)
        return lab

    yield make
    for lab in made:
        lab.down()


@pytest.fixture(scope="module")
def two_sites() -> Iterator[Lab]:
    """The built-in lab `two-sites`, with two tenants; shared by a module's tests."""
    with _make("two-sites") as lab:
        yield lab


@pytest.fixture(scope="module")
def three_sites() -> Iterator[Lab]:
    """The built-in lab `three-sites`, with two tenants; shared by a module's tests."""
    with _make("three-sites") as lab:
        yield lab
