"""An OpenStack is a site: a tenant's project, router and subnets are all that anybody writes."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.backends.files import load
from isthmus.lab import proof, traffic
from isthmus.lab.demo import comparable, differences
from isthmus.lab.lab import Lab

from .neutron_listing import listing
from .openstack_steps import A, B, Document, cloud, rules_are_asked_for_where_a_group_has_changed
from .steps import attach, config, isthmus, warm, write_interconnects
from .test_live_change import nothing_lost

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab(shared_cloud: Lab) -> Lab:
    use(shared_cloud)
    return shared_cloud


def use(lab: Lab, *words: str, code: int = 0, **documents: Document) -> dict[str, Any]:
    if documents:
        write_interconnects(lab, {f"tenant-{name}": attachments for name, attachments in documents.items()})
    else:
        config(lab, "interconnects.yaml").unlink(missing_ok=True)
    return isthmus(lab, "apply", "--prune", *words, code=code)


def proved(lab: Lab) -> proof.Proof:
    """Every machine to every other, against the documents."""
    configuration = load(lab.paths.config)
    proof.settle(lab, configuration, 20)
    return proof.prove(lab, configuration, "now")


def wrong(found: proof.Proof) -> list[str]:
    """Differences, but for the machine on the external network, which has no way to send anywhere."""
    outside = [c for c in found.checks if c.source.external and not c.sent]
    return [d for d in found.differences if not any(d.startswith(f"{c.source.name} to ") for c in outside)]


def test_two_projects_with_the_same_addresses_reach_their_own_counterparts_and_leave_nothing(lab: Lab) -> None:
    """`a` lets the other side in by its security group, `b` only reaches out; what was there before is there after."""
    # Neutron makes a project's default group when somebody looks for it first.
    list(lab.site("cloud").cloud("isthmus").network.security_groups())
    rows, objects = comparable(lab.snapshot()), listing(lab)
    done = use(lab, a=A, b=B)
    ready = {o["name"]: o["conditions"][-1]["status"] for o in done["objects"]}
    assert ready == {"tenant-a": "True", "tenant-b": "True"}
    assert all(call["request"].startswith("req-") for call in done["calls"])
    found = proved(lab)
    assert wrong(found) == []
    opened = {(c.source.name, c.target.name) for c in found.checks if c.observed and c.source.site != c.target.site}
    assert ("cluster-a-pods-1", "cloud-a-web-2") in opened
    assert ("cloud-b-web-1", "cluster-b-pods-2") in opened
    assert ("cluster-b-pods-2", "cloud-b-web-1") not in opened
    again = isthmus(lab, "apply", "--prune")
    assert again["transactions"] == 0
    assert isthmus(lab, "verify")["differences"] == []
    for name in ("tenant-a", "tenant-b"):
        isthmus(lab, "disconnect", name)
    assert isthmus(lab, "plan", "--prune")["databases"] == []
    assert differences(rows, comparable(lab.snapshot())) == []
    assert listing(lab) == objects


def test_one_router_is_in_several_interconnects_whose_far_sides_do_not_reach_each_other(lab: Lab) -> None:
    """A hub and its spokes. A second spoke of the same range is refused; one that goes costs the other nothing."""
    hub = cloud("a", "a-web", securityGroups=["default"])
    one, other = attach("cluster", "a", "a-pods"), attach("cluster", "b", "b-jobs")
    use(lab, one=[hub, one], other=[hub, other])
    ways = [("cloud-a-web-1", "cluster-a-pods-1"), ("cluster-a-pods-1", "cloud-a-web-1")]
    more = [("cloud-a-web-1", "cluster-b-jobs-1"), ("cluster-b-jobs-1", "cloud-a-web-1")]
    between = [("cluster-a-pods-1", "cluster-b-jobs-1"), ("cluster-b-jobs-1", "cluster-a-pods-1")]
    warm(lab, ways + more)
    assert not traffic.matrix(lab, between, count=5).open
    assert isthmus(lab, "verify")["differences"] == []
    same = attach("cluster", "b", "b-pods")
    said = use(lab, code=2, one=[hub, one], other=[hub, other], third=[hub, same])
    assert {e["code"] for e in said["errors"]} == {"Overlap"}, said
    with nothing_lost(lab, *ways):
        use(lab, one=[hub, one])
    assert not traffic.matrix(lab, more, count=5).open
    use(lab)


def test_a_route_that_ovn_has_lost_comes_back(lab: Lab) -> None:
    """As it is lost where two change a router at the same moment: Neutron shows it, and its router in OVN lacks it."""
    use(lab, a=A)
    ways = [("cloud-a-web-1", "cluster-a-pods-1"), ("cluster-a-pods-1", "cloud-a-web-1")]
    warm(lab, ways)
    nb = lab.site("cloud").nbctl
    (router,) = nb("--bare", "--columns=name", "find", "logical_router", r"external_ids:neutron\:router_name=a").split()
    nb("lr-route-del", router, "10.2.1.0/24")
    rows = [row for database in isthmus(lab, "plan")["databases"] for row in database["rows"]]
    assert {(row["op"], row["table"]) for row in rows} == {("remove", "extra_route"), ("add", "extra_route")}
    isthmus(lab, "apply")
    assert "10.2.1.0/24" in nb("lr-route-list", router)
    warm(lab, ways)
    assert isthmus(lab, "plan")["databases"] == []
    use(lab)


def test_plan_names_neutrons_options_for_bfd_where_they_are_not_set(lab: Lab) -> None:
    write_interconnects(lab, {"tenant-a": A})
    nb = lab.site("cloud").nbctl

    def told() -> bool:
        return any("bfd_min_rx, bfd_min_tx and bfd_mult" in note for note in isthmus(lab, "plan")["notes"])

    before = nb("get", "NB_Global", ".", "options:bfd-min-rx").strip()
    assert not told()
    nb("remove", "NB_Global", ".", "options", "bfd-min-rx")
    try:
        assert told()
    finally:
        nb("set", "NB_Global", ".", f"options:bfd-min-rx={before}")
    assert not told()
    use(lab)


def test_every_subnet_follows_what_the_project_does_in_openstack(lab: Lab) -> None:
    """A subnet that is added to the router is connected by the next pass, and withdrawn when it is gone."""
    use(lab, a=[cloud("a", "*", securityGroups=["default"]), A[1]])
    member = lab.site("cloud").cloud("a").network
    router = member.find_router("a")
    network = member.create_network(name="late")
    subnet = member.create_subnet(network_id=network.id, name="late", ip_version=4, cidr="10.1.7.0/24")
    member.add_interface_to_router(router, subnet=subnet.id)
    try:
        isthmus(lab, "apply")
        assert "late" in shown(lab, "tenant-a", "cloud")
        lab.plug("late-1", site="cloud", switch="late", host="cloud-2", addresses=["10.1.7.11/24"],
                 gateways=["10.1.7.1"], tenant="a")  # fmt: skip
        ways = [("late-1", "cluster-a-pods-2"), ("cluster-a-pods-2", "late-1")]
        assert traffic.matrix(lab, ways, count=20, interval=0.05).open == set(ways)
        lab.unplug("late-1")
    finally:
        member.remove_interface_from_router(router, subnet=subnet.id)
        member.delete_network(network)
    isthmus(lab, "apply")
    assert shown(lab, "tenant-a", "cloud") == {"a-web", "a-db"}
    use(lab)


def test_the_address_group_follows_what_the_far_side_lists(lab: Lab) -> None:
    """Rules that name it let in who was added, and nobody who was taken out."""

    def peers() -> set[str]:
        groups = lab.site("cloud").cloud("isthmus").network.address_groups()
        return {a for g in groups if "tenant-a/cloud/peers]" in (g.description or "") for a in g.addresses}

    pods, jobs = {"10.2.1.0/24", "fd00:2:1::/64"}, {"10.2.2.0/24"}
    ways = {"pods": ("cluster-a-pods-2", "cloud-a-web-1"), "jobs": ("cluster-a-jobs-2", "cloud-a-web-1")}
    for subnets, addresses in ((["a-pods"], pods), (["a-pods", "a-jobs"], pods | jobs), (["a-jobs"], jobs)):
        use(lab, a=[A[0], attach("cluster", "a", *subnets)])
        assert peers() == addresses
        wanted = {way for name, way in ways.items() if f"a-{name}" in subnets}
        warm(lab, sorted(wanted))
        assert traffic.matrix(lab, ways.values()).open == wanted
    use(lab)


def test_rules_are_asked_for_again_only_where_a_group_has_changed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    use(lab, a=A)
    rules_are_asked_for_where_a_group_has_changed(lab, monkeypatch)
    use(lab)


def shown(lab: Lab, interconnect: str, attachment: str) -> set[str]:
    """Names of the subnets that an attachment connects."""
    (found,) = isthmus(lab, "show", interconnect)["interconnects"]
    (side,) = (a for a in found["attachments"] if a["name"] == attachment)
    return {s["name"] for s in side["subnets"]}


def test_a_subnet_is_defined_in_the_project_and_stays_while_machines_are_in_it(lab: Lab) -> None:
    new = {"name": "new", "cidr": ["10.5.0.0/24", "fd05::/64"]}
    objects = listing(lab)
    use(lab, a=[cloud("a", "a-web", new, securityGroups=["default"]), A[1]])
    member = lab.site("cloud").cloud("a").network
    assert {s.cidr for s in member.subnets(name="new")} == {"10.5.0.0/24", "fd05::/64"}
    lab.plug("new-1", site="cloud", switch="new", host="cloud-1", addresses=["10.5.0.11/24"],
             gateways=["10.5.0.1"], tenant="a")  # fmt: skip
    ways = [("new-1", "cluster-a-pods-2"), ("cluster-a-pods-2", "new-1")]
    assert traffic.matrix(lab, ways, count=20, interval=0.05).open == set(ways)
    use(lab, a=[cloud("a", "a-web", securityGroups=["default"]), A[1]])
    assert not traffic.matrix(lab, ways, count=5).open
    assert len(list(member.subnets(name="new"))) == 2, "somebody's machine is in it"
    lab.unplug("new-1")
    use(lab)
    assert listing(lab) == objects


@pytest.mark.parametrize(
    ("side", "code"),
    [
        ({"site": "cloud", "vpc": {"project": "nobody", "name": "a"}, "subnets": ["a-web"]}, "UnknownProject"),
        ({"site": "cloud", "vpc": {"project": "a", "name": "b"}, "subnets": ["a-web"]}, "UnknownVpc"),
        ({"site": "cloud", "vpc": {"project": "a", "name": "a"}, "subnets": ["a-wbe"]}, "UnknownSubnet"),
        ({"site": "cloud", "vpc": {"project": "a", "name": "a"}, "subnets": ["b-web"]}, "UnknownSubnet"),
        (cloud("a", "a-web", securityGroups=["none"]), "UnknownSecurityGroup"),
        (cloud("a", {"name": "a-web", "cidr": "10.9.0.0/24"}), "CidrDiffers"),
        (cloud("a", {"name": "other", "cidr": "10.1.1.0/25"}), "Overlap"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(lab: Lab, side: dict[str, Any], code: str) -> None:
    objects, rows = listing(lab), lab.snapshot()
    said = use(lab, code=2, a=[side, A[1]])
    assert code in {e["code"] for e in said["errors"]}, said
    assert all(e["remedy"] and e["field"] for e in said["errors"])
    assert listing(lab) == objects
    assert lab.snapshot() == rows
    use(lab)


def test_an_ambiguous_name_is_refused_with_the_candidates_and_taken_by_id(lab: Lab) -> None:
    member = lab.site("cloud").cloud("a").network
    twin = member.create_router(name="a")
    try:
        said = use(lab, code=2, a=A)
        assert [e["code"] for e in said["errors"]] == ["AmbiguousVpc"]
        ids = {r.id for r in member.routers(name="a")}
        assert len(ids) == 2
        assert all(i in said["errors"][0]["message"] for i in ids)
        (mine,) = ids - {twin.id}
        by_id = {"site": "cloud", "vpc": {"id": mine}, "subnets": ["a-web"]}
        use(lab, a=[by_id, A[1]])
    finally:
        use(lab)
        member.delete_router(twin)


def test_a_lost_network_of_ours_is_made_again_and_a_lost_database_finds_the_old_one(lab: Lab) -> None:
    use(lab, a=A)
    before = listing(lab)
    for table in ("Logical_Router", "Logical_Switch_Port"):
        for line in lab.site("cloud").nbctl("--bare", "--columns=_uuid,name", "list", table).split("\n\n"):
            uuid, _, name = line.partition("\n")
            if name.startswith("isthmus-") and table == "Logical_Router":
                lab.site("cloud").nbctl("destroy", table, uuid)
    isthmus(lab, "apply")
    assert listing(lab) == before, "a second link beside the one that Neutron still has"
    assert wrong(proved(lab)) == []
    use(lab)
