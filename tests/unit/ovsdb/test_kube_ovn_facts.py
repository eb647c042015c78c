"""A router that Kube-OVN keeps, as its rows show it: whose it is, and which of its routes are somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.backends.ovsdb.facts import NorthboundFacts
from isthmus.backends.ovsdb.index import Index
from isthmus.model.facts import Vpc
from isthmus.model.intent import VpcRef
from isthmus.model.rows import KEY, OWNER

OURS = {OWNER: "default", KEY: "t/cluster/link-vpc"}
KUBE_OVN = {"vendor": "kube-ovn"}
HOPS = {"10.2.0.0/24": "169.254.128.1", "172.31.0.0/16": "10.1.0.254", "10.7.0.0/16": "192.0.2.1", "10.8.0.0/16": "x"}
"""Routes of the router: over our link, over a Subnet, to nowhere, and one that cannot be read."""


def read(ids: Mapping[str, str]) -> Vpc:
    """The router `red` with those routes."""
    none: frozenset[str] = frozenset()
    port = {"gateway_chassis": none, "ha_chassis_group": None}
    ports: dict[str, dict[str, Any]] = {
        "web": port | {"name": "red-web", "networks": {"10.1.0.1/24"}, "external_ids": KUBE_OVN},
        "link": port | {"name": "link-vpc", "networks": {"169.254.128.2/29"}, "external_ids": OURS},
    }
    route = {"policy": None, "external_ids": KUBE_OVN}
    routes = {prefix: route | {"ip_prefix": prefix, "nexthop": hop} for prefix, hop in HOPS.items()}
    routes["source"] = route | {"ip_prefix": "10.1.0.0/24", "nexthop": "10.1.0.1", "policy": "src-ip"}
    router = {
        "name": "red",
        "ports": frozenset(ports),
        "static_routes": frozenset(routes),
        "policies": none,
        "external_ids": ids,
    }
    rows = {
        "Logical_Router_Port": ports,
        "Logical_Router_Static_Route": routes,
        "Logical_Router": {"red": router},
        "Logical_Switch": {},
        "Logical_Switch_Port": {},
    }
    index = Index("default")
    for table, found in rows.items():
        for uuid, row in found.items():
            index.changed(table, uuid, None, row)
    (vpc,) = NorthboundFacts("cluster", rows, index).vpcs(VpcRef(name="red"))
    return vpc


def routes(vpc: Vpc) -> set[str]:
    return {str(route.prefix) for route in vpc.foreign_routes}


def test_what_kube_ovn_made_for_us_or_what_leads_nowhere_is_no_route_of_somebody_elses() -> None:
    vpc = read(KUBE_OVN)
    assert vpc.keeper == "kube-ovn"
    assert routes(vpc) == {"172.31.0.0/16", "10.8.0.0/16"}


def test_on_a_router_of_anybody_else_every_such_route_counts() -> None:
    vpc = read({})
    assert vpc.keeper == "ovn"
    assert routes(vpc) == set(HOPS)
