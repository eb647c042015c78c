"""What every link maker must give, whoever keeps the VPC router; and that every keeper and every site has its own."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any, get_args, get_type_hints

import pytest

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile import link
from isthmus.compile.rows import LINK_MAKERS, rows
from isthmus.compile.view import Joined, Numbers, Side
from isthmus.controller.world import BACKENDS, backend
from isthmus.model.facts import Role, Subnet, Vpc, VpcPort
from isthmus.model.intent import Attachment, Endpoint, Pools, Site, SubnetRef, VpcRef
from isthmus.model.rows import Row, kubernetes, nb, neutron

pytestmark = pytest.mark.conformance

POOLS = Pools(
    link=(ip_network("169.254.128.0/18"), ip_network("fd69:7374::/32")),
    transit=(ip_network("169.254.64.0/18"), ip_network("fd69:7375::/32")),
)
REMOTE = {"10.2.0.0/24", "10.4.0.0/24", "fd00:2::/64"}
WORDS = {
    "Logical_Router_Static_Route": ("ip_prefix", "nexthop"),
    "extra_route": ("destination", "nexthop"),
    "staticRoutes": ("cidr", "nextHopIP"),
}
"""Tables of routes -> destination, next hop."""
GUARDS = ("Logical_Router_Policy", "policyRoutes")


def side(name: str, keeper: Any, *networks: str) -> Side:
    addresses = tuple(map(ip_interface, networks))
    prefixes = tuple(a.network for a in addresses)
    vpc, ref = f"uuid-of-{name}", SubnetRef(name=f"{name}-web")
    ports = [VpcPort("p", f"{name}-door", addresses, Role.SUBNET, "s", f"{name}-web")]
    # Neutron's port is there when its rows are made; the key is that of the link's network.
    ports += [
        VpcPort(f"l{v}", f"link{v}", (ip_interface(a),), Role.LINK, "l", "l", f"t/{name}/link")
        for v, a in ((4, "169.254.128.2/29"), (6, "fd69:7374::2/64"))
        if keeper == "neutron"
    ]
    subnet = Subnet(f"{name}-web", prefixes, addresses, (f"{name}-door",), "s")
    attachment = Attachment(name, name, VpcRef(name="r"), (ref,))
    return Side(attachment, Vpc(name, vpc, "r", tuple(ports), (), keeper), (subnet,), (), ("gw",), ())


def made(keeper: str, *more: str) -> tuple[Joined, list[Row]]:
    """Rows of the side that `keeper` keeps."""
    sides = (side("here", keeper, "10.1.0.1/24", "fd00:1::1/64"), side("there", "ovn", "10.2.0.1/24", "fd00:2::1/64"))
    subnets = sides[1].subnets + tuple(
        Subnet(n, (ip_network(n),), (ip_interface(n),), (n,), n) for n in ("10.4.0.0/24", *more)
    )
    sides = (sides[0], replace(sides[1], subnets=subnets))
    joined = Joined("t", "default", "i", sides, {}, POOLS, 1442)
    joined = replace(joined, numbers={s.name: Numbers(n + 1, n) for n, s in enumerate(sides)})
    return joined, list(LINK_MAKERS[keeper](joined, sides[0]))


def routes(found: list[Row]) -> dict[str, str]:
    return {str(r.columns[WORDS[r.table][0]]): str(r.columns[WORDS[r.table][1]]) for r in found if r.table in WORDS}


def test_every_keeper_has_a_link_maker_and_every_site_a_backend() -> None:
    assert set(get_args(get_type_hints(Vpc)["keeper"])) == set(LINK_MAKERS)
    hints = get_type_hints(Site)
    kinds = set(get_args(hints["type"])) - {"kubernetes"} | set(get_args(hints["plugin"]))
    assert kinds == set(BACKENDS)


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_backend_is_chosen_by_what_the_site_says(kind: str) -> None:
    of_cluster = kind in get_args(get_type_hints(Site)["plugin"])
    said: dict[str, Any] = {"type": "kubernetes", "plugin": kind} if of_cluster else {"type": kind}
    found = backend(Site("s", zone="s", northbound=Endpoint(()), southbound=Endpoint(()), **said))
    assert issubclass(found, OvnSite)
    assert found is BACKENDS[kind]()


@pytest.mark.parametrize("keeper", LINK_MAKERS)
def test_just_the_remote_prefixes_lead_to_the_edge(keeper: str) -> None:
    joined, found = made(keeper)
    edge = {str(i.ip) for i in joined.link(joined.sides[0], link.EDGE)}
    given = routes(found)
    assert set(given) == REMOTE
    assert set(given.values()) == edge


@pytest.mark.parametrize("keeper", LINK_MAKERS)
def test_a_prefix_more_is_a_route_more_and_no_other_row_changes_its_name(keeper: str) -> None:
    before, after = (made(keeper, *more)[1] for more in ((), ("10.6.0.0/24",)))
    assert set(routes(after)) - set(routes(before)) == {"10.6.0.0/24"}
    assert {r.key for r in before if r.table not in GUARDS} <= {r.key for r in after}


@pytest.mark.parametrize("keeper", LINK_MAKERS)
def test_the_guard_is_a_pair_of_each_family_below_everybodys_policies(keeper: str) -> None:
    guard = [r for r in made(keeper)[1] if r.table in GUARDS]
    assert sorted((r.columns["priority"], r.columns["action"]) for r in guard) == [
        (1, "drop"), (1, "drop"), (2, "allow"), (2, "allow")
    ]  # fmt: skip
    allowed = [str(r.columns["match"]) for r in guard if r.columns["action"] == "allow"]
    assert all('"here-door"' in match for match in allowed)


@pytest.mark.parametrize("keeper", LINK_MAKERS)
def test_the_edge_has_a_switch_to_be_on(keeper: str) -> None:
    joined, found = made(keeper)
    parent = link.on_switch(joined, joined.sides[0])
    assert parent.table == "Logical_Switch"
    assert (parent.key or parent.network) in {r.key for r in found if r.table in ("Logical_Switch", "network")}


@pytest.mark.parametrize("keeper", LINK_MAKERS)
def test_rows_say_whose_they_are_and_where_they_go(keeper: str) -> None:
    joined, found = made(keeper)
    assert all(r.key.startswith("t/here/") and r.path.startswith("spec.attachments[here]") for r in found)
    assert {r.database for r in found} <= {nb("here"), neutron("here"), kubernetes("here")}
    whole = [r for r in rows(joined) if r.database != nb("there")]
    assert len({(r.database, r.table, r.key) for r in whole}) == len(whole)
