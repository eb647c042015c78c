"""What a tenant takes away under us, and an API that is down."""

from __future__ import annotations

import pytest
from openstack.exceptions import ConflictException

from isthmus.lab.lab import Lab
from isthmus.lab.traffic import matrix
from snapshots import owned
from unixes import look, until

from .neutron_listing import listing
from .openstack_steps import OF_A, OF_B, A, B, answers, join, reasons
from .steps import isthmus, warm, write_interconnects
from .test_live_change import nothing_lost, serving

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab(shared_cloud: Lab) -> Lab:
    join(shared_cloud)
    return shared_cloud


def ours(lab: Lab, name: str) -> list[str]:
    """Rows and objects in Neutron that bear the mark of an Interconnect."""
    rows = [f"{d} {key}" for d, found in owned(look(lab)).items() for key in found if f" {name}/" in key]
    marked = [k for k, one in listing(lab).items() if f"[isthmus default {name}/" in (one.get("description") or "")]
    return rows + marked


def test_a_member_cannot_take_our_link_away_or_delete_the_router_under_it(lab: Lab) -> None:
    admin, member = (lab.site("cloud").cloud(user).network for user in ("admin", "a"))
    router = member.find_router("a")
    link = next(n for n in admin.networks() if "tenant-a/cloud/link" in (n.description or ""))
    port = next(p for p in admin.ports(network_id=link.id, device_id=router.id))
    before = listing(lab)
    assert not [n for n in member.networks() if n.id == link.id]
    assert not [p for p in member.ports() if p.id == port.id]
    with nothing_lost(lab, *OF_A):
        for path, body in (
            (f"/routers/{router.id}/remove_router_interface", {"port_id": port.id}),
            (f"/routers/{router.id}/remove_router_interface", {"subnet_id": port.fixed_ips[0]["subnet_id"]}),
            (f"/ports/{port.id}", {"port": {"admin_state_up": False}}),
            (f"/networks/{link.id}", {"network": {"admin_state_up": False}}),
        ):
            # Neutron answers 500 where a member names a port of a router that she does not see.
            assert member.put(path, json=body, raise_exc=False).status_code >= 400, path
        for path in (f"/ports/{port.id}", f"/networks/{link.id}", f"/subnets/{port.fixed_ips[0]['subnet_id']}"):
            assert member.delete(path, raise_exc=False).status_code in (403, 404, 409), path
        intruder = {"port": {"network_id": link.id}}
        assert member.post("/ports", json=intruder, raise_exc=False).status_code in (403, 404)
        with pytest.raises(ConflictException):
            member.delete_router(router)
    assert listing(lab) == before


def test_a_subnet_that_the_tenant_takes_off_the_router_is_told_and_withdrawn(lab: Lab) -> None:
    member = lab.site("cloud").cloud("a").network
    router, subnet = member.find_router("a"), member.find_subnet("a-db")
    kept = [("cloud-a-web-1", "cluster-a-pods-2"), ("cluster-a-pods-2", "cloud-a-web-1")]
    warm(lab, [("cloud-a-db-1", "cluster-a-pods-2")])
    with serving(lab), nothing_lost(lab, *kept, *OF_B):
        member.remove_interface_from_router(router, subnet=subnet.id)

        def withdrawn() -> bool:
            return "10.1.2.0/24" not in lab.site("cluster").nbctl("lr-route-list", "a")

        try:
            until("the far side no longer has a route to it", withdrawn, within=20)
            assert "SubnetOfAnotherVpc" in reasons(lab, "tenant-a")["Accepted"]
        finally:
            member.add_interface_to_router(router, subnet=subnet.id)
        until("it is back", lambda: not withdrawn(), within=20)
    isthmus(lab, "apply", "--prune")
    # The router's new port has another MAC, which a machine that has just used the old one asks for within a minute.
    lab.exec("cloud-a-db-1", ["ip", "neigh", "flush", "dev", "eth0"])
    warm(lab, [("cloud-a-db-1", "cluster-a-pods-2")])


def test_what_is_removed_while_the_api_is_down_is_cut_at_once_and_finished_later(lab: Lab) -> None:
    before = listing(lab)
    api = lab.site("cloud").daemon("neutron")
    try:
        with nothing_lost(lab, *OF_B):
            api.stop()
            write_interconnects(lab, {"tenant-b": B})
            isthmus(lab, "apply", "--prune", "--wait", "none", code=1)
            assert not matrix(lab, OF_A, count=3).open, "the far side is cut at once"
            api.start()
            answers(lab)
            isthmus(lab, "apply", "--prune")
        assert ours(lab, "tenant-a") == []
    finally:
        api.start()
        answers(lab)
        join(lab)
    warm(lab, OF_A)
    assert {k for k, one in before.items() if "[isthmus" not in (one.get("description") or "")} <= listing(lab).keys()


def test_an_address_group_that_a_rule_of_the_tenants_own_names_is_all_that_stays(lab: Lab) -> None:
    member = lab.site("cloud").cloud("a").network
    group = next(g for g in member.address_groups() if "tenant-a/cloud/peers]" in (g.description or ""))
    mine = member.create_security_group(name="mine")
    rule = {"security_group_id": mine.id, "direction": "ingress", "remote_address_group_id": group.id}
    assert member.post("/security-group-rules", json={"security_group_rule": rule}).status_code == 201
    try:
        with nothing_lost(lab, *OF_B):
            found = isthmus(lab, "disconnect", "tenant-a", code=1)
        assert [e["code"] for e in found["errors"]] == ["AddressGroupInUse"], found
        assert ours(lab, "tenant-a") == [f"address-groups/{group.id}"]
        assert "Neutron" in reasons(lab, "tenant-a")["Ready"]
    finally:
        member.delete_security_group(mine)
    isthmus(lab, "apply", "--prune")
    assert ours(lab, "tenant-a") == []
    join(lab)
    warm(lab, OF_A)


@pytest.mark.parametrize(("whose", "what", "quota"), [("service", "network", 1), ("b", "router_route", 0)])
def test_a_quota_that_is_used_up_is_told_and_the_rest_follows_when_it_is_raised(
    lab: Lab, whose: str, what: str, quota: int
) -> None:
    """Of links it is our own project's, which has one already; of routes the tenant's."""
    admin = lab.site("cloud").cloud("admin")
    project = admin.identity.find_project(whose).id
    isthmus(lab, "disconnect", "tenant-b")
    with nothing_lost(lab, *OF_A):
        admin.network.put(f"/quotas/{project}", json={"quota": {what: quota}})
        try:
            write_interconnects(lab, {"tenant-a": A, "tenant-b": B})
            found = isthmus(lab, "apply", "--timeout", "20", code=1)
            (error,) = found["errors"]
            assert error["code"] == "OverQuota", error
            assert what in error["message"] and "req-" in error["message"] and "quota set" in error["remedy"]
            told = reasons(lab, "tenant-b")["Programmed"]
            assert told.startswith("False OverQuota") and error["message"] in told, "another process is told as well"
            assert "isthmus:refused" not in str(isthmus(lab, "plan")), "the note itself is no change"
        finally:
            admin.network.delete(f"/quotas/{project}")
        isthmus(lab, "apply")
        assert "isthmus:refused" not in lab.site("cloud").nbctl("list", "Logical_Router")
        warm(lab, OF_B, seconds=20)


def test_our_network_that_the_admin_deletes_is_made_again(lab: Lab) -> None:
    """Neutron lets nobody delete it while the router's ports are on it: she takes those first, while nobody serves."""
    admin = lab.site("cloud").cloud("admin").network
    link = next(n for n in admin.networks() if "tenant-b/cloud/link" in (n.description or ""))
    ports = [p for p in admin.ports(network_id=link.id) if p.device_owner == "network:router_interface"]
    assert len(ports) == 2
    with nothing_lost(lab, *OF_A):
        router = admin.get_router(ports[0].device_id)
        admin.remove_extra_routes_from_router(router, {"router": {"routes": router.routes}})
        for port in ports:
            admin.remove_interface_from_router(router, port_id=port.id)
        admin.delete_network(link)
        with serving(lab):
            until("it is there again", lambda: [n for n in admin.networks() if n.name == link.name], within=20)
            warm(lab, OF_B, seconds=20)
    isthmus(lab, "apply", "--prune")
    assert isthmus(lab, "plan", "--prune")["databases"] == []


def test_of_a_router_that_is_deleted_the_far_side_is_withdrawn_and_nothing_is_left(lab: Lab) -> None:
    """A tenant cannot delete it under us (above); an admin, who takes everything off it first, can."""
    admin = lab.site("cloud").cloud("admin").network
    router = next(r for r in admin.routers() if r.name == "b")

    def routed() -> bool:
        return "10.1.1.0/24" in lab.site("cluster").nbctl("lr-route-list", "b")

    assert routed()
    with nothing_lost(lab, *OF_A):
        admin.remove_extra_routes_from_router(router, {"router": {"routes": admin.get_router(router).routes}})
        for port in admin.ports(device_id=router.id):
            admin.remove_interface_from_router(router, port_id=port.id)
        admin.delete_router(router)
        with serving(lab):
            until("status says so", lambda: reasons(lab, "tenant-b")["Accepted"].startswith("False"), within=20)
            until("the far side has no route to it", lambda: not routed(), within=20)
    write_interconnects(lab, {"tenant-a": A})
    isthmus(lab, "apply", "--prune")
    assert ours(lab, "tenant-b") == []
    warm(lab, OF_A)


def test_of_a_project_that_is_deleted_nothing_is_left(lab: Lab) -> None:
    """Keystone does not ask Neutron: routers and networks outlive the project, and its name means nothing any more."""
    cloud = lab.site("cloud").cloud("admin")
    cloud.identity.delete_project(next(p for p in cloud.identity.projects(name="a")))
    with serving(lab):
        until("status says so", lambda: "UnknownProject" in reasons(lab, "tenant-a")["Accepted"], within=90)
    isthmus(lab, "disconnect", "tenant-a")
    assert ours(lab, "tenant-a") == []
