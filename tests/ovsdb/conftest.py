"""Deployments of databases, for every test here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployment import Deployment

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Deploy]:
    """Makes deployments of sites; everything is stopped after the test."""
    made: list[Deployment] = []

    def make(*sites: str, agents: bool = False) -> Deployment:
        made.append(Deployment(tmp_path / f"d{len(made)}", *sites, agents=agents))
        return made[-1]

    yield make
    for deployment in made:
        deployment.stop()


@pytest.fixture
def pair(deploy: Deploy) -> Deployment:
    """Sites east and west, router `a` in both: web and db in the east, pods and jobs in the west."""
    made = deploy("east", "west")
    made.sites["east"].router("a", web="10.1.1.1/24,fd00:1:1::1/64", db="10.1.2.1/24")
    made.sites["west"].router("a", pods="10.2.1.1/24,fd00:2:1::1/64", jobs="10.2.2.1/24")
    return made
