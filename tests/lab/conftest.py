"""Every test here may use the lab's fixtures, and `unixes`: Isthmus by unix sockets on the module's lab."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from isthmus.lab import state
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import lab_factory, three_sites, two_sites
from unixes import Unixes

from .kubernetes_steps import twin_tenants
from .openstack_steps import cloud_and_cluster

__all__ = ["lab_factory", "three_sites", "two_sites", "unixes"]


SHARED = ("shared_cloud", "shared_cluster")
GUESTS = "guests"
"""Of tests whose labs need gigabytes, or have names that others have too."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What must not run beside each other is a group: a module, modules that share a lab, those with guests.

    The long groups come first, so that nobody waits for one of them in the end.
    """
    groups = {item.path: item.path.stem for item in items}
    for item in items:
        if mark := item.get_closest_marker("xdist_group"):
            groups[item.path] = mark.args[0]
        for name in SHARED:
            if name in getattr(item, "fixturenames", ()):
                groups[item.path] = name
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(groups[item.path]))
    long = [GUESTS, *SHARED]
    items.sort(key=lambda item: long.index(groups[item.path]) if groups[item.path] in long else len(long))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where a test failed: which processes of its labs a signal ended, for one may have crashed."""
    report = yield
    if report.failed:
        for name in state.names():
            if name.startswith(f"t{os.getpid()}-") and (lines := state.State(name).ended):
                report.sections.append((f"ended by signals in {name}", "\n".join(lines)))
    return report


@pytest.fixture(scope="module")
def unixes(two_sites: Lab) -> Iterator[Unixes]:
    made = Unixes(two_sites)
    yield made
    made.stop()


Standing = dict[str, tuple[Lab, ExitStack]]


@pytest.fixture(scope="session")
def _standing() -> Iterator[Standing]:
    """Shared labs while they stand; gone at the end even where the last module that wants one never ran."""
    found: Standing = {}
    yield found
    for _, stack in found.values():
        stack.close()


def _shared(request: pytest.FixtureRequest, standing: Standing, make: Callable[[], AbstractContextManager[Lab]]) -> Lab:
    """The lab of a fixture that several modules name: made for the first of them, taken down after the last."""
    name = str(request.fixturename)
    if name not in standing:
        stack = ExitStack()
        standing[name] = stack.enter_context(make()), stack
    lab, stack = standing[name]
    wanted = [item for item in request.session.items if name in getattr(item, "fixturenames", ())]
    if wanted[-1].path == request.path:
        request.addfinalizer(stack.close)
    return lab


@pytest.fixture(scope="module")
def shared_cloud(request: pytest.FixtureRequest, _standing: Standing) -> Lab:
    """A cloud and a cluster for all modules that name it, half a minute in the making.

    Each leaves the objects in it as they were, and joins or cuts the tenants itself.
    """
    return _shared(request, _standing, cloud_and_cluster)


@pytest.fixture(scope="module")
def shared_cluster(request: pytest.FixtureRequest, _standing: Standing) -> Lab:
    """Two tenants with one and the same network, each with a Pod on both nodes; modules leave all of it as it was."""
    return _shared(request, _standing, twin_tenants)
