"""Every test here may use the lab's fixtures, and `unixes`: Isthmus by unix sockets on the module's lab."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import lab_factory, three_sites, two_sites
from unixes import Unixes

from .openstack_steps import cloud_and_cluster

__all__ = ["lab_factory", "three_sites", "two_sites", "unixes"]


@pytest.fixture(scope="module")
def unixes(two_sites: Lab) -> Iterator[Unixes]:
    made = Unixes(two_sites)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def _standing() -> Iterator[list[tuple[Lab, ExitStack]]]:
    """The shared cloud while it stands; gone at the end even where the last module that wants it never ran."""
    found: list[tuple[Lab, ExitStack]] = []
    yield found
    for _, stack in found:
        stack.close()


@pytest.fixture(scope="module")
def shared_cloud(request: pytest.FixtureRequest, _standing: list[tuple[Lab, ExitStack]]) -> Iterator[Lab]:
    """A cloud and a cluster for all modules that name it, half a minute in the making; the last one takes it down.

    Each leaves the objects in it as they were, and joins or cuts the tenants itself.
    """
    if not _standing:
        stack = ExitStack()
        _standing.append((stack.enter_context(cloud_and_cluster()), stack))
    yield _standing[0][0]
    places = [i for i, item in enumerate(request.session.items) if "shared_cloud" in getattr(item, "fixturenames", ())]
    if request.session.items[places[-1]].path == request.path:
        _standing.pop()[1].close()
