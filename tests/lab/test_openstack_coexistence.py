"""Neutron lives on beside us: what it, its tools and its tenants do costs no packet and changes nothing of ours."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from isthmus.lab import rpc
from isthmus.lab.lab import Lab
from snapshots import owned
from unixes import look, until

from .neutron_listing import objects
from .openstack_steps import OF_A, OF_B, answers, everything, join, sync
from .steps import isthmus
from .test_live_change import nothing_lost, serving

pytestmark = pytest.mark.lab

PAIRS = OF_A + OF_B

OF_NEUTRON = ("pvlan_pg_drop", "SegmentHostMapping")
"""What the tool says of a cloud that has never seen us: its own group, made late; and chassis that ovn-ic shows it."""


@pytest.fixture(scope="module")
def lab(shared_cloud: Lab) -> Lab:
    join(shared_cloud)
    return shared_cloud


def nothing_to_do(lab: Lab) -> None:
    """We want nothing else than before, and say so."""
    assert isthmus(lab, "plan", "--prune")["databases"] == []


def all_as_before(lab: Lab, before: tuple[Any, ...]) -> None:
    """Our rows and all objects in Neutron are those of `everything` before, and we want nothing else."""
    rows, now = everything(lab)
    assert now == before[1]
    assert owned({"nb/cloud": rows}) == owned({"nb/cloud": before[0]})
    nothing_to_do(lab)


def test_neutrons_own_repair_reports_nothing_about_us_and_changes_nothing(lab: Lab) -> None:
    before = everything(lab)
    said = sync(lab, "log")
    told = [line for line in said.splitlines() if re.search(r" (WARNING|ERROR|CRITICAL) .*ovn_db_sync ", line)]
    assert [line for line in told if not any(word in line for word in OF_NEUTRON)] == []
    ours = {r["_uuid"] for r in owned(look(lab, "nb/cloud"))["nb/cloud"].values()}
    assert len(ours) > 20
    named = re.compile("isthmus[-: ]|" + "|".join(ours))
    assert [line for line in said.splitlines() if named.search(line)] == []
    assert everything(lab) == before
    with nothing_lost(lab, *PAIRS):
        sync(lab, "repair")
    assert {r["_uuid"] for r in owned(look(lab, "nb/cloud"))["nb/cloud"].values()} == ours
    assert everything(lab)[1] == before[1]
    nothing_to_do(lab)


def test_a_router_is_renamed_and_has_its_own_routes_edited(lab: Lab) -> None:
    member = lab.site("cloud").cloud("a").network
    router = member.find_router("a")
    before = everything(lab)
    mine = {"destination": "192.0.2.0/24", "nexthop": "10.1.2.99"}
    with nothing_lost(lab, *PAIRS):
        member.update_router(router, description="mine")
        member.add_extra_routes_to_router(router, {"router": {"routes": [mine]}})
        nothing_to_do(lab)
        member.remove_extra_routes_from_router(router, {"router": {"routes": [mine]}})
        # She sets the whole list, as old tools do, with what she saw in it.
        seen = member.get_router(router).routes
        member.update_router(router, routes=[*seen, mine])
        member.update_router(router, routes=seen)
        member.update_router(router, description="", name="other")
        member.update_router(router, name="a")
    all_as_before(lab, before)


def test_neighbours_that_ovn_forgets_cost_no_packet(lab: Lab) -> None:
    """Neutron has routers forget after five minutes whom they asked for (`mac_binding_age_threshold`); here at once."""
    cloud = lab.site("cloud")
    ways = cloud.nbctl("--bare", "--columns=logical_port,ip", "list", "Static_MAC_Binding").split()
    assert len(ways) == 2 * 4, "two projects, two versions"
    with nothing_lost(lab, *PAIRS):
        for _ in range(40):
            cloud.sbctl("--all", "destroy", "MAC_Binding")
            time.sleep(0.05)
    learnt = cloud.sbctl("--bare", "--columns=ip", "list", "MAC_Binding").split()
    assert not {ip for ip in learnt if ip in ways}, "nobody asks for the edge"


def test_a_gateway_a_floating_address_and_a_forwarded_port_come_and_go(lab: Lab) -> None:
    admin, member = (lab.site("cloud").cloud(user).network for user in ("admin", "a"))
    outside, router = admin.find_network("ext"), member.find_router("a")
    port = admin.find_port("cloud-a-db-1")
    other = admin.find_port("cloud-a-web-2")
    before = everything(lab)
    with nothing_lost(lab, *PAIRS):
        member.update_router(router, external_gateway_info={"network_id": outside.id})
        floating = member.create_ip(floating_network_id=outside.id, port_id=port.id)
        shared = member.create_ip(floating_network_id=outside.id)
        forwarded = member.create_floating_ip_port_forwarding(
            shared, protocol="tcp", external_port=8080, internal_port=80, internal_port_id=other.id,
            internal_ip_address="10.1.1.12",
        )  # fmt: skip
        nothing_to_do(lab)
        member.delete_floating_ip_port_forwarding(shared, forwarded)
        member.delete_ip(floating)
        member.delete_ip(shared)
        member.update_router(router, external_gateway_info={})
    all_as_before(lab, before)


def test_networks_and_subnets_are_edited(lab: Lab) -> None:
    """Names that nothing of ours uses, options of DHCP, descriptions; and a further network on the router."""
    member = lab.site("cloud").cloud("a").network
    network, subnet = member.find_network("a-web"), member.find_subnet("a-db")
    before = everything(lab)[1]
    with nothing_lost(lab, *PAIRS):
        member.update_network(network, name="renamed", description="mine")
        member.update_subnet(subnet, dns_nameservers=["192.0.2.53"], description="mine")
        new = member.create_network(name="unlisted")
        within = member.create_subnet(network_id=new.id, name="unlisted", ip_version=4, cidr="10.1.8.0/24")
        router = member.find_router("a")
        member.add_interface_to_router(router, subnet=within.id)
        nothing_to_do(lab)
        member.remove_interface_from_router(router, subnet=within.id)
        member.delete_network(new)
        member.update_subnet(subnet, dns_nameservers=[], description="")
        member.update_network(network, name="a-web", description="")
    assert everything(lab)[1] == before
    nothing_to_do(lab)


def test_the_clouds_databases_are_restarted(lab: Lab) -> None:
    before = everything(lab)[1]
    with nothing_lost(lab, *PAIRS):
        for short in ("nb", "sb"):
            lab.site("cloud").daemon(short).restart()
    assert everything(lab)[1] == before
    nothing_to_do(lab)


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.full)])
def test_machines_ports_come_and_go(lab: Lab, count: int) -> None:
    """Ten at a time, in both of the project's networks; each of them is a change of groups, addresses and flows."""
    member = lab.site("cloud").cloud("a").network
    networks = [member.find_network(name).id for name in ("a-web", "a-db")]
    before = everything(lab)[1]
    with serving(lab), nothing_lost(lab, *PAIRS):
        for start in range(0, count, 10):
            body = [{"network_id": networks[n % 2], "name": f"churn-{n}"} for n in range(start, start + 10)]
            for port in member.post("/ports", json={"ports": body}).json()["ports"]:
                assert member.delete(f"/ports/{port['id']}").status_code == 204
    assert everything(lab)[1] == before
    nothing_to_do(lab)


@pytest.mark.parametrize("seconds", [5.0, pytest.param(60.0, marks=pytest.mark.full)])
def test_the_api_and_the_maintenance_worker_are_away(lab: Lab, seconds: float) -> None:
    """Packets go on; `status` says which call failed, as often as it is asked; then there is nothing to do."""
    before = everything(lab)
    daemons = [lab.site("cloud").daemon(short) for short in ("neutron", "neutron-maintenance")]
    try:
        with nothing_lost(lab, *PAIRS):
            for daemon in daemons:
                daemon.stop()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                found = isthmus(lab, "status", code=1)
                said = [c["message"] for o in found["objects"] for c in o["conditions"] if c["type"] == "Accepted"]
                assert all("network /extensions" in message for message in said), found
            for daemon in daemons:
                daemon.start()
            answers(lab)
    finally:
        for daemon in daemons:
            daemon.start()
        answers(lab)
        # Its worker sets an option on every router of the deployment when it starts, on our edges too.
        isthmus(lab, "apply", "--prune")
    all_as_before(lab, before)


@pytest.mark.parametrize("seconds", [60.0, pytest.param(600.0, marks=pytest.mark.full)])
def test_idle_nobody_rewrites_anything(lab: Lab, seconds: float) -> None:
    """Neither we nor Neutron: every row of ours, and every object with its revision, is the very same afterwards."""
    with serving(lab):
        until("serve stands", lambda: isthmus(lab, "plan", "--prune")["databases"] == [])
        before = versions(lab)
        time.sleep(seconds)
        assert versions(lab) == before


def versions(lab: Lab) -> dict[str, Any]:
    """Row or object of ours -> what changes whenever somebody writes it."""
    rows = {
        uuid: row["_version"]
        for tables in lab.snapshot().values()
        for found in tables.values()
        for uuid, row in found.items()
        if "external_ids" in row and "isthmus:owner" in rpc.mapping(row["external_ids"])
    }
    in_neutron = {
        one["id"]: one["revision_number"]
        for collection, one in objects(lab)
        if "[isthmus" in (one.get("description") or "") or collection == "routers"
    }
    assert len(rows) > 40 and len(in_neutron) > 10
    return rows | in_neutron
