"""Every test here may use the lab's fixtures, and `unixes`: Isthmus by unix sockets on the module's lab."""

from collections.abc import Iterator

import pytest

from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import lab_factory, three_sites, two_sites
from unixes import Unixes

__all__ = ["lab_factory", "three_sites", "two_sites", "unixes"]


@pytest.fixture(scope="module")
def unixes(two_sites: Lab) -> Iterator[Unixes]:
    made = Unixes(two_sites)
    yield made
    made.stop()
