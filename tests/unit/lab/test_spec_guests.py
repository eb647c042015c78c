"""Lab files of clouds with Nova: what is a guest, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.errors import IntentError
from isthmus.lab import spec
from isthmus.lab.layout import layout

NETWORK = {"name": "web", "cidrs": ["10.0.0.0/24"], "endpoints": [{"host": "h1"}]}


def lab(**site: Any) -> dict[str, Any]:
    hosts = [{"name": "h1"}, {"name": "h2", "compute": False}]
    cloud = {"name": "cloud", "type": "openstack", "hosts": hosts, "switches": [NETWORK]}
    return {"name": "x", "tenants": 1, "sites": [{**cloud, **site}]}


def test_endpoints_of_a_cloud_are_guests_on_hosts_that_run_them_unless_it_has_no_nova() -> None:
    plan = layout(spec.parse(lab()))
    assert [m.guest for m in plan.machines] == [True]
    assert plan.guest_hosts == {"h1"}
    without = layout(spec.parse(lab(openstack={"nova": False})))
    assert [m.guest for m in without.machines] == [False]
    assert not without.guest_hosts


def test_what_stands_on_the_physical_network_is_no_guest() -> None:
    outside = {"name": "ext", "cidrs": ["203.0.113.0/24"], "external": True, "endpoints": [{"host": "h2"}]}
    plan = layout(spec.parse(lab(switches=[outside])))
    assert [(m.external, m.guest) for m in plan.machines] == [(True, False)]


@pytest.mark.parametrize(
    "site, says",
    [
        ({"openstack": {"neutron": "28"}}, "no Nova for Neutron 28"),
        ({"switches": [NETWORK | {"endpoints": [{"host": "h2"}]}]}, "h2 runs no guests"),
        ({"switches": [NETWORK | {"cidrs": ["10.0.0.0/24", "fd00::/64"]}]}, "no DHCPv6 client"),
        ({"type": "ovn"}, "only sites of type openstack have hosts that run guests"),
    ],
)
def test_what_no_guest_can_have_is_refused(site: dict[str, Any], says: str) -> None:
    with pytest.raises(IntentError, match=says):
        spec.parse(lab(**site))
