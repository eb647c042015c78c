"""Sites of type `openstack`: a real Keystone and Neutron, and packets through what they make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.lab import spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("openstack.yaml")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Lab]:
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        yield lab


@pytest.mark.parametrize("version", [4, 6])
def test_a_projects_endpoints_reach_each_other_through_its_router_and_nobody_elses(cloud: Lab, version: int) -> None:
    pairs = traffic.pairs(cloud.machines, version)
    result = traffic.matrix(cloud, pairs, version=version)
    assert result.open == {p for p in pairs if cloud.machine(p[0]).tenant == cloud.machine(p[1]).tenant}
    assert not result.strays
