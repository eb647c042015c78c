"""Deployments that no lab made: Fabrics by name or by default, owners, several in one configuration."""

from __future__ import annotations

from typing import Any

import yaml

from deployment import API, Deployment, attach
from snapshots import owned

from .conftest import Deploy


def two_fabrics(deploy: Deploy) -> tuple[Deployment, Deployment]:
    """The first deployment's documents name both Fabrics; `one` joins east and west, `two` north and south."""
    first, second = deploy("east", "west"), deploy("north", "south")
    for world in (first, second):
        for number, (name, site) in enumerate(world.sites.items()):
            site.router("r", **{f"net_{name}": f"10.{number}.0.1/24"})
    return first, second


def write(first: Deployment, second: Deployment, wanted: dict[str, tuple[str, list[dict[str, Any]]]]) -> None:
    documents: list[dict[str, Any]] = []
    for world, name in ((first, "one"), (second, "two")):
        documents.append({"apiVersion": API, "kind": "Fabric", "metadata": {"name": name}, "spec": world.fabric})
        documents += [
            {"apiVersion": API, "kind": "Site", "metadata": {"name": n}, "spec": s} for n, s in world.site_specs.items()
        ]
    documents += [
        {"apiVersion": API, "kind": "Interconnect", "metadata": {"name": n}, "spec": {"fabric": f, "attachments": a}}
        for n, (f, a) in wanted.items()
    ]
    (first.config / "all.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))


EAST_WEST = ("one", [attach("east", "r", "net-east"), attach("west", "r", "net-west")])
NORTH_SOUTH = ("two", [attach("north", "r", "net-north"), attach("south", "r", "net-south")])


def test_two_fabrics_of_one_configuration(deploy: Deploy) -> None:
    first, second = two_fabrics(deploy)
    write(first, second, {"t": EAST_WEST, "u": NORTH_SOUTH})
    first.apply()
    one, two = owned(first.snapshot(), "one"), owned(second.snapshot(), "two")
    assert all(one.values()) and all(two.values())
    write(first, second, {"u": NORTH_SOUTH})
    first.apply("--prune")
    assert not any(owned(first.snapshot(), "one").values()), "what no document of a Fabric names any more stays"
    assert owned(second.snapshot(), "two") == two


def test_a_refused_interconnect_is_its_own_fabric_s_affair(deploy: Deploy) -> None:
    first, second = two_fabrics(deploy)
    write(first, second, {"t": EAST_WEST, "u": NORTH_SOUTH})
    with first.serving() as serving:
        for name in ("t", "u"):
            serving.until_condition(name, "Programmed", "True")
        stood = owned(first.snapshot(), "one")
        east = {**EAST_WEST[1][0], "securityGroups": ["default"]}
        write(first, second, {"t": (EAST_WEST[0], [east, EAST_WEST[1][1]]), "u": NORTH_SOUTH})
        serving.until_condition("t", "Accepted", "False", "FieldNotForType")
        serving.settled()
        assert serving.condition("t", "Programmed")[0] == "True"
        assert owned(first.snapshot(), "one") == stood
        write(first, second, {"t": ("three", EAST_WEST[1]), "u": NORTH_SOUTH})
        serving.until_condition("t", "Accepted", "False", "UnknownFabric")
        serving.settled()
        assert owned(first.snapshot(), "one") == stood


def test_disconnect_again_finishes_the_rest_with_two_fabrics(deploy: Deploy) -> None:
    first, second = two_fabrics(deploy)
    write(first, second, {"t": EAST_WEST, "u": NORTH_SOUTH})
    first.apply()
    first.sites["west"].nb.stop()
    code, _ = first.run("disconnect", "t", "--timeout", "4")
    assert code == 1
    assert "name: t\n" not in (first.config / "all.yaml").read_text()
    first.sites["west"].nb.start()
    code, found = first.run("disconnect", "t", "--timeout", "8")
    assert code == 0, found
    assert not any(owned(first.snapshot(), "one").values())


def test_names_that_nobody_expects(deploy: Deploy) -> None:
    """Zones, sites, chassis and routers have names of their own; the Fabric has another owner."""
    world = deploy("aaa", "bbb")
    world.fabric["owner"] = "my-cloud-7"
    for site, zone in (("aaa", "RegionOne"), ("bbb", "k8s_zone.2")):
        world.sites[site].nb.transact({"op": "update", "table": "NB_Global", "where": [], "row": {"name": zone}})
        world.site_specs[site]["zone"] = zone
    world.sites["aaa"].router("neutron-0af3", web_net_1="10.1.1.1/24")
    world.sites["bbb"].router("ovn_cluster_router", **{"ovn_default": "10.2.1.1/24"})
    world.join("x", attach("aaa", "neutron-0af3", "web-net-1"), attach("bbb", "ovn_cluster_router", "ovn-default"))
    world.apply()
    assert world.apply()["transactions"] == 0
    assert all(owned(world.snapshot(), "my-cloud-7").values())
