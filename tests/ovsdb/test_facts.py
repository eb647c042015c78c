"""What is wrong with the documents once the databases are asked: said with its place and remedy, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployment import SCHEMAS, Deployment, Server, attach
from snapshots import foreign, owned

from .conftest import Deploy

WEST = attach("west", "a", "pods")


def refused(pair: Deployment, code: str, field: str, *words: str) -> str:
    """The message of the one error."""
    errors = pair.refused(*words)
    assert [e["code"] for e in errors] == [code], errors
    error = errors[0]
    assert error["field"] == field
    assert Path(error["file"]).name == ("fabric.yaml" if field == "spec.zone" else "interconnects.yaml")
    assert error["document"] is not None
    assert error["remedy"]
    code_of_plan, plan = pair.run("plan")
    assert (code_of_plan, plan["errors"]) == (2, errors)
    return str(error["message"])


def test_an_unknown_vpc(pair: Deployment) -> None:
    pair.join("t", attach("east", "nobody", "web"), WEST)
    assert "'nobody'" in refused(pair, "UnknownVpc", "spec.attachments[0].vpc")


def test_an_ambiguous_vpc_and_its_id(pair: Deployment) -> None:
    pair.sites["east"].nbctl("--add-duplicate lr-add a")
    pair.join("t", attach("east", "a", "web"), WEST)
    message = refused(pair, "AmbiguousVpc", "spec.attachments[0].vpc")
    routers = pair.sites["east"].nb.snapshot()["Logical_Router"].values()
    uuid = next(r["_uuid"] for r in routers if r["ports"])
    assert uuid in message
    pair.join("t", {**attach("east", "", "web"), "vpc": {"id": uuid}}, WEST)
    pair.apply()


def test_an_unknown_subnet_with_a_hint(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "webb"), WEST)
    errors = pair.refused()
    assert errors[0]["code"] == "UnknownSubnet"
    assert errors[0]["field"] == "spec.attachments[0].subnets[0]"
    assert "'web'" in errors[0]["remedy"]


def test_a_subnet_of_another_vpc(pair: Deployment) -> None:
    pair.sites["east"].router("b", theirs="10.9.0.1/24")
    pair.join("t", attach("east", "a", "theirs"), WEST)
    errors = pair.refused()
    assert len(errors) == 1 and "'theirs'" in errors[0]["message"]
    assert "not on" in errors[0]["message"] or "another" in errors[0]["message"], errors


def test_a_subnet_that_is_an_external_network(pair: Deployment) -> None:
    east = pair.sites["east"]
    east.subnet("a", "outside", "192.0.2.129/25")
    east.nbctl("lsp-add outside out-net -- lsp-set-type out-net localnet")
    pair.join("t", attach("east", "a", "outside"), WEST)
    refused(pair, "NotATenantSubnet", "spec.attachments[0].subnets[0]")


def test_no_gateway(pair: Deployment) -> None:
    del pair.site_specs["east"]["gateways"]
    pair.join("t", attach("east", "a", "web"), WEST)
    refused(pair, "NoGateway", "spec.attachments[0].gateways")


@pytest.mark.parametrize(
    "name, code", [("east-n1", "GatewayNotMarked"), ("moon", "UnknownGateway"), ("same", "AmbiguousGateway")]
)
def test_a_gateway_that_cannot_be_one(pair: Deployment, name: str, code: str) -> None:
    for number in (7, 8):
        pair.sites["east"].chassis(f"twin{number}", f"192.0.2.{number}0", hostname="same")
    pair.join("t", attach("east", "a", "web", gateways=["east-gw1", name]), WEST)
    assert repr(name) in refused(pair, code, "spec.attachments[0].gateways")


def test_a_gateway_by_hostname(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", gateways=["east-gw2.example"]), WEST)
    pair.apply()
    rows = owned(pair.snapshot())["nb/east"]
    assert [r["chassis_name"] for k, r in rows.items() if k.startswith("Gateway_Chassis")] == ["east-gw2"]


def test_another_zone_than_ovn_says(pair: Deployment) -> None:
    pair.site_specs["east"]["zone"] = "orient"
    pair.join("t", attach("east", "a", "web"), WEST)
    message = refused(pair, "WrongZone", "spec.zone")
    assert "'east'" in message and "'orient'" in message


def test_an_empty_zone_name_is_set_and_nothing_else(pair: Deployment) -> None:
    pair.sites["east"].nb.transact({"op": "update", "table": "NB_Global", "where": [], "row": {"name": ""}})
    before = foreign(pair.snapshot())
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.ic_sb.transact({"op": "delete", "table": "Availability_Zone", "where": []})
    notes = [n for n in pair.run("plan")[1]["notes"] if "ovn-ic" in n]
    assert len(notes) == 2 and "apply writes 'east' there" in notes[0] and "start ovn-ic" in notes[1]
    pair.apply()
    after = foreign(pair.snapshot())
    (row,) = after["nb/east"]["NB_Global"].values()
    assert row["name"] == "east"
    row["name"] = ""
    assert after == before


def test_a_site_that_nobody_uses_is_not_written(pair: Deployment) -> None:
    """Its zone has no name, but no Interconnect is there."""
    pair.sites["west"].router("b", other="10.7.0.1/24")
    pair.sites["east"].nb.transact({"op": "update", "table": "NB_Global", "where": [], "row": {"name": ""}})
    before = pair.sites["east"].nb.snapshot()
    pair.interconnects = {}
    pair.write()
    code, _ = pair.run("apply", "--timeout", "8")
    assert code == 0
    assert pair.sites["east"].nb.snapshot() == before


def test_all_that_is_wrong_is_said_at_once(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "x", "y", gateways=["moon"]), attach("west", "nobody", "pods"))
    assert [e["code"] for e in pair.refused()] == ["UnknownGateway", "UnknownSubnet", "UnknownSubnet", "UnknownVpc"]


def test_one_invalid_object_stops_all(pair: Deployment) -> None:
    pair.join("good", attach("east", "a", "web"), WEST)
    pair.join("bad", attach("east", "a", "nothing"), attach("west", "a", "jobs"))
    errors = pair.refused()
    assert [e["document"] for e in errors] == [1]


def test_an_unreachable_database_names_its_site_and_address(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.site_specs["west"]["northbound"] = ["tcp:127.0.0.1:1"]
    pair.site_specs["west"]["insecure"] = True
    pair.write()
    before = pair.northbound()
    code, found = pair.run("apply", "--timeout", "3")
    if code == 2:  # spelled otherwise: what counts here is the message
        pytest.fail(str(found))
    assert code == 1
    (error,) = found["errors"]
    assert "'west'" in error["message"] and "tcp:127.0.0.1:1" in error["message"] and error["remedy"]
    assert error["file"].endswith("fabric.yaml")
    assert pair.northbound() == before


def test_an_address_of_the_wrong_database(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.site_specs["west"]["northbound"] = [pair.sites["west"].sb.remote]
    pair.write()
    before = pair.northbound()
    code, found = pair.run("apply", "--timeout", "3")
    assert code == 1
    assert [e["code"] for e in found["errors"]] == ["NoSuchDatabase"]
    assert "OVN_Northbound" in found["errors"][0]["message"] and found["errors"][0]["remedy"]
    assert pair.northbound() == before


@contextmanager
def an_older_schema(pair: Deployment, folder: Path, change: Callable[[Any], object]) -> Iterator[None]:
    """West's northbound database is an empty one, of a schema whose tables `change` has had."""
    schema = json.loads((SCHEMAS / "ovn-nb.ovsschema").read_text())
    change(schema["tables"])
    old = folder / "old.ovsschema"
    old.write_text(json.dumps(schema))
    server = Server(folder / "old", "nb", schema=old)
    try:
        pair.site_specs["west"]["northbound"] = [server.remote]
        pair.join("t", attach("east", "a", "web"), WEST)
        yield
    finally:
        server.stop()


def test_a_schema_that_is_too_old(pair: Deployment, tmp_path: Path) -> None:
    with an_older_schema(pair, tmp_path, lambda tables: tables["Logical_Router_Policy"]["columns"].pop("nexthops")):
        before = pair.northbound()
        code, found = pair.run("apply", "--timeout", "3")
        assert code == 1
        assert [e["code"] for e in found["errors"]] == ["SchemaTooOld"]
        assert "Logical_Router_Policy.nexthops" in found["errors"][0]["message"]
        assert pair.northbound() == before


def test_a_schema_of_ovn_22_03_is_not_too_old(pair: Deployment, tmp_path: Path) -> None:
    with an_older_schema(pair, tmp_path, lambda tables: tables.pop("Static_MAC_Binding")):
        _, found = pair.run("apply", "--timeout", "3")
        assert [e["code"] for e in found["errors"]] == ["EmptyDatabase"], "which is said of a schema that will do"


# -- whose rows -------------------------------------------------------------------------------------------


def test_another_installation_s_claim_is_refused_until_adopted(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    pair.ic_nb.transact(
        {"op": "update", "table": "IC_NB_Global", "where": [],
         "row": {"external_ids": ["map", [["isthmus:claim:default", "somebody-else"]]]}}
    )  # fmt: skip
    before = pair.northbound()
    for words in (("plan",), ("apply",), ("disconnect", "t"), ("verify",)):
        code, found = pair.run(*words, "--timeout", "3")
        assert (code, [(e["code"], e["field"]) for e in found["errors"]]) == (
            1,
            [("ForeignInstallation", "spec.owner")],
        )
    assert pair.northbound() == before
    assert "name: t" in (pair.config / "interconnects.yaml").read_text(), "a refused disconnect changed the file"
    pair.apply("--adopt")
    rows = [r for found in owned(pair.snapshot()).values() for r in found.values()]
    assert {r["external_ids"]["isthmus:id"] for r in rows} == {"somebody-else"}
    pair.apply()


def test_a_second_installation_of_the_same_name_at_one_shared_site_is_refused(pair: Deployment, deploy: Any) -> None:
    """Two Fabrics of one owner's name meet at a site: the second may not touch, prune or reuse the first's rows."""
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    other = deploy("east", "north")
    other.sites["north"].router("n", net="10.8.0.1/24")
    other.site_specs["east"]["northbound"] = [pair.sites["east"].nb.remote]
    other.site_specs["east"]["southbound"] = [pair.sites["east"].sb.remote]
    other.join("u", attach("east", "a", "db"), attach("north", "n", "net"))
    before = pair.northbound()
    for words in ((), ("--prune",)):
        code, found = other.run("apply", "--timeout", "3", *words)
        assert code == 1
        assert [e["code"] for e in found["errors"]] == ["ForeignInstallation"]
    assert pair.northbound() == before
    assert not any(owned({"nb/north": other.sites["north"].nb.snapshot()}).values())


def test_two_owners_share_sites_and_a_fabric_without_seeing_each_other(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    first = pair.northbound()
    pair.fabric["owner"] = "second"
    pair.join("t", attach("east", "a", "db"), attach("west", "a", "jobs"))
    pair.apply("--prune")
    both = pair.snapshot()
    assert all(owned(both, "default").values()) and all(owned(both, "second").values())
    assert owned(both, "default").keys() == owned(first, "default").keys()
    assert {d: set(r) for d, r in owned(both, "default").items()} == {d: set(r) for d, r in owned(first).items()}
    assert pair.run("disconnect", "t", "--timeout", "8")[0] == 0
    assert not any(owned(pair.snapshot(), "second").values())
    assert foreign(pair.snapshot(), "second").keys() == foreign(first, "second").keys()


# -- what comes and goes ------------------------------------------------------------------------------------


def test_a_gateway_that_is_away_changes_nothing(pair: Deployment) -> None:
    """A chassis leaves the database when its host is rebooted: no reason to refuse anybody, or to write."""
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    before = owned(pair.snapshot())
    pair.sites["east"].sbctl("chassis-del east-gw1")
    assert pair.apply()["transactions"] == 0
    assert owned(pair.snapshot()) == before
    assert any("'east-gw1' is not registered" in n for n in pair.run("plan")[1]["notes"])
    # Another Interconnect that never had it is told.
    pair.join("u", attach("east", "a", "db"), attach("west", "a", "jobs"))
    assert {e["code"] for e in pair.refused()} == {"UnknownGateway"}


def test_a_gateway_that_is_away_may_be_named_by_its_host(pair: Deployment) -> None:
    pair.site_specs["east"]["gateways"] = ["east-gw1.example", "east-gw2.example"]
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    before = owned(pair.snapshot())
    pair.sites["east"].sbctl("chassis-del east-gw1")
    assert pair.apply()["transactions"] == 0
    assert owned(pair.snapshot()) == before


def test_the_address_of_a_site_that_was_taken_out_unreached_is_nobody_else_s(deploy: Deploy) -> None:
    """It may stand there for as long as nobody reaches the site, however often the rest is applied."""
    world = deploy("east", "mid", "west", "zulu")
    for place, (name, site) in enumerate(world.sites.items()):
        site.router("a", **{name: f"10.{place}.0.1/24"})
    sides = {name: attach(name, "a", name) for name in world.sites}
    world.join("t", sides["mid"], sides["west"], sides["zulu"])
    world.apply()
    world.sites["west"].nb.stop()
    for rest in (("mid", "zulu"), ("mid", "zulu"), ("mid", "zulu", "east")):
        world.join("t", *(sides[name] for name in rest))
        code, _ = world.run("apply", "--timeout", "3", "--wait", "none")
        assert code == 1
    world.sites["west"].nb.start()
    ports = [
        r
        for d, tables in world.snapshot().items()
        if d.startswith("nb/")
        for r in tables["Logical_Router_Port"].values()
    ]
    networks = {r["name"]: min(r["networks"]) for r in ports if r["name"].endswith(".transit")}
    assert len(networks) == 4 == len(set(networks.values())), networks


def test_a_site_may_get_another_name(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    pair.site_specs["occident"] = pair.site_specs.pop("west") | {"zone": "west"}
    pair.join("t", attach("east", "a", "web"), attach("occident", "a", "pods"))
    pair.apply()
    assert all(" t/west/" not in key for rows in owned(pair.snapshot()).values() for key in rows)
    (switch,) = pair.ic_nb.snapshot("Transit_Switch")["Transit_Switch"].values()
    assert '"occident"' in switch["external_ids"]["isthmus:members"]
    assert pair.apply()["transactions"] == 0


def test_a_site_whose_document_is_gone_is_named_and_not_waited_for(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    del pair.site_specs["west"], pair.interconnects["t"]
    pair.write()
    code, found = pair.run("apply", "--prune", "--timeout", "8")
    assert code == 1
    (error,) = found["errors"]
    assert error["code"] == "SiteNotInDocuments" and "'west'" in error["message"]
    (entry,) = found["objects"]
    said = entry["conditions"][-1]["message"]
    assert said == "its transit switch waits for the gateway chassis of west, which no document names"
    assert pair.ic_nb.snapshot("Transit_Switch")["Transit_Switch"], "its key would be given to the next tenant"


def test_a_vpc_router_that_is_made_again_is_joined_again(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        keys = {d: set(rows) for d, rows in owned(pair.snapshot()).items()}
        pair.sites["east"].nbctl("lr-del a -- ls-del web -- ls-del db")
        serving.until_condition("t", "Accepted", "False", "UnknownVpc")
        serving.settled()
        assert not [k for k in owned(pair.snapshot())["nb/west"] if "route/10.1" in k]
        pair.sites["east"].router("a", web="10.1.1.1/24,fd00:1:1::1/64")
        serving.until_condition("t", "Programmed", "True")
        assert {d: set(rows) for d, rows in owned(pair.snapshot()).items()} == keys


def test_a_subnet_that_is_renumbered_is_followed(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        pair.sites["east"].nbctl("set Logical_Router_Port a-web networks=10.1.77.1/24")
        serving.until(lambda: [k for k in owned(pair.snapshot())["nb/west"] if "vpc/route/10.1.77.0/24" in k])
        assert not [k for k in owned(pair.snapshot())["nb/west"] if "vpc/route/10.1.1.0/24" in k]


def test_a_refused_text_that_names_another_router_does_not_reach_it(pair: Deployment) -> None:
    """Ranges that stood do not tell routers apart: every tenant may have the same."""
    pair.sites["east"].router("b", web_of_b="10.1.1.1/24,fd00:1:1::1/64")
    pair.join("t", attach("east", "a", "web"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        pair.join("t", attach("east", "b", "web-of-b", "nothing"), WEST)
        serving.until_condition("t", "Accepted", "False", "UnknownSubnet")
        serving.settled()
        routers = pair.sites["east"].nb.snapshot("Logical_Router")["Logical_Router"].values()
        assert [r for r in routers if r["name"] in ("a", "b") and r["static_routes"]] == []


def test_an_id_may_be_written_in_capitals(pair: Deployment) -> None:
    rows = pair.sites["east"].nb.snapshot("Logical_Router", "Logical_Switch")
    router = next(u for u, r in rows["Logical_Router"].items() if r["name"] == "a")
    switch = next(u for u, r in rows["Logical_Switch"].items() if r["name"] == "web")
    pair.join("t", {"site": "east", "vpc": {"id": router.upper()}, "subnets": [{"id": switch.upper()}]}, WEST)
    pair.apply()


def test_two_switches_of_one_name_both_count(pair: Deployment) -> None:
    east = pair.sites["east"]
    east.router("c", first="10.5.1.1/24", second="10.5.2.1/24")
    east.nbctl("set Logical_Switch first name=same -- set Logical_Switch second name=same")
    pair.join("t", attach("east", "c", "*"), WEST)
    pair.apply()
    for name, range_ in (("d", "10.5.1.1/24"), ("e", "10.5.2.1/24")):
        east.router(name, **{f"of_{name}": range_})
        pair.interconnects = {}
        pair.join("u", attach("east", name, f"of-{name}"), WEST)
        assert {e["code"] for e in pair.refused()} == {"Overlap"}


def test_a_router_that_kube_ovn_keeps_is_left_to_a_site_that_says_so(pair: Deployment) -> None:
    pair.sites["east"].nbctl("set Logical_Router a external_ids:vendor=kube-ovn")
    pair.join("t", attach("east", "a", "web"), WEST)
    before = foreign(pair.snapshot())
    assert "Kube-OVN keeps router 'a'" in refused(pair, "KeptByKubeOvn", "spec.attachments[0].vpc")
    assert foreign(pair.snapshot()) == before and not owned(pair.snapshot())["nb/east"]
