"""What a project in OpenStack may try against another one: no packet at a victim, counted at her machines.

Both projects have the same addresses. The attacker is `a`, or somebody on the external network of a's router. Beside
each attack, a's own counterparts are reached: else "nothing arrived" would prove nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from secrets import randbits
from typing import Any

import pytest

from isthmus.backends.openstack import marks
from isthmus.lab import packets, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Ears, Wire
from snapshots import owned
from unixes import look

from .neutron_listing import listing
from .openstack_steps import OF_A, OF_B, A, cloud, join, reasons
from .steps import isthmus, warm
from .test_live_change import nothing_lost

pytestmark = pytest.mark.lab

WEB, OWN, REMOTE = "cloud-a-web-1", "10.1.1.11", "10.2.1.11"

Flow = tuple[str, str]
"""Source and target address of a packet, whether true or not."""


@pytest.fixture(scope="module")
def lab(shared_cloud: Lab) -> Lab:
    join(shared_cloud)
    return shared_cloud


def seen(lab: Lab, place: str, via: str, flows: Iterable[Flow]) -> Counter[str]:
    """Send each flow's packets from a machine to a router's MAC; machine -> how many it saw. a's own traffic flows."""
    run, found = randbits(32), Counter[str]()
    machines = [m.name for m in lab.machines]
    warm(lab, OF_A)
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(lab, place))
        ears = Ears(lab, machines)
        stack.callback(ears.close)
        for sequence in range(3):
            for source, target in flows:
                mark = packets.Mark(run, 0, 0, sequence).encode()
                wire.send(packets.frame(lab.machine(place).mac, via, source, target, mark))
        deadline = time.monotonic() + 0.5
        while (left := deadline - time.monotonic()) > 0:
            found.update(h.endpoint for h in ears.hear(left) if h.mark.run == run)
    assert traffic.matrix(lab, OF_A, count=2).open == set(OF_A)
    return found


def router_mac(lab: Lab, machine: str) -> str:
    """Of the Neutron router's port where a machine is."""
    admin = lab.site("cloud").cloud("admin").network
    network = admin.find_port(machine).network_id
    ports = admin.ports(network_id=network, device_owner="network:router_interface")
    port = min(ports, key=lambda p: str(p.fixed_ips[0]["ip_address"]))  # the subnet's gateway
    return str(port.mac_address)


@pytest.mark.parametrize("version", [4, 6])
def test_everybody_reaches_her_own_counterparts_and_nobody_elses(lab: Lab, version: int) -> None:
    """`b` lets in only what its own machines sent first, and its own machines."""
    pairs = traffic.pairs(lab.machines, version)
    found = traffic.matrix(lab, pairs, version=version)
    by = {m.name: m for m in lab.machines}
    assert not found.strays
    assert found.open == {
        (s, t)
        for s, t in pairs
        if by[s].tenant == by[t].tenant is not None
        and (by[t].tenant == "a" or by[t].site == "cluster" or by[s].site == "cloud")
    }


@pytest.mark.parametrize("snat", [True, False])
def test_a_neighbour_on_the_external_network_passes_nothing_to_or_from_the_far_side(lab: Lab, snat: bool) -> None:
    """Without the policies of ours on the router all of these arrived (docs/decisions/0016)."""
    admin, member = (lab.site("cloud").cloud(user).network for user in ("admin", "a"))
    outside, router = admin.find_network("ext"), member.find_router("a")
    gateway = {"network_id": outside.id, "enable_snat": snat}
    admin.update_router(router, external_gateway_info=gateway)
    try:
        (port,) = admin.ports(device_id=router.id, device_owner="network:router_gateway")
        lab.site("cloud").nbctl("--wait=hv", "sync")
        flows = [(OWN, REMOTE), (REMOTE, OWN), ("203.0.113.1", REMOTE), ("fd00:1:1::b", "fd00:2:1::b")]
        assert not seen(lab, "neighbour", port.mac_address, flows)
    finally:
        admin.update_router(router, external_gateway_info={})


@contextmanager
def port_of(lab: Lab, machine: str, **changed: Any) -> Iterator[None]:
    """The tenant changes a machine's port, and back."""
    member = lab.site("cloud").cloud("a").network
    port = member.find_port(machine)
    before = {key: port[key] for key in changed}
    member.update_port(port, **changed)
    lab.site("cloud").nbctl("--wait=hv", "sync")
    try:
        yield
    finally:
        member.update_port(port, **{"port_security_enabled": True, **before})


FORGED: list[Flow] = [
    ("10.9.9.9", REMOTE), ("10.2.1.12", REMOTE), ("169.254.128.1", REMOTE), ("169.254.64.1", REMOTE),
    ("127.0.0.1", REMOTE), (OWN, "10.2.9.9"), (OWN, "169.254.64.2"), (OWN, "169.254.128.9"),
]  # fmt: skip


@pytest.mark.parametrize("security", [True, False])
def test_forged_sources_arrive_nowhere_with_port_security_and_without(lab: Lab, security: bool) -> None:
    via = router_mac(lab, WEB)
    off = {} if security else {"port_security_enabled": False, "security_groups": []}
    with port_of(lab, WEB, **off):
        # Another listed subnet's address is her own VPC's affair: only port security holds it.
        assert not seen(lab, WEB, via, FORGED + ([("10.1.2.11", REMOTE)] if security else []))


def test_allowed_address_pairs_open_nothing_but_the_projects_own(lab: Lab) -> None:
    sources = [("10.9.9.9", REMOTE), ("10.2.1.12", REMOTE), ("169.254.128.1", REMOTE)]
    with port_of(lab, WEB, allowed_address_pairs=[{"ip_address": source} for source, _ in sources]):
        assert not seen(lab, WEB, router_mac(lab, WEB), sources)


def test_routes_that_the_tenant_aims_at_edges_lead_nowhere(lab: Lab) -> None:
    """Her edge drops what is not listed, and we take the route away; another's edge is on no network of her router."""
    admin, member = (lab.site("cloud").cloud(user).network for user in ("admin", "a"))
    router = member.find_router("a")
    before = listing(lab)
    others = {"router": {"routes": [{"destination": "0.0.0.0/0", "nexthop": "169.254.128.9"}]}}
    assert member.put(f"/routers/{router.id}/add_extraroutes", json=others, raise_exc=False).status_code == 400
    mine = {"router": {"routes": [{"destination": "0.0.0.0/0", "nexthop": edge(admin, "tenant-a")}]}}
    assert member.put(f"/routers/{router.id}/add_extraroutes", json=mine).status_code == 200
    lab.site("cloud").nbctl("--wait=hv", "sync")
    flows = [(OWN, "10.77.0.1"), (OWN, "10.2.9.9"), (OWN, "169.254.64.2"), ("10.9.9.9", "10.77.0.1")]
    assert not seen(lab, WEB, router_mac(lab, WEB), flows)
    isthmus(lab, "apply", "--prune")
    assert listing(lab) == before


def test_a_second_router_of_the_tenant_is_no_way_to_the_far_side(lab: Lab) -> None:
    """It leads into the first one through a listed subnet; the edge still wants a listed source."""
    member = lab.site("cloud").cloud("a").network
    before = listing(lab)
    first, web = member.find_router("a"), next(member.subnets(name="a-web", ip_version=4))
    network = member.create_network(name="second")
    subnet = member.create_subnet(network_id=network.id, name="second", ip_version=4, cidr="10.1.9.0/24")
    router = member.create_router(name="second")
    member.add_interface_to_router(router, subnet=subnet.id)
    between = member.create_port(
        network_id=web.network_id, fixed_ips=[{"subnet_id": web.id, "ip_address": "10.1.1.250"}]
    )
    member.add_interface_to_router(router, port_id=between.id)
    back = {"router": {"routes": [{"destination": "10.1.9.0/24", "nexthop": "10.1.1.250"}]}}
    member.put(
        f"/routers/{router.id}", json={"router": {"routes": [{"destination": "0.0.0.0/0", "nexthop": "10.1.1.1"}]}}
    )
    member.put(f"/routers/{first.id}/add_extraroutes", json=back)
    lab.plug("second-1", site="cloud", switch="second", host="cloud-2", addresses=["10.1.9.11/24"],
             gateways=["10.1.9.1"], tenant="a")  # fmt: skip
    try:
        via, mine = router_mac(lab, "second-1"), "10.1.9.11"
        lab.site("cloud").nbctl("--wait=hv", "sync")
        assert WEB in seen(lab, "second-1", via, [(mine, OWN)]), "she is where she says"
        assert not seen(lab, "second-1", via, [(mine, REMOTE), (mine, "10.2.9.9"), (mine, "169.254.128.1")])
        with port_of(lab, "second-1", port_security_enabled=False, security_groups=[]):
            assert not seen(lab, "second-1", via, [(s, t) for s, t in FORGED if s != OWN])
    finally:
        lab.unplug("second-1")
        member.put(f"/routers/{first.id}/remove_extraroutes", json=back)
        member.put(f"/routers/{router.id}", json={"router": {"routes": []}})
        member.remove_interface_from_router(router, port_id=between.id)
        member.remove_interface_from_router(router, subnet=subnet.id)
        member.delete_router(router)
        member.delete_network(network)
    assert listing(lab) == before


def edge(admin: Any, interconnect: str) -> str:
    """The edge's address on the cloud's link: the first host of the link's subnet."""
    found = next(s for s in admin.subnets(ip_version=4) if f" {interconnect}/cloud/link/4]" in (s.description or ""))
    return str(next(ip_network(found.cidr).hosts()))


def test_shared_and_provider_networks_are_not_pulled_in_by_a_star(lab: Lab) -> None:
    admin, member = (lab.site("cloud").cloud(user).network for user in ("admin", "a"))
    router = member.find_router("a")
    shared = admin.create_network(name="everybodys", shared=True)
    subnet = admin.create_subnet(network_id=shared.id, name="everybodys", ip_version=4, cidr="10.66.0.0/24")
    port = admin.create_port(network_id=shared.id, fixed_ips=[{"ip_address": "10.66.0.9"}])
    outside = admin.find_network("ext")
    try:
        admin.put(f"/routers/{router.id}/add_router_interface", json={"port_id": port.id})
        member.update_router(router, external_gateway_info={"network_id": outside.id})
        join(lab, a=[cloud("a", "*", securityGroups=["default"]), A[1]])
        found = isthmus(lab, "show", "tenant-a")["interconnects"][0]["attachments"]
        (side,) = (a for a in found if a["name"] == "cloud")
        assert {s["name"] for s in side["subnets"]} == {"a-web", "a-db"}
    finally:
        member.update_router(router, external_gateway_info={})
        admin.put(f"/routers/{router.id}/remove_router_interface", json={"subnet_id": subnet.id}, raise_exc=False)
        admin.delete_network(shared)
        join(lab)


def test_our_marks_and_our_link_imitated_on_purpose_harm_only_who_does_it(lab: Lab) -> None:
    """`b` gives objects of hers the words and tags of a's, and her router a network with the range of a's link."""
    admin, member = (lab.site("cloud").cloud(user).network for user in ("admin", "b"))
    before = {k: r for found in owned(look(lab)).values() for k, r in found.items() if " tenant-a/" in k}
    objects = {k: o for k, o in listing(lab).items() if "[isthmus default tenant-a/" in (o.get("description") or "")}
    link = next(s for s in admin.subnets(ip_version=4) if " tenant-a/cloud/link/4]" in (s.description or ""))

    def words(key: str) -> dict[str, str]:
        return {"description": marks.description("default", f"tenant-a/cloud/{key}")}

    network = member.create_network(name="like-ours", **words("link"))
    member.set_tags(network, sorted(marks.tags("default", "tenant-a/cloud/link")))
    subnet = member.create_subnet(
        network_id=network.id, ip_version=4, cidr=link.cidr, gateway_ip=None, **words("link/4")
    )
    port = member.create_port(network_id=network.id, **words("link-vpc"))
    group = member.create_address_group(name="like-ours", addresses=["10.0.0.0/8"], **words("peers"))
    # A mark that nothing asks for, on what cannot be removed.
    unwanted = member.create_address_group(name="unwanted", addresses=["10.0.0.0/8"], **words("unwanted"))
    mine = member.create_security_group(name="mine")
    rule = {"security_group_id": mine.id, "direction": "ingress", "remote_address_group_id": unwanted.id}
    assert member.post("/security-group-rules", json={"security_group_rule": rule}).status_code == 201
    router = member.find_router("b")
    added = member.put(f"/routers/{router.id}/add_router_interface", json={"port_id": port.id}, raise_exc=False)
    try:
        with nothing_lost(lab, *OF_A):
            isthmus(lab, "apply", "--prune", "--wait", "none", code=0 if added.status_code != 200 else 2)
        now = {k: r for found in owned(look(lab)).values() for k, r in found.items() if " tenant-a/" in k}
        assert now == before
        assert objects.items() <= listing(lab).items()
        member.put(f"/routers/{router.id}/remove_router_interface", json={"port_id": port.id}, raise_exc=False)
        isthmus(lab, "apply", "--prune")
        assert reasons(lab, "tenant-a")["Programmed"].startswith("True")
        assert f"address-groups/{unwanted.id}" in listing(lab)
    finally:
        member.delete_security_group(mine)
        member.delete_address_group(unwanted)
        member.put(f"/routers/{router.id}/remove_router_interface", json={"port_id": port.id}, raise_exc=False)
        member.delete_port(port)
        member.delete_subnet(subnet)
        member.delete_network(network)
        member.delete_address_group(group)
    join(lab)
    warm(lab, OF_B)
