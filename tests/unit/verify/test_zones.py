"""Over the transit switch: what the other zone needs, with the rows of ovn-ic and without them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from isthmus.errors import IntentError
from isthmus.verify.compare import differences
from isthmus.verify.expect import expect
from isthmus.verify.explain import explain_object, explain_row
from isthmus.verify.matrix import Answer, Matrix
from isthmus.verify.path import End
from isthmus.verify.reach import World
from isthmus.verify.trace import draw, trace
from worlds import mac, of, transit, two_tenants

MADE = two_tenants()


def synchronised() -> dict[str, Any]:
    """The rows after ovn-ic: each zone has the others' ports of a transit switch as remote ones."""
    sites = copy.deepcopy(MADE.sites)
    names = list(sites)
    for number, site in enumerate(names):
        other = names[1 - number]
        for uuid, switch in sites[site]["Logical_Switch"].items():
            if switch["name"] not in ("isthmus-o.a", "isthmus-o.b"):
                continue
            tenant = switch["name"][-1]
            lrp, four = of(tenant, other, "transit"), transit(1 - number)
            row = {
                "name": of(tenant, other, "transit-port"),
                "type": "remote",
                "addresses": frozenset({f"{mac(lrp)} {four[0]}/24 {four[1]}/64"}),
                "external_ids": {},
            }
            sites[site]["Logical_Switch_Port"][f"remote-{tenant}"] = row
            sites[site]["Logical_Switch"][uuid]["ports"] |= {f"remote-{tenant}"}
    return sites


def test_remote_ports_and_their_derivation_give_the_same_answers() -> None:
    expectation = expect(MADE.configuration, MADE.listed, MADE.vpcs)
    assert differences(World(synchronised()), expectation) == ()
    assert differences(World(MADE.sites, derive_remotes=True), expectation) == ()


def test_without_remote_ports_nothing_crosses() -> None:
    (found, *_) = trace(World(MADE.sites), "cloud/a-web-vm", "cluster/a-apps-vm")
    assert not found.arrives
    assert found.branches[0].end is End.DROPPED


def test_a_remote_port_that_its_zone_does_not_have_is_a_dead_end() -> None:
    sites = synchronised()
    for row in sites["cluster"]["Logical_Switch_Port"].values():
        if row["name"] == of("a", "cluster", "transit-port"):
            row["name"] = "renamed"
    (found, *_) = trace(World(sites), "cloud/a-web-vm", "cluster/a-apps-vm")
    assert "no other site has port" in found.branches[0].reason


def test_a_sender_without_a_gateway_chassis_is_unknown_and_a_receiver_without_is_unreachable() -> None:
    sites = copy.deepcopy(MADE.sites)
    for row in sites["cloud"]["Logical_Router_Port"].values():
        row.pop("gateway_chassis", None)
    world = World(sites, derive_remotes=True)
    (out, *_) = trace(world, "cloud/a-web-vm", "cluster/a-apps-vm")
    (back, *_) = trace(world, "cluster/a-apps-vm", "cloud/a-web-vm")
    assert [t.end for t in (*out.branches, *back.branches)] == [End.UNKNOWN, End.DROPPED]


def test_the_matrix_of_two_tenants_with_the_same_addresses() -> None:
    expectation = expect(MADE.configuration, MADE.listed, MADE.vpcs)
    matrix = Matrix(World(MADE.sites, derive_remotes=True))
    wanted = {
        (p.source.name, p.target.name): matrix.pair(p.source, p.target).answer
        for p in expectation.pairs()
        if not p.native
    }
    yes = {pair for pair, answer in wanted.items() if answer is Answer.YES}
    assert len(yes) == 16
    assert all(one[0] == other[0] for one, other in yes)
    assert set(wanted.values()) == {Answer.YES, Answer.NO}


def test_measured_packets_that_disagree_with_rows_are_a_difference() -> None:
    expectation = expect(MADE.configuration, MADE.listed, MADE.vpcs)
    world = World(MADE.sites, derive_remotes=True)
    pair = next(p for p in expectation.pairs() if p.wanted)
    (found,) = differences(world, expectation, {(pair.source, pair.target): False})
    assert (found.rows, found.packets, found.wanted) == (Answer.YES, False, True)
    assert found.as_json()["packets"] is False


def test_one_place_in_two_interconnects_and_native_pairs() -> None:
    expectation = expect(MADE.configuration, MADE.listed, MADE.vpcs)
    by_name = {p.name: p for p in expectation.places}
    assert expectation.pair(by_name["a-web"], by_name["a-db"]).native
    assert expectation.pair(by_name["a-web"], by_name["a-apps"]).interconnects == ("a",)
    assert not expectation.pair(by_name["a-web"], by_name["b-apps"]).wanted
    assert not expectation.pair(by_name["a-private"], by_name["a-apps"]).wanted
    assert {p.name for p in expect(MADE.configuration, MADE.listed).places} == {
        f"{t}-{s}" for t in "ab" for s in ("web", "db", "apps", "jobs")
    }


def test_a_trace_is_drawn_one_hop_a_line_with_what_put_each_object_there() -> None:
    (found, six) = trace(World(MADE.sites, derive_remotes=True), "cloud/a-web-vm", "cluster/a-apps-vm")
    lines = draw(found).splitlines()
    assert found.arrives and six.arrives
    assert len(lines) == 1 + len(found.branches[0].hops) + 1 + 1
    assert "router r-a [foreign]" in lines[2]
    assert "router isthmus-o.a.cloud.edge [a spec.attachments[cloud]]" in lines[4]
    assert "from cloud to cluster" in lines[6]
    assert lines[-1].startswith("└─> delivered at cluster: to a-apps-vm")


def test_a_trace_to_an_address_ends_in_a_drop_that_names_the_row() -> None:
    (found,) = trace(World(MADE.sites, derive_remotes=True), "cloud/a-private-vm", "10.3.0.10")
    assert not found.arrives
    assert "└─x dropped at cloud: policy of r-a" in draw(found)
    assert found.as_json()["branches"][0]["row"]["key"] == "a/cloud/vpc/policy/4/drop"  # type: ignore[index]


@pytest.mark.parametrize(
    ("source", "target"),
    [("nowhere/x", "10.0.0.1"), ("cloud/x", "10.0.0.1"), ("cloud/a-web-vm", "x"), ("cloud/a-db-vm", "fd00:3::10")],
)
def test_what_cannot_be_traced_is_said(source: str, target: str) -> None:
    with pytest.raises(IntentError):
        trace(World(MADE.sites), source, target)


def databases() -> dict[str, Any]:
    return {f"nb/{name}": rows for name, rows in MADE.sites.items()}


def test_explain_says_why_a_row_of_ours_exists_and_where_it_hangs() -> None:
    (found,) = explain_row(databases(), "a/cloud/link-vpc")
    assert found.interconnect == "a"
    assert "spec.attachments[cloud]" in found.why
    assert [(r.name, c) for r, c in found.parents] == [("r-a", "ports")]
    (again,) = explain_row(databases(), found.row.uuid[:13])
    assert again == found


def test_explain_says_that_a_row_is_foreign_and_finds_nothing_for_nonsense() -> None:
    (found,) = explain_row(databases(), "r-a")
    assert found.why.startswith("foreign")
    assert explain_row(databases(), "nonsense") == ()


def test_explain_lists_the_rows_of_an_object_per_database() -> None:
    found = explain_object(databases(), "a")
    assert set(found) == {"nb/cloud", "nb/cluster"}
    assert {r.key.split("/")[0] for refs in found.values() for r in refs} == {"a"}
    assert len(explain_object(databases(), "a/cloud")["nb/cloud"]) == len(found["nb/cloud"])


def test_explain_warns_of_a_match_that_ovn_refuses() -> None:
    sites = copy.deepcopy(MADE.sites)
    uuid, row = next(iter(sites["cloud"]["Logical_Router_Policy"].items()))
    row["match"] = 'inport != "x"'
    (found,) = explain_row({"nb/cloud": sites["cloud"]}, uuid)
    assert "makes no flow" in found.warning
