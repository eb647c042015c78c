"""What Pods get, and keep, as objects come, change and go."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.compile.estate import Estate, Held, key
from isthmus.errors import Problem
from isthmus.model.networks import DEFAULT_SUBNET, DEFAULT_VPC, Namespace, Pod, Requirement, Route, Subnet, Vpc


def subnet(name: str, vpc: str, *gateways: str, namespaces: str = "") -> Subnet:
    return Subnet(name, vpc, tuple(map(ip_interface, gateways)), namespaces=frozenset(namespaces.split()))


def pod(name: str, namespace: str = "red", node: str = "n1", uid: str = "", **more: object) -> Pod:
    return Pod(namespace, name, uid or f"uid-{name}", node, **more)  # type: ignore[arg-type]


VPCS: dict[str, Vpc | Problem] = {name: Vpc(name) for name in (DEFAULT_VPC, "red", "blue")}
SUBNETS: dict[str, Subnet | Problem] = {
    DEFAULT_SUBNET: subnet(DEFAULT_SUBNET, DEFAULT_VPC, "10.16.0.1/24"),
    "red-web": subnet("red-web", "red", "10.1.0.1/24", namespaces="red"),
    "blue-web": subnet("blue-web", "blue", "10.1.0.1/24", namespaces="blue"),
}
NAMESPACES = {name: Namespace(name, {"team": name}) for name in ("red", "blue", "default")}


def estate(**changed: Subnet | Problem) -> Estate:
    made = Estate("site", "networks.site")
    made.set_namespaces(NAMESPACES)
    made.set_networks(VPCS, SUBNETS | changed)
    return made


def given_to(made: Estate, wanted: Pod) -> str:
    made.set_pod(key(wanted), wanted)
    assert key(wanted) not in made.problems, made.problems
    (row,) = made.rows(f"pod.{wanted.namespace}.{wanted.name}")
    (addresses,) = row.columns["addresses"]  # type: ignore[union-attr, misc]
    return str(addresses).partition(" ")[2]


def refused(made: Estate, wanted: Pod) -> str:
    made.set_pod(key(wanted), wanted)
    assert not made.rows(f"pod.{wanted.namespace}.{wanted.name}")
    return made.problems[key(wanted)].code


def test_a_namespace_that_is_bound_gets_its_own_subnet_and_others_the_default() -> None:
    made = estate()
    assert given_to(made, pod("a")) == "10.1.0.2"
    assert given_to(made, pod("b", "default")) == "10.16.0.2"


def test_pods_of_two_vpcs_on_one_node_have_two_addresses() -> None:
    made = estate()
    assert given_to(made, pod("a")) == "10.1.0.2"
    assert given_to(made, pod("a", "blue")) == "10.1.0.3"
    assert given_to(made, pod("b", "blue", node="n2")) == "10.1.0.4"


def test_pods_that_their_node_cannot_tell_apart_are_known_and_no_others() -> None:
    made, fixed = estate(), (ip_address("10.1.0.9"),)
    given_to(made, pod("a", addresses=fixed))
    given_to(made, pod("a", "blue", node="n2", addresses=fixed))
    given_to(made, pod("b", "blue"))
    assert not made.ambiguous()
    made.set_pod("blue/a", None)
    given_to(made, pod("a", "blue", uid="another", addresses=fixed))
    assert {name: p.code for name, p in made.ambiguous().items()} == dict.fromkeys(
        ("red/a", "blue/a"), "AddressAmbiguous"
    )
    made.set_pod("red/a", None)
    assert not made.ambiguous()


def test_a_pod_with_an_address_that_nodes_reach_in_the_default_vpc_is_told_so_and_its_neighbour_is_not() -> None:
    made = estate(**{"red-web": subnet("red-web", "red", "10.16.0.1/23", namespaces="red")})
    given_to(made, pod("a"))
    given_to(made, pod("b", addresses=(ip_address("10.16.1.9"),)))
    given_to(made, pod("c", "default"))
    assert {name: p.code for name, p in made.ambiguous().items()} == {"red/a": "AddressAmbiguous"}
    made.set_networks(VPCS, {n: s for n, s in SUBNETS.items() if n != DEFAULT_SUBNET} | {"red-web": SUBNETS["red-web"]})
    assert "red/a" in made.ambiguous()
    for name in ("red/a", "default/c"):
        made.set_pod(name, None)
    assert not made.ambiguous()


def test_another_tenants_subnet_cannot_be_claimed() -> None:
    made = estate()
    assert refused(made, pod("a", subnet="blue-web")) == "NotBound"
    assert refused(made, pod("b", subnet="nowhere")) == "UnknownSubnet"
    assert refused(made, pod("c", addresses=(ip_address("10.16.0.9"),))) == "AddressOutside"
    assert given_to(made, pod("d", subnet=DEFAULT_SUBNET)) == "10.16.0.2"


def test_a_vpc_that_lists_namespaces_is_for_these_only() -> None:
    made = Estate("site", "networks.site")
    made.set_namespaces(NAMESPACES)
    made.set_networks(VPCS | {"red": Vpc("red", frozenset({"red"}))}, {"open": subnet("open", "red", "10.1.0.1/24")})
    assert given_to(made, pod("a", "red")) == "10.1.0.2"
    assert refused(made, pod("a", "blue", subnet="open")) == "NotBound"


def test_a_subnet_is_bound_by_labels() -> None:
    chosen = replace(
        subnet("blue-web", "red", "10.2.0.1/24"), selectors=((Requirement("team", "In", frozenset({"blue"})),),)
    )
    made = estate(**{"blue-web": chosen})
    assert given_to(made, pod("a", "blue")) == "10.2.0.2"


@pytest.mark.parametrize("family", [4, 6])
def test_who_names_an_address_gets_it(family: int) -> None:
    made = estate(**{"red-web": subnet("red-web", "red", "10.1.0.1/24", "fd00::1/64", namespaces="red")})
    wanted = {4: "10.1.0.77", 6: "fd00::77"}[family]
    assert wanted in given_to(made, pod("a", addresses=(ip_address(wanted),)))
    assert refused(made, pod("b", addresses=(ip_address(wanted),))) == "AddressInUse"


def test_a_pod_that_is_gone_gives_its_port_back() -> None:
    made = estate()
    given_to(made, pod("a"))
    made.set_pod("red/a", None)
    assert made.rows("pod.red.a") == []
    assert not list(made.pods())


def test_a_member_of_a_statefulset_finds_its_address_again() -> None:
    made = estate()
    made.set_slots({"red/db": range(2)})
    first = given_to(made, pod("db-1", slot="db"))
    made.set_pod("red/db-1", None)
    assert made.rows("pod.red.db-1")
    assert given_to(made, pod("db-0", slot="db")) != first
    assert given_to(made, pod("db-1", slot="db", uid="another", node="n2")) == first
    made.set_slots({"red/db": range(1)})
    made.set_pod("red/db-1", None)
    assert made.rows("pod.red.db-1") == []


def test_a_running_pod_stays_when_its_namespace_is_bound_elsewhere() -> None:
    made = estate()
    before = given_to(made, pod("a"))
    made.set_networks(VPCS, SUBNETS | {"red-web": subnet("red-web", "red", "10.1.0.1/24", namespaces="other")})
    assert given_to(made, pod("a")) == before
    assert given_to(made, pod("b")).startswith("10.16.")


def test_a_subnet_with_pods_inside_does_not_change_its_network() -> None:
    made = estate()
    given_to(made, pod("a"))
    other = subnet("red-web", "red", "10.9.0.1/24", namespaces="red")
    assert "subnet.red-web" not in made.set_networks(VPCS, SUBNETS | {"red-web": other})
    assert made.wrong["subnet.red-web"].code == "InUse"
    assert not made.crowded
    made.set_pod("red/a", None)
    assert made.crowded
    assert made.judge() == {"subnet.red-web"}
    assert made.wrong == {}
    assert given_to(made, pod("b")) == "10.9.0.2"


def test_a_subnet_that_is_deleted_stays_until_its_last_pod_has_gone() -> None:
    made = estate()
    given_to(made, pod("a"))
    less = {name: s for name, s in SUBNETS.items() if name != "red-web"}
    made.set_networks({n: v for n, v in VPCS.items() if n != "red"}, less)
    assert made.rows("pod.red.a") and made.rows("subnet.red-web") and made.rows("vpc.red")
    assert given_to(made, pod("late")).startswith("10.16."), "it takes in nobody else"
    assert refused(made, pod("later", subnet="red-web")) == "UnknownSubnet"
    made.set_pod("red/a", None)
    assert made.judge() == {"subnet.red-web", "vpc.red"}
    assert not made.rows("subnet.red-web") and not made.rows("vpc.red")


def test_of_two_subnets_that_overlap_the_one_that_stands_stays() -> None:
    made = estate()
    late = subnet("a-late-one", "red", "10.1.0.129/25", namespaces="blue")
    made.set_networks(VPCS, SUBNETS | {"a-late-one": late})
    assert made.wrong["subnet.a-late-one"].code == "Overlap"
    assert refused(made, pod("a", "blue", subnet="a-late-one")) == "UnknownSubnet"
    # Also for who comes after us, and has only rows to go by.
    again = Estate("site", "networks.site")
    again.stand(["red"], [subnet("red-web", "red", "10.1.0.1/24")], [])
    again.set_namespaces(NAMESPACES)
    again.set_networks(VPCS, SUBNETS | {"a-late-one": late})
    assert set(again.wrong) == {"subnet.a-late-one"}


def test_a_subnet_of_no_vpc_has_no_rows() -> None:
    made = estate(lost=subnet("lost", "nowhere", "10.3.0.1/24"))
    assert made.wrong["subnet.lost"].code == "UnknownVpc"
    assert made.rows("subnet.lost") == []


def test_rows_remember_what_was_given() -> None:
    made = estate()
    wanted = pod("a")
    address = given_to(made, wanted)
    again = Estate("site", "networks.site")
    held = Held(wanted, "red-web", (ip_address(address),), "0a:00:00:00:00:01")
    again.stand(["red"], [subnet("red-web", "red", "10.1.0.1/24")], [held])
    again.set_namespaces(NAMESPACES)
    again.set_networks(VPCS, SUBNETS)
    assert given_to(again, pod("b", node="n2")) != address
    assert given_to(again, wanted) == address


def test_who_runs_keeps_its_address_though_a_restored_database_gave_it_away() -> None:
    made = Estate("site", "networks.site")
    stale = Held(pod("old"), "red-web", (ip_address("10.1.0.5"),), "0a:00:00:00:00:01")
    made.stand(["red"], [subnet("red-web", "red", "10.1.0.1/24")], [stale])
    made.set_namespaces(NAMESPACES)
    made.set_networks(VPCS, SUBNETS)
    running = pod("now", told=(ip_address("10.1.0.5"),))
    made.insist(running)
    assert given_to(made, running) == "10.1.0.5"
    assert given_to(made, pod("old")) != "10.1.0.5"


def test_what_a_process_gave_counts_where_the_database_was_restored_from_before() -> None:
    before = estate()
    late = pod("late")
    address = given_to(before, late)
    again = estate()
    again.remember(before.holdings())
    assert given_to(again, pod("other", node="n2")) != address
    assert given_to(again, late) == address


def restored(*held: Held) -> Estate:
    """What a process starts with that finds these ports in its database."""
    made = Estate("site", "networks.site")
    made.stand(["red"], [subnet("red-web", "red", "10.1.0.1/24")], held)
    made.set_namespaces(NAMESPACES)
    made.set_networks(VPCS, SUBNETS)
    return made


def noted(whose: Pod, address: str, where: str = "red-web") -> Held:
    return Held(whose, where, (ip_address(address),), f"0a:00:00:00:01:{int(address.rpartition('.')[2]):02x}")


def test_what_was_written_down_of_a_living_pod_counts_where_the_database_knows_nothing_of_it() -> None:
    made = restored()
    late = pod("late")
    made.insist(late, noted(late, "10.1.0.2"))
    assert given_to(made, pod("other", node="n2")) == "10.1.0.3"
    assert given_to(made, late) == "10.1.0.2"
    (row,) = made.rows("pod.red.late")
    assert row.columns["addresses"] == frozenset({"0a:00:00:00:01:02 10.1.0.2"})


def test_it_says_which_subnet_although_the_namespace_is_bound_elsewhere_by_now() -> None:
    made = restored()
    made.set_networks(VPCS, SUBNETS | {"red-web": subnet("red-web", "red", "10.1.0.1/24", namespaces="other")})
    made.insist(pod("a"), noted(pod("a"), "10.1.0.9"))
    assert given_to(made, pod("a")) == "10.1.0.9"


def test_rows_and_what_a_pod_shows_count_more_than_what_was_written_down() -> None:
    stands, shows = pod("stands"), pod("shows", told=(ip_address("10.1.0.6"),))
    made = restored(Held(stands, "red-web", (ip_address("10.1.0.5"),), "0a:00:00:00:00:01"))
    made.insist(shows, noted(shows, "10.1.0.8"))
    made.insist(stands, noted(stands, "10.1.0.9"))
    made.insist(pod("liar"), noted(pod("liar"), "10.1.0.5"))
    assert given_to(made, stands) == "10.1.0.5"
    assert given_to(made, shows) == "10.1.0.6"
    assert given_to(made, pod("liar")) not in ("10.1.0.5", "10.1.0.6")


def test_an_old_row_of_a_statefulsets_member_yields_to_a_living_pod() -> None:
    old, new = pod("db-0", slot="db", uid="old"), pod("db-0", slot="db", uid="new")
    made = restored(Held(old, "red-web", (ip_address("10.1.0.5"),), "0a:00:00:00:00:01"))
    made.insist(pod("a"), noted(pod("a"), "10.1.0.5"))
    made.insist(new, noted(new, "10.1.0.9"))
    assert given_to(made, pod("a")) == "10.1.0.5"
    assert given_to(made, new) == "10.1.0.9"


def test_a_running_member_of_a_statefulset_moves_to_the_subnet_that_was_written_down() -> None:
    old = pod("db-0", slot="db", uid="old")
    new = replace(old, uid="new", told=(ip_address("10.16.0.9"),))
    made = restored(Held(old, "red-web", (ip_address("10.1.0.5"),), "0a:00:00:00:00:01"))
    made.insist(new, noted(new, "10.16.0.9", DEFAULT_SUBNET))
    assert given_to(made, new) == "10.16.0.9"
    assert given_to(made, pod("b", addresses=(ip_address("10.1.0.5"),))) == "10.1.0.5"


def test_routes_of_a_vpc() -> None:
    made = Estate("site", "networks.site")
    route = Route(ip_network("0.0.0.0/0"), ip_address("10.1.0.254"), "dst")
    made.set_networks({"red": Vpc("red", routes=(route,))}, {})
    router, static, *_ = made.rows("vpc.red")
    assert router.columns["name"] == "red"
    assert static.columns == {"ip_prefix": "0.0.0.0/0", "nexthop": "10.1.0.254", "policy": "dst-ip"}
    assert static.parent is not None and static.parent.key == router.key


def test_a_pods_port_is_its_nodes_and_its_addresses_alone() -> None:
    made = estate()
    given_to(made, pod("a"))
    (row,) = made.rows("pod.red.a")
    assert row.columns["options"] == {"requested-chassis": "n1"}
    assert row.columns["port_security"] == row.columns["addresses"]
    assert row.columns["name"] == "a.red"
