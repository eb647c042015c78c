"""What a lab file says of clouds, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.errors import IntentError
from isthmus.lab import documents
from isthmus.lab.layout import layout
from isthmus.lab.openstack.provision import rules
from isthmus.lab.spec import LabFile, Rule, parse


def file(*, site: dict[str, Any] | None = None, tenants: list[str] | int = 1, **things: Any) -> LabFile:
    """A cloud `c` with a host `h`, and a plain site beside it."""
    cloud = {"name": "c", "type": "openstack", "openstack": {"nova": False}, "hosts": [{"name": "h"}]}
    plain = {"name": "plain", "hosts": [{"name": "p"}], "perTenant": {"routers": [{"name": "r"}]}}
    plain["perTenant"]["switches"] = [{"name": "s", "router": "r", "cidrs": ["10.2.0.0/24"]}]
    return parse({"name": "lab", "tenants": tenants, "sites": [cloud | {"perTenant": things} | (site or {}), plain]})


WEB = {"name": "web", "router": "r", "cidrs": ["10.1.0.0/24"]}
EXT = {"name": "ext", "external": True, "cidrs": ["203.0.113.0/24"]}
ROUTER = {"name": "r"}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a tenant of a name that clouds use": ({"tenants": ["admin"]}, "project 'admin' already"),
    "groups for a tenant who is not there": ({"site": {"connectSecurityGroups": {"z": ["x"]}}}, "no tenant 'z'"),
    "BFD where Neutron has no option": (
        {"site": {"bfd": True, "openstack": {"nova": False, "neutron": "27"}}},
        "Neutron 27 has no option",
    ),
    "two flat networks": ({"site": {"switches": [EXT, EXT | {"name": "more"}]}}, "ext and more would be flat"),
    "a tenant's own physical network": ({"switches": [EXT]}, "one for the whole site"),
    "a tenant's shared network": ({"routers": [ROUTER], "switches": [WEB | {"shared": True}]}, "may not share"),
    "a choice of gateways": ({"routers": [ROUTER], "switches": [WEB | {"gatewayHosts": ["h"]}]}, "Neutron chooses"),
    "an unknown group": (
        {"routers": [ROUTER], "switches": [WEB | {"endpoints": [{"host": "h", "securityGroups": ["x"]}]}]},
        "no security group x",
    ),
    "groups without port security": (
        {
            "routers": [ROUTER],
            "switches": [
                WEB | {"endpoints": [{"host": "h", "securityGroups": ["default"], "portSecurity": False}]},
            ],
        },
        "has no security groups",
    ),
    "an unknown group in a rule": ({"securityGroups": [{"name": "g", "rules": [{"remote": "x"}]}]}, "group 'x'"),
    "ports of ICMP": (
        {"securityGroups": [{"name": "g", "rules": [{"protocol": "icmp", "ports": [80]}]}]},
        "only tcp and udp have ports",
    ),
    "two gateways": (
        {
            "site": {"switches": [EXT]},
            "routers": [{"name": "r", "attach": [{"switch": "ext", "addresses": ["203.0.113.9/24"]}] * 2}],
        },
        "one gateway",
    ),
    "security groups without Neutron": (
        {"site": {"type": "ovn", "openstack": None, "securityGroups": [{"name": "g"}]}},
        "only sites of type openstack",
    ),
    "a cloud that is none": ({"site": {"type": "ovn"}}, "not of type openstack"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_neutron_cannot_honour_is_refused(what: str) -> None:
    arguments, message = REFUSED[what]
    with pytest.raises(IntentError, match=message):
        file(**arguments)


def test_documents_name_project_router_and_groups() -> None:
    lab = layout(file(site={"connectSecurityGroups": {"a": ["default"]}}, routers=[ROUTER], switches=[WEB]))
    (document,) = documents.interconnects(lab)
    assert document["spec"]["attachments"] == [
        {"site": "c", "vpc": {"project": "a", "name": "r"}, "subnets": ["web"], "securityGroups": ["default"]},
        {"site": "plain", "vpc": {"name": "r"}, "subnets": ["s"]},
    ]
    site = documents.fabric(lab)[1]["spec"]
    assert (site["type"], site["openstack"], site.get("zone")) == ("openstack", {"cloud": "c"}, None)
    assert lab.sites[0].zone == "" and lab.sites[1].zone == "plain"


def test_a_rule_becomes_one_for_each_family_and_range() -> None:
    rule = Rule.model_validate({"protocol": "tcp", "ports": [80, "8000-8100"], "remote": "peers"})
    found = list(rules(rule, "own", {"peers": "id"}))
    assert [(r["ethertype"], r["port_range_min"], r["port_range_max"], r["remote_group_id"]) for r in found] == [
        ("IPv4", 80, 80, "id"),
        ("IPv4", 8000, 8100, "id"),
        ("IPv6", 80, 80, "id"),
        ("IPv6", 8000, 8100, "id"),
    ]
    rule = Rule.model_validate({"protocol": "icmp", "remote": "fd00::/64"})
    assert [(r["ethertype"], r["protocol"], r["remote_ip_prefix"]) for r in rules(rule, "own", {})] == [
        ("IPv6", "ipv6-icmp", "fd00::/64")
    ]
