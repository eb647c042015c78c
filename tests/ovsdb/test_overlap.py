"""Overlap, judged per VPC router: refused before the first write under `apply`, decided and said under `serve`."""

from __future__ import annotations

from typing import Any

import pytest

from deployment import Deployment, Serving, attach
from snapshots import foreign, owned

EAST, WEST = attach("east", "a", "web"), attach("west", "a", "pods")


def only(errors: list[dict[str, Any]], code: str) -> dict[str, Any]:
    """The first error, which must have this code and say where and what to do."""
    assert {e["code"] for e in errors} == {code}, errors
    error = errors[0]
    assert error["file"].endswith("interconnects.yaml")
    assert error["field"].startswith("spec.attachments[")
    assert error["document"] is not None and error["remedy"]
    return error


# -- apply ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mine, theirs", [("10.9.0.1/24", "10.9.0.1/24"), ("10.9.0.1/16", "10.9.3.1/24"), ("fd09::1/64", "fd09::1/64")]
)
def test_ranges_inside_an_interconnect_must_be_disjoint(pair: Deployment, mine: str, theirs: str) -> None:
    pair.sites["east"].router("o", **{"here": mine})
    pair.sites["west"].router("o", **{"there": theirs})
    pair.join("t", attach("east", "o", "here"), attach("west", "o", "there"))
    errors = pair.refused()
    assert "'there'" in errors[0]["message"] and "'here'" in errors[0]["message"]
    only(errors, "Overlap")


def test_a_connected_network_that_is_not_listed_counts(pair: Deployment) -> None:
    pair.sites["east"].subnet("a", "unlisted", "10.2.1.1/25")
    pair.join("t", EAST, WEST)
    assert "10.2.1.0/25" in only(pair.refused(), "Overlap")["message"]


def test_an_external_network_counts(pair: Deployment) -> None:
    east = pair.sites["east"]
    east.subnet("a", "outside", "10.2.1.129/25")
    east.nbctl("lsp-add outside out-net -- lsp-set-type out-net localnet -- lrp-set-gateway-chassis a-outside east-gw1")
    pair.join("t", EAST, WEST)
    only(pair.refused(), "Overlap")


def test_a_network_behind_a_peer_port_counts(pair: Deployment) -> None:
    pair.sites["east"].nbctl("lr-add other -- lrp-add a a-peer 02:00:00:00:00:77 10.2.1.1/30 peer=other-peer")
    pair.join("t", EAST, WEST)
    only(pair.refused(), "Overlap")


@pytest.mark.parametrize("prefix", ["10.2.1.0/24", "10.2.1.128/25", "10.2.0.0/16", "10.2.1.7"])
def test_a_foreign_static_route_counts(pair: Deployment, prefix: str) -> None:
    pair.sites["east"].nbctl(f"lr-route-add a {prefix} 10.1.2.9")
    pair.join("t", EAST, WEST)
    assert "10.1.2.9" in only(pair.refused(), "RouteOverlap")["message"]


def test_a_route_of_another_owner_is_said_to_be_that_owner_s(pair: Deployment) -> None:
    pair.join("t", EAST, WEST)
    pair.apply()
    pair.fabric["owner"] = "second"
    pair.write()
    error = only(pair.refused(), "RouteOverlap")
    assert "owner 'default' keeps" in error["message"]
    assert error["remedy"] == "renumber, or have owner 'default' disconnect what it leads to"


@pytest.mark.parametrize("prefix, hop", [("0.0.0.0/0", "10.1.2.9"), ("::/0", "fd00:1:1::9")])
def test_a_default_route_may_contain_it(pair: Deployment, prefix: str, hop: str) -> None:
    pair.sites["east"].nbctl(f"lr-route-add a {prefix} {hop}")
    pair.join("t", EAST, WEST)
    pair.apply()


def test_the_fabric_s_own_pools_count(pair: Deployment) -> None:
    pair.fabric["addressPools"] = {"link": ["10.1.0.0/16", "fd69:7374::/32"]}
    pair.join("t", EAST, WEST)
    assert "10.1.0.0/16" in only(pair.refused(), "PoolOverlap")["message"]


def test_the_same_ranges_in_different_vpcs_are_normal(pair: Deployment) -> None:
    for number in range(3):
        pair.sites["east"].router(f"n{number}", **{f"e{number}": "10.7.0.1/24"})
        pair.sites["west"].router(f"n{number}", **{f"w{number}": "10.8.0.1/24"})
        pair.join(f"n{number}", attach("east", f"n{number}", f"e{number}"), attach("west", f"n{number}", f"w{number}"))
    pair.apply()


def hub(pair: Deployment, *, spokes: tuple[str, str]) -> None:
    """The eastern router is the hub of two Interconnects; each spoke is a western router of its own."""
    for name, addresses in zip(("s1", "s2"), spokes, strict=True):
        pair.sites["west"].router(name, **{f"net-{name}".replace("-", "_"): addresses})
        pair.join(f"hub-{name}", EAST, attach("west", name, f"net-{name}"))


def test_a_hub_with_two_equal_spokes_is_refused(pair: Deployment) -> None:
    hub(pair, spokes=("10.6.0.1/24", "10.6.0.1/24"))
    errors = pair.refused()
    assert "'hub-s1'" in only(errors, "Overlap")["message"]
    assert "'a'" in errors[0]["message"]


def test_a_hub_with_different_spokes_joins_both_and_not_the_spokes(pair: Deployment) -> None:
    hub(pair, spokes=("10.6.0.1/24", "10.6.1.1/24"))
    pair.apply()
    west = owned(pair.snapshot())["nb/west"]
    for one, other in (("s1", "10.6.1.0/24"), ("s2", "10.6.0.0/24")):
        assert not [k for k in west if f"hub-{one}/" in k and other in k]


def test_a_newcomer_is_refused_and_what_stands_is_untouched(pair: Deployment) -> None:
    hub(pair, spokes=("10.6.0.1/24", "10.6.0.1/24"))
    late = pair.interconnects.pop("hub-s1")
    pair.write()
    pair.apply()
    pair.interconnects["hub-s1"] = late
    pair.write()
    error = only(pair.refused(), "Overlap")
    assert "'hub-s2'" in error["message"] and error["message"].startswith("interconnect 'hub-s1'")


def test_one_that_the_documents_do_not_list_any_more_still_counts_while_it_stands(pair: Deployment) -> None:
    hub(pair, spokes=("10.6.0.1/24", "10.6.0.1/24"))
    first, second = pair.interconnects["hub-s1"], pair.interconnects["hub-s2"]
    pair.interconnects = {"hub-s2": second}
    pair.write()
    pair.apply()
    pair.interconnects = {"hub-s1": first}
    pair.write()
    assert "'hub-s2'" in only(pair.refused(), "Overlap")["message"]
    pair.apply("--prune")
    assert {k.split()[1].split("/")[0] for k in owned(pair.snapshot())["nb/east"]} == {"hub-s1"}


# -- serve ------------------------------------------------------------------------------------------------


def keys(pair: Deployment, name: str) -> set[str]:
    return {k for rows in owned(pair.snapshot()).values() for k in rows if k.split()[1].startswith(f"{name}/")}


def routes(pair: Deployment, name: str, site: str) -> set[str]:
    """Prefixes that an Interconnect's routes bring to the VPC routers of a site."""
    return {
        k.rpartition("route/")[2]
        for k in owned(pair.snapshot())[f"nb/{site}"]
        if f" {name}/" in k and "/vpc/route/" in k
    }


def programmed(serving: Serving, *names: str) -> None:
    for name in names:
        serving.until_condition(name, "Programmed", "True")


def test_a_later_foreign_route_wins_and_its_end_brings_ours_back(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), attach("west", "a", "pods", "jobs"))
    with pair.serving() as serving:
        programmed(serving, "t")
        assert routes(pair, "t", "east") == {"10.2.1.0/24", "10.2.2.0/24", "fd00:2:1::/64"}
        before = foreign(pair.snapshot())
        pair.sites["east"].nbctl("lr-route-add a 10.2.2.0/25 10.1.2.9")
        message = serving.until_condition("t", "Accepted", "False", "RouteOverlap")
        assert "10.2.2.0/25 via 10.1.2.9" in message
        serving.settled()
        assert routes(pair, "t", "east") == {"10.2.1.0/24", "fd00:2:1::/64"}
        assert routes(pair, "t", "west") == {"10.1.1.0/24", "fd00:1:1::/64"}
        pair.sites["east"].nbctl("lr-route-del a 10.2.2.0/25")
        serving.until_condition("t", "Accepted", "True")
        programmed(serving, "t")
        assert routes(pair, "t", "east") == {"10.2.1.0/24", "10.2.2.0/24", "fd00:2:1::/64"}
        assert foreign(pair.snapshot()) == before


def test_a_later_foreign_network_wins(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), attach("west", "a", "pods", "jobs"))
    with pair.serving() as serving:
        programmed(serving, "t")
        pair.sites["east"].subnet("a", "late", "10.2.2.129/25")
        assert "10.2.2.128/25" in serving.until_condition("t", "Accepted", "False", "Overlap")
        serving.settled()
        assert routes(pair, "t", "east") == {"10.2.1.0/24", "fd00:2:1::/64"}
        pair.sites["east"].nbctl("lrp-del a-late")
        serving.until_condition("t", "Accepted", "True")


def test_of_two_of_ours_the_one_that_stands_stays(pair: Deployment) -> None:
    hub(pair, spokes=("10.6.0.1/24", "10.6.0.1/24"))
    first = pair.interconnects.pop("hub-s1")
    pair.write()
    with pair.serving() as serving:
        programmed(serving, "hub-s2")
        stood = keys(pair, "hub-s2")
        pair.interconnects["hub-s1"] = first
        pair.write()
        assert "'hub-s2'" in serving.until_condition("hub-s1", "Accepted", "False", "Overlap")
        serving.settled()
        assert keys(pair, "hub-s2") == stood
        assert not keys(pair, "hub-s1")
        del pair.interconnects["hub-s2"]
        pair.write()
        programmed(serving, "hub-s1")
        assert not keys(pair, "hub-s2")


def test_of_two_newcomers_the_first_by_name_comes(pair: Deployment) -> None:
    hub(pair, spokes=("10.6.0.1/24", "10.6.0.1/24"))
    with pair.serving() as serving:
        programmed(serving, "hub-s1")
        assert "'hub-s1'" in serving.until_condition("hub-s2", "Accepted", "False", "Overlap")
        assert not keys(pair, "hub-s2")


def test_a_collision_that_comes_to_two_that_stand_withdraws_one_and_it_returns(pair: Deployment) -> None:
    """Under `"*"` a spoke's tenant adds a subnet that the other spoke has."""
    pair.sites["west"].router("s1", one="10.6.1.1/24", two="10.6.2.1/24")
    pair.sites["west"].router("s2", three="10.6.3.1/24", four="10.6.4.1/24")
    pair.join("hub-s1", EAST, attach("west", "s1", "*"))
    pair.join("hub-s2", EAST, attach("west", "s2", "*"))
    with pair.serving() as serving:
        programmed(serving, "hub-s1", "hub-s2")
        pair.sites["west"].subnet("s2", "copy", "10.6.2.1/24")
        assert "'hub-s1'" in serving.until_condition("hub-s2", "Accepted", "False", "Overlap")
        serving.settled()
        assert routes(pair, "hub-s1", "east") == {"10.6.1.0/24", "10.6.2.0/24"}
        assert routes(pair, "hub-s2", "east") == {"10.6.3.0/24", "10.6.4.0/24"}
        pair.sites["west"].nbctl("lrp-del s2-copy -- ls-del copy")
        programmed(serving, "hub-s2")
        serving.until_condition("hub-s2", "Accepted", "True")


def test_the_later_of_two_standing_ones_loses_whatever_its_name(pair: Deployment) -> None:
    """The newcomer is the *subnet*: the Interconnect whose rows carry the range stays, even if its name is later."""
    pair.sites["west"].router("s1", one="10.6.1.1/24")
    pair.sites["west"].router("s2", two="10.6.2.1/24")
    pair.join("hub-s1", EAST, attach("west", "s1", "*"))
    pair.join("hub-s2", EAST, attach("west", "s2", "*"))
    with pair.serving() as serving:
        programmed(serving, "hub-s1", "hub-s2")
        pair.sites["west"].subnet("s1", "copy", "10.6.2.1/24")
        assert "'hub-s2'" in serving.until_condition("hub-s1", "Accepted", "False", "Overlap")
        serving.settled()
        assert routes(pair, "hub-s2", "east") == {"10.6.2.0/24"}
        assert routes(pair, "hub-s1", "east") == {"10.6.1.0/24"}
        serving.until_condition("hub-s2", "Accepted", "True")


def test_what_stands_counts_on_the_router_where_it_stands(pair: Deployment) -> None:
    """An Interconnect that moves to the hub is the newcomer there, whatever it routed elsewhere, and however named."""
    hub(pair, spokes=("10.6.0.1/24", "10.6.0.1/24"))
    pair.sites["east"].router("elsewhere", there="10.1.1.1/24")
    pair.join("hub-s1", attach("east", "elsewhere", "there"), attach("west", "s1", "net-s1"))
    with pair.serving() as serving:
        programmed(serving, "hub-s1", "hub-s2")
        stood = keys(pair, "hub-s2")
        pair.join("hub-s1", EAST, attach("west", "s1", "net-s1"))
        assert "'hub-s2'" in serving.until_condition("hub-s1", "Accepted", "False", "Overlap")
        serving.settled()
        assert keys(pair, "hub-s2") == stood


# -- a site out of reach ----------------------------------------------------------------------------------


def test_what_stands_counts_while_a_site_of_it_is_out_of_reach(deploy: Any) -> None:
    world = deploy("east", "north", "west")
    world.sites["east"].router("hub", middle="10.1.1.1/24")
    for site in ("north", "west"):
        world.sites[site].router("spoke", **{site: "10.6.0.1/24"})
    world.join("first", attach("east", "hub", "middle"), attach("west", "spoke", "west"))
    world.apply()
    world.sites["west"].nb.stop()
    world.join("second", attach("east", "hub", "middle"), attach("north", "spoke", "north"))
    before = owned({"nb/east": world.sites["east"].nb.snapshot()})
    code, found = world.run("apply", "--timeout", "8", "--wait", "programmed")
    assert code == 2
    assert "'first'" in only(found["errors"], "Overlap")["message"]
    assert owned({"nb/east": world.sites["east"].nb.snapshot()}) == before
