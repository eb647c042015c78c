"""What a lab file may say of a site of type `kubernetes`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.lab.spec import Endpoint, Site, Switch, Things

Found = tuple[str, str, str]
"""Message, field in the site, remedy."""
LEAVE = "leave it out"


def of_kubernetes(site: Site) -> Iterator[Found]:
    """What a cluster does not offer, or offers in another way."""
    if site.in_cluster and not site.agents:
        yield "without agents nothing of ours runs in the cluster", "inCluster", "say `agents: true`"
    for part, things in site.parts:
        if not part and (things.routers or things.switches):
            yield "a Vpc belongs to a tenant's namespace", "switches", "name routers and switches in perTenant"
        yield from _things(part, things, agents=site.agents)


def _things(part: str, things: Things, *, agents: bool) -> Iterator[Found]:
    for i, router in enumerate(things.routers):
        if router.attach:
            yield "a Vpc is not attached to networks of others", f"{part}routers.{i}.attach", LEAVE
    for i, switch in enumerate(things.switches):
        where = f"{part}switches.{i}"
        yield from _switch(where, switch)
        if switch.endpoints and not agents:
            yield "no Pod has a network without an agent", where, "say `agents: true`"
        for number, endpoint in enumerate(switch.endpoints):
            yield from _endpoint(f"{where}.endpoints.{number}", endpoint)


def _switch(where: str, switch: Switch) -> Iterator[Found]:
    if not switch.router:
        yield "a Subnet is in a Vpc", f"{where}.router", "name its router"
    if switch.external or switch.gateway_hosts:
        yield "a cluster has no physical networks in the lab", where, "leave out `external` and `gatewayHosts`"
    families = Counter(cidr.version for cidr in switch.cidrs)
    if not families or max(families.values()) > 1:
        yield "a Subnet has one network of a family", f"{where}.cidrs", "give it one, or one of each"


def _endpoint(where: str, endpoint: Endpoint) -> Iterator[Found]:
    if not endpoint.gateway or endpoint.routes:
        yield "a Pod has the routes that its Subnet gives it", where, "leave out `gateway` and `routes`"
