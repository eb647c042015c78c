"""Every test here may use the lab's fixtures, and `unixes`: Isthmus by unix sockets on the module's lab."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import lab_factory, three_sites, two_sites

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from unixes import Unixes

__all__ = ["lab_factory", "three_sites", "two_sites", "unixes"]


@pytest.fixture(scope="module")
def unixes(two_sites: Lab) -> Iterator[Unixes]:
    made = Unixes(two_sites)
    yield made
    made.stop()
