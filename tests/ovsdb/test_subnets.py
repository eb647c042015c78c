"""`"*"` with `except`, subnets that we define, and documents that are half valid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployment import Deployment, attach
from snapshots import foreign, owned

WEST = attach("west", "a", "pods")


def connected(world: Deployment, site: str, interconnect: str = "t") -> set[str]:
    """Names of the subnets that a site's edge says are connected."""
    found: set[str] = set()
    for key, row in owned(world.snapshot())[f"nb/{site}"].items():
        if key.startswith(f"Logical_Router {interconnect}/"):
            name = key.split("/")[1]
            found |= set(json.loads(row["external_ids"]["isthmus:sides"])[name]["subnets"])
    return found


def routed(world: Deployment, site: str) -> set[str]:
    """Prefixes of tenants that our routes bring to the VPC routers of a site."""
    return {k.rpartition("route/")[2] for k in owned(world.snapshot())[f"nb/{site}"] if "/vpc/route/" in k}


# -- "*" --------------------------------------------------------------------------------------------------


def test_before_the_first_apply_verify_names_the_subnet_that_is_to_be_defined(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), attach("west", "a", {"name": "fresh", "cidr": "10.5.0.0/24"}))
    code, found = pair.run("verify")
    assert (code, {(d["from"]["subnet"], d["to"]["subnet"]): d["reason"] for d in found["differences"]}) == (
        1,
        {("web", "fresh"): "a has no route to 10.5.0.1", ("fresh", "web"): "subnet west/fresh is not there"},
    )


def test_every_subnet_but_links_external_networks_and_exceptions(pair: Deployment) -> None:
    east = pair.sites["east"]
    east.subnet("a", "secret", "10.1.3.1/24")
    east.subnet("a", "outside", "192.0.2.129/25")
    east.nbctl("lsp-add outside out-net -- lsp-set-type out-net localnet")
    east.subnet("a", "gateway-net", "198.51.100.1/24")
    east.nbctl("lrp-set-gateway-chassis a-gateway-net east-gw1")
    # A link of somebody else: a switch with two routers and nothing more.
    east.nbctl("ls-add theirs -- lr-add r2")
    for router, address in (("a", "10.77.0.1/30"), ("r2", "10.77.0.2/30")):
        east.nbctl(
            f"lrp-add {router} {router}-theirs 02:00:00:00:01:0{len(router)} {address} -- lsp-add theirs t-{router} "
            f"-- lsp-set-type t-{router} router -- lsp-set-addresses t-{router} router "
            f"-- lsp-set-options t-{router} router-port={router}-theirs"
        )
    pair.join("t", attach("east", "a", "*", **{"except": ["secret"]}), WEST)
    pair.sites["west"].router("b", net="10.8.0.1/24")
    pair.join("other", attach("east", "a", "db"), attach("west", "b", "net"))
    pair.apply()
    assert connected(pair, "east") == {"web", "db"}
    assert routed(pair, "west") == {"10.1.1.0/24", "10.1.2.0/24", "fd00:1:1::/64"}
    assert pair.apply()["transactions"] == 0


def test_serve_follows_subnets_that_come_and_go(pair: Deployment) -> None:
    pair.sites["east"].subnet("a", "secret", "10.1.8.1/24")
    pair.join("t", attach("east", "a", "*", **{"except": ["secret"]}), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        pair.sites["east"].nbctl("lrp-del a-secret -- ls-del secret")
        before = foreign(pair.snapshot())
        pair.sites["east"].subnet("a", "late", "10.1.9.1/24")
        pair.sites["east"].subnet("a", "secret", "10.1.8.1/24")
        serving.until(lambda: connected(pair, "east") == {"web", "db", "late"})
        serving.until(lambda: "10.1.9.0/24" in routed(pair, "west"))
        assert "10.1.8.0/24" not in routed(pair, "west")
        for name in ("late", "secret"):
            pair.sites["east"].nbctl(f"lrp-del a-{name} -- ls-del {name}")
        serving.until(lambda: connected(pair, "east") == {"web", "db"})
        serving.until_condition("t", "Programmed", "True")
        assert routed(pair, "west") == {"10.1.1.0/24", "10.1.2.0/24", "fd00:1:1::/64"}
        assert foreign(pair.snapshot()) == before


def test_a_subnet_that_becomes_external_is_withdrawn(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "*"), WEST)
    with pair.serving() as serving:
        serving.until(lambda: connected(pair, "east") == {"web", "db"})
        pair.sites["east"].nbctl("lsp-add db db-net -- lsp-set-type db-net localnet")
        serving.until(lambda: connected(pair, "east") == {"web"})


def test_a_router_without_a_subnet_yet_is_ready_for_its_first(pair: Deployment) -> None:
    pair.sites["east"].nbctl("lr-add empty")
    pair.join("t", attach("east", "empty", "*"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Accepted", "True")
        pair.sites["east"].subnet("empty", "first", "10.5.0.1/24")
        serving.until(lambda: routed(pair, "west") == {"10.5.0.0/24"})


def test_an_exception_that_names_no_subnet_connects_nothing(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "*", **{"except": ["web", "ddb"]}), WEST)
    (error,) = pair.refused()
    assert (error["code"], error["field"]) == ("UnknownSubnet", "spec.attachments[0].except[1]")
    assert "did you mean 'db'?" in error["remedy"]


def test_an_exception_that_is_mistyped_later_gains_nothing(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "*", **{"except": ["db"]}), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        pair.join("t", attach("east", "a", "*", **{"except": ["bd"]}), WEST)
        serving.until_condition("t", "Accepted", "False", "UnknownSubnet")
        pair.sites["east"].subnet("a", "late", "10.1.9.1/24")
        serving.settled()
        assert connected(pair, "east") == {"web"}, "what stands stays, and nothing is added"
        serving.until_condition("t", "Accepted", "False", "UnknownSubnet")
        pair.join("t", attach("east", "a", "*", **{"except": ["db"]}), WEST)
        serving.until(lambda: connected(pair, "east") == {"web", "late"})


def test_an_exception_outlives_its_subnet(pair: Deployment) -> None:
    """Disconnect it, then remove it: the usual order may not stop anybody's next apply."""
    pair.join("t", attach("east", "a", "*"), WEST)
    pair.apply()
    assert pair.run("disconnect", "t", "--site", "east", "--subnet", "db", "--timeout", "8")[0] == 0
    pair.sites["east"].nbctl("lrp-del a-db -- ls-del db")
    assert pair.apply()["transactions"] == 0
    assert [n for n in pair.run("plan")[1]["notes"] if "no subnet 'db' any more" in n]
    pair.sites["east"].subnet("a", "db", "10.1.2.1/24")
    pair.apply()
    assert connected(pair, "east") == {"web"}


# -- defined ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, networks",
    [
        ({"cidr": "10.5.0.0/24"}, {"10.5.0.1/24"}),
        ({"cidr": "fd05::/64"}, {"fd05::1/64"}),
        ({"cidr": ["10.5.0.0/24", "fd05::/64"]}, {"10.5.0.1/24", "fd05::1/64"}),
        ({"cidr": "10.5.0.0/24", "gateway": "10.5.0.254"}, {"10.5.0.254/24"}),
    ],
)
def test_a_subnet_is_defined_and_removed_again(pair: Deployment, written: dict[str, Any], networks: set[str]) -> None:
    before = foreign(pair.snapshot())
    pair.join("t", attach("east", "a", "web", {"name": "new", **written}), WEST)
    pair.apply()
    rows = owned(pair.snapshot())["nb/east"]
    assert rows["Logical_Switch t/east/subnet/new"]["name"] == "new"
    assert rows["Logical_Router_Port t/east/subnet/new/gateway"]["networks"] == networks
    assert connected(pair, "east") == {"web", "new"}
    assert pair.apply()["transactions"] == 0
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    assert not [k for k in owned(pair.snapshot())["nb/east"] if "/subnet/" in k]
    assert foreign(pair.snapshot()) == before


def test_a_defined_subnet_with_machines_is_kept_until_they_are_gone(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    pair.apply()
    pair.sites["east"].nbctl("lsp-add new vm -- lsp-set-addresses vm dynamic")
    before = foreign(pair.snapshot())
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    rows = owned(pair.snapshot())["nb/east"]
    assert "Logical_Switch t/east/subnet/new" in rows and "Logical_Router_Port t/east/subnet/new/gateway" in rows
    assert connected(pair, "east") == {"web"} and "10.5.0.0/24" not in routed(pair, "west")
    assert foreign(pair.snapshot()) == before
    assert pair.apply()["transactions"] == 0
    pair.sites["east"].nbctl("lsp-del vm")
    pair.apply()
    assert not [k for k in owned(pair.snapshot())["nb/east"] if "/subnet/" in k]


def test_a_defined_subnet_with_machines_outlives_its_interconnect(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    pair.apply()
    pair.sites["east"].nbctl("lsp-add new vm")
    code, found = pair.run("disconnect", "t", "--timeout", "8")
    assert code == 0, found
    snapshot = owned(pair.snapshot())
    assert {k.split()[1].rpartition("subnet/")[0] for k in snapshot["nb/east"]} == {"t/east/"}
    assert not snapshot["nb/west"] and not snapshot["ic-nb"]
    assert pair.run("status")[0] == 0


def test_a_subnet_that_exists_with_the_same_cidr_is_connected_and_never_removed(pair: Deployment) -> None:
    before = foreign(pair.snapshot())
    pair.join("t", attach("east", "a", {"name": "db", "cidr": "10.1.2.0/24"}), WEST)
    pair.apply()
    assert connected(pair, "east") == {"db"}
    pair.run("disconnect", "t", "--timeout", "8")
    assert foreign(pair.snapshot()) == before


@pytest.mark.parametrize(
    "subnet, code",
    [
        ({"name": "db", "cidr": "10.1.7.0/24"}, "CidrDiffers"),
        ({"name": "web", "cidr": "10.1.1.0/24"}, "CidrDiffers"),  # it has an IPv6 range as well
        ({"name": "theirs", "cidr": "10.9.0.0/24"}, "NameInUse"),
        ({"name": "new", "cidr": "10.1.2.128/25"}, "Overlap"),
        ({"name": "new", "cidr": "10.2.1.0/25"}, "Overlap"),
        ({"name": "new", "cidr": "169.254.130.0/24"}, "InvalidCidr"),
        ({"name": "new", "cidr": "10.200.3.0/24"}, "Overlap"),
    ],
)
def test_a_definition_that_does_not_fit_is_refused(pair: Deployment, subnet: dict[str, Any], code: str) -> None:
    pair.sites["east"].router("b", theirs="10.9.0.1/24")
    pair.fabric["addressPools"] = {"link": ["10.200.0.0/16", "fd69:7374::/32"]}
    pair.join("t", attach("east", "a", subnet), WEST)
    assert {e["code"] for e in pair.refused()} == {code}


def test_a_defined_subnet_is_not_renumbered_under_its_machines(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    pair.apply()
    pair.sites["east"].nbctl("lsp-add new vm")
    before = owned(pair.snapshot())
    pair.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.6.0.0/24"}), WEST)
    (error,) = pair.refused()
    assert error["code"] == "CidrDiffers" and error["field"] == "spec.attachments[0].subnets[1]"
    assert "10.5.0.0/24" in error["message"] and "10.6.0.0/24" in error["message"] and "take" in error["remedy"]
    with pair.serving() as serving:
        serving.until_condition("t", "Accepted", "False", "CidrDiffers")
        serving.settled()
        assert owned(pair.snapshot()) == before, "what stands carries on"
    pair.join("t", attach("east", "a", "web"), WEST)
    pair.apply()
    pair.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.6.0.0/24"}), WEST)
    assert {e["code"] for e in pair.refused()} == {"CidrDiffers"}, "its machines are still there"


def test_a_defined_subnet_gets_a_new_cidr_when_it_was_taken_out(pair: Deployment) -> None:
    for subnets in ([{"name": "new", "cidr": "10.5.0.0/24"}], [], [{"name": "new", "cidr": "10.6.0.0/24"}]):
        pair.join("t", attach("east", "a", "db", *subnets), WEST)
        pair.apply()
        assert routed(pair, "west") == {"10.1.2.0/24", *(s["cidr"] for s in subnets)}


def test_a_defined_subnet_may_gain_a_family(pair: Deployment) -> None:
    for cidr in ("10.5.0.0/24", ["10.5.0.0/24", "fd05::/64"]):
        pair.join("t", attach("east", "a", {"name": "new", "cidr": cidr}), WEST)
        pair.apply()
    assert routed(pair, "west") == {"10.5.0.0/24", "fd05::/64"}


def test_a_defined_subnet_s_port_that_somebody_changed_or_removed_comes_back(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    pair.apply()
    port = "isthmus-default.t.east.subnet.new"
    for command in (f"set Logical_Router_Port {port} networks=10.66.0.1/24", f"lrp-del {port}"):
        pair.sites["east"].nbctl(command)
        pair.apply()
        gateway = owned(pair.snapshot())["nb/east"]["Logical_Router_Port t/east/subnet/new/gateway"]
        assert gateway["networks"] == {"10.5.0.1/24"}


# -- refused under serve --------------------------------------------------------------------------------------


def test_a_refused_text_gains_nothing_and_loses_what_it_no_longer_lists(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", "db"), attach("west", "a", "pods"))
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        # `db` is out, `jobs` is new, and one subnet does not exist: the text is refused as a whole.
        pair.join("t", attach("east", "a", "web", "nonsense"), attach("west", "a", "pods", "jobs"))
        serving.until_condition("t", "Accepted", "False", "UnknownSubnet")
        serving.settled()
        assert connected(pair, "east") == {"web"} and connected(pair, "west") == {"pods"}
        assert routed(pair, "west") == {"10.1.1.0/24", "fd00:1:1::/64"}
        pair.join("t", attach("east", "a", "web"), attach("west", "a", "pods", "jobs"))
        serving.until_condition("t", "Accepted", "True")
        serving.until(lambda: connected(pair, "west") == {"pods", "jobs"})


def test_a_refused_newcomer_gets_nothing(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", "nonsense"), WEST)
    pair.join("good", attach("east", "a", "db"), attach("west", "a", "jobs"))
    with pair.serving() as serving:
        serving.until_condition("good", "Programmed", "True")
        serving.until_condition("t", "Accepted", "False", "UnknownSubnet")
        serving.settled()
        assert not [k for rows in owned(pair.snapshot()).values() for k in rows if " t/" in k]


def test_a_text_with_an_unknown_field_gains_nothing(pair: Deployment) -> None:
    """The document by itself is invalid, yet its attachments can be read."""
    pair.join("t", attach("east", "a", "web", "db"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        pair.join("t", attach("east", "a", "web", colour="blue"), attach("west", "a", "pods", "jobs"))
        serving.until_condition("t", "Accepted", "False")
        serving.settled()
        assert connected(pair, "east") <= {"web", "db"} and connected(pair, "west") == {"pods"}


def test_a_file_that_does_not_parse_changes_nothing(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        before = pair.northbound()
        for text in ("{{{", "", "- [", "kind: Interconnect"):
            (pair.config / "interconnects.yaml").write_text(text)
            serving.settled()
            assert pair.northbound() == before
        (pair.config / "interconnects.yaml").unlink()
        serving.settled()
        # A whole directory that no longer lists it is the user's word: it goes.
        serving.until(lambda: not any(owned(pair.snapshot()).values()))


def test_drift_comes_back(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        stood = owned(pair.snapshot())

        def restored() -> bool:
            now = owned(pair.snapshot())
            return {d: set(r) for d, r in now.items()} == {d: set(r) for d, r in stood.items()} and all(
                plain(now[d][k]) == plain(row) for d, rows in stood.items() for k, row in rows.items()
            )

        edge = "isthmus-default.t.east.edge"
        east = pair.sites["east"]
        for command in (
            f"lr-policy-del {edge}",
            f"lr-route-del {edge}",
            f"lr-del {edge}",
            "ls-del isthmus-default.t.east.link",
            "lrp-del isthmus-default.t.east.link-vpc",
            f"lr-route-add {edge} 10.66.0.0/16 169.254.128.2",
            f"set Logical_Router {edge} enabled=false",
            "set Logical_Router_Port isthmus-default.t.east.link-vpc networks=10.66.0.1/24",
        ):
            east.nbctl(command)
            if "route-add" not in command:
                serving.until(restored)
        pair.ic_nb.transact({"op": "delete", "table": "Transit_Switch", "where": []})
        serving.until(restored)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Without references: rows that were made again have new UUIDs."""
    return {
        c: v
        for c, v in row.items()
        if c != "_uuid" and c not in ("ports", "static_routes", "policies", "gateway_chassis")
    }


def test_names_that_begin_alike_or_look_like_ours_are_told_apart(pair: Deployment) -> None:
    """`new` is in use and stays, `new2` is empty and goes; an attachment may be called `subnet`."""
    defined = [{"name": "new", "cidr": "10.5.0.0/24"}, {"name": "new2", "cidr": "10.6.0.0/24"}]
    pair.join("t", attach("east", "a", "web", *defined, name="subnet"), WEST)
    pair.apply()
    pair.sites["east"].nbctl("lsp-add new vm")
    pair.join("t", attach("east", "a", "web", name="subnet"), WEST)
    pair.apply()
    rows = owned(pair.snapshot())["nb/east"]
    kept = [k for k in rows if k.startswith("Logical_Switch t/subnet/subnet/")]
    assert kept == ["Logical_Switch t/subnet/subnet/new"]
    pair.interconnects = {}
    pair.write()
    pair.apply("--prune")
    snapshot = owned(pair.snapshot())
    assert not snapshot["ic-nb"] and {k.split()[1][:19] for k in snapshot["nb/east"]} == {"t/subnet/subnet/new"}


def test_a_subnet_that_two_routers_share_is_listed_by_name_only(pair: Deployment) -> None:
    """Without a machine it looks like a link: no part of `"*"`, but who names it means it."""
    east = pair.sites["east"]
    east.nbctl("lr-add r2 -- ls-add shared")
    for router, host in (("a", 1), ("r2", 2)):
        east.nbctl(
            f"lrp-add {router} {router}-shared 02:00:00:00:02:0{host} 10.7.0.{host}/24 -- lsp-add shared s-{router} "
            f"-- lsp-set-type s-{router} router -- lsp-set-addresses s-{router} router "
            f"-- lsp-set-options s-{router} router-port={router}-shared"
        )
    pair.join("t", attach("east", "a", "*"), WEST)
    pair.apply()
    assert connected(pair, "east") == {"web", "db"}
    pair.join("t", attach("east", "a", "shared"), WEST)
    pair.apply()
    assert connected(pair, "east") == {"shared"}


def test_a_switch_that_leads_to_hardware_is_external(pair: Deployment) -> None:
    pair.sites["east"].nbctl("lsp-add db gw -- lsp-set-type gw l2gateway")
    pair.join("t", attach("east", "a", "*"), WEST)
    pair.apply()
    assert connected(pair, "east") == {"web"}
