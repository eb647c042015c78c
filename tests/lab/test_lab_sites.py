"""What built-in and other lab files give."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus.lab import traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import LabFactory

pytestmark = pytest.mark.lab


def same_site_and_tenant(lab: Lab, pair: traffic.Pair) -> bool:
    a, b = (lab.machine(n) for n in pair)
    return (a.site, a.tenant) == (b.site, b.tenant)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["udp", "icmp"])
def test_before_isthmus_a_tenant_reaches_her_own_machines_of_one_site_only(
    two_sites: Lab, version: int, protocol: Any
) -> None:
    pairs = traffic.pairs(two_sites.machines, version)
    result = traffic.matrix(two_sites, pairs, version=version, protocol=protocol)
    assert result.open == {p for p in pairs if same_site_and_tenant(two_sites, p)}
    assert not result.strays
    if protocol == "icmp":
        assert all(result[p].replies == result[p].received == 3 for p in result.open)


def test_three_sites_have_every_tenant_in_all_three(three_sites: Lab) -> None:
    pairs = traffic.pairs(three_sites.machines)
    result = traffic.matrix(three_sites, pairs)
    assert result.open == {p for p in pairs if same_site_and_tenant(three_sites, p)}
    assert {(m.site, m.tenant) for m in three_sites.machines} == {
        (s, t) for s in ("cloud", "east", "west") for t in ("a", "b")
    }


def test_the_interconnection_databases_know_every_zone_and_gateway(two_sites: Lab) -> None:
    names = {row["name"] for row in two_sites.snapshot("ic-sb")["ic-sb"]["Gateway"].values()}
    assert names == {"cloud-1", "cloud-2", "cluster-1", "cluster-2"}


def test_the_operator_finds_valid_documents(two_sites: Lab) -> None:
    done = two_sites.exec("operator", ["isthmus", "check", "--output", "json"])
    assert done.returncode == 0, done.stdout
    names = {(o["kind"], o["name"]) for o in json.loads(done.stdout)["objects"]}
    assert names == {
        ("Fabric", "default"),
        ("Site", "cloud"),
        ("Site", "cluster"),
        ("Interconnect", "tenant-a"),
        ("Interconnect", "tenant-b"),
    }


EXTERNAL = {
    "name": "external",
    "tenants": 2,
    "sites": [
        {
            "name": "cloud",
            "hosts": [{"name": "c1", "gateway": True}, {"name": "c2"}],
            "agents": True,
            "perTenant": {
                "routers": [
                    {
                        "name": "{tenant}",
                        "attach": [{"switch": "ext", "addresses": ["203.0.113.11/24"], "hosts": ["c1"]}],
                        "routes": [{"prefix": "0.0.0.0/0", "nexthop": "203.0.113.1"}],
                    }
                ],
                "switches": [
                    {
                        "name": "{tenant}-web",
                        "router": "{tenant}",
                        "cidrs": ["10.1.1.0/24"],
                        "endpoints": [{"name": "vm-{tenant}", "host": "c2"}],
                    },
                    {"name": "{tenant}-quiet", "router": "{tenant}", "cidrs": ["10.1.9.0/24"], "listed": False},
                ],
            },
            "switches": [
                {
                    "name": "ext",
                    "cidrs": ["203.0.113.0/24"],
                    "external": True,
                    "endpoints": [
                        {
                            "name": "neighbour",
                            "host": "c2",
                            "addresses": ["203.0.113.1"],
                            "gateway": False,
                            "routes": [{"prefix": "10.1.1.0/24", "nexthop": "203.0.113.11"}],
                        }
                    ],
                }
            ],
        }
    ],
}


def test_a_neighbour_on_the_external_network_reaches_the_router_it_routes_to(lab_factory: LabFactory) -> None:
    lab = lab_factory(EXTERNAL)
    pairs = [("neighbour", "vm-a"), ("vm-a", "neighbour"), ("neighbour", "vm-b")]
    result = traffic.matrix(lab, pairs, count=10, protocol="icmp")
    assert result.open == {("neighbour", "vm-a"), ("vm-a", "neighbour")}
    assert lab.daemon("c1/agent").running and "c2/agent" not in lab.state.daemons
    assert lab.daemon("c1/agent").log.exists()
