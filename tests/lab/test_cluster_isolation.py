"""Tenants of a cluster with one and the same network, joined with machines elsewhere: who reaches whom, by packets.

The attacker is a Pod of tenant `a`. Frames are sent from its own network namespace, as it could send them itself with
NET_ADMIN and NET_RAW, carry a mark, and are counted at the interfaces of their victims; beside them everybody is
reached by her own (see `test_attacks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab import rpc, spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import LabFactory, unique_name
from isthmus.lab.traffic import Ears, Pair

from .kubernetes_steps import apply as create
from .kubernetes_steps import as_tenant, delete, eventually, forger, get, inside, kubectl, pod, ports, through_a_front
from .pod_attacks import NEIGHBOUR, as_pods, attacks, forged_in_the_own_vpc, others_gateways, router_macs
from .steps import apply, edit, isthmus, same_tenant, set_site, warm
from .test_attacks import Ground, carry_out, wanted
from .test_cluster_networks import told

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("cluster-and-ovn.yaml")
SWITCH, ADDRESS, MAC = (f"ovn.kubernetes.io/{what}" for what in ("logical_switch", "ip_address", "mac_address"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Five tenants with the same addresses, each with Pods on both nodes, and machines of another site; joined."""
    with Lab.up(spec.load(str(FILE), name=unique_name())) as made:
        apply(made)
        yield made


@pytest.fixture(scope="module")
def ground(lab: Lab) -> Iterator[Ground]:
    for version in (4, 6):
        warm(lab, wanted(lab, version), version)
    made = Ground(lab, Ears(lab, [m.name for m in lab.machines]), traffic.Mouths(lab, "udp"))
    yield made
    made.close()


def everybody(lab: Lab, version: int) -> list[Pair]:
    """All ordered pairs, but for those with one and the same address."""
    return traffic.pairs(lab.machines, version)


def assert_apart(lab: Lab, version: int) -> None:
    """Every Pod and machine to every other one."""
    found = traffic.matrix(lab, everybody(lab, version), version=version)
    assert found.open == wanted(lab, version)
    assert all(found[pair].received == found[pair].sent == 3 for pair in found.open)
    assert not found.strays


@pytest.mark.parametrize("version", [4, 6])
def test_pods_and_machines_of_a_tenant_reach_each_other_and_nobody_else_gets_a_packet(lab: Lab, version: int) -> None:
    warm(lab, wanted(lab, version), version)
    assert_apart(lab, version)


@pytest.mark.full
def test_ten_tenants_are_as_far_apart(lab_factory: LabFactory) -> None:
    lab = lab_factory(FILE, tenants=10)
    apply(lab)
    for version in (4, 6):
        warm(lab, wanted(lab, version), version)
        assert_apart(lab, version)
    ground = Ground(lab, Ears(lab, [m.name for m in lab.machines]), traffic.Mouths(lab, "udp"))
    outcome = carry_out(ground, as_pods(lab, others_gateways(lab)))
    ground.close()
    assert not outcome.seen and not outcome.deaf, str(outcome)


def test_the_pods_are_those_of_deployments_with_the_addresses_that_they_show(lab: Lab) -> None:
    for machine in lab.site("cloud").machines:
        found = get(lab, "deployment", machine.name, "-n", str(machine.tenant))
        assert found["status"]["readyReplicas"] == 1
        given = ports(lab, "cloud")[lab.port(machine.name)]["addresses"]
        assert given == [machine.mac, *(str(a.ip) for a in machine.addresses)]


def test_it_is_verified_and_traced(lab: Lab) -> None:
    found = isthmus(lab, "verify", "--live")
    assert found["pods"] == len(lab.site("cloud").machines)
    assert not found["faults"]
    port = lab.port("cloud-a-web-1")
    isthmus(lab, "trace", f"cloud/{port}", "cluster/cluster-a-pods-2")
    # Every tenant has a Pod with this address: the namespace says whose is meant.
    name, _, namespace = port.rpartition(".")
    (trace, _) = isthmus(lab, "trace", f"cloud/{namespace}/{name}", "cluster/cluster-a-pods-2")["traces"]
    assert trace["ends"][0].startswith(f"from  Pod {namespace}/{name}; Subnet a-web; node cloud-1; port security")
    (error,) = isthmus(lab, "trace", f"cloud/b/{name}", "cluster/cluster-b-pods-2", code=2)["errors"]
    assert error["code"] == "UnknownPod"


# -- attacks ----------------------------------------------------------------------------------------------------------


def test_no_attack_of_a_pod_puts_a_packet_on_a_victims_interface(ground: Ground) -> None:
    outcomes = [carry_out(ground, as_pods(ground.lab, attack)) for attack in attacks(ground.lab)]
    table = "\n".join(map(str, outcomes))
    print(f"\n{table}")
    assert not [o.attack.name for o in outcomes if o.seen or o.deaf], table
    assert len({o.attack.name for o in outcomes}) == len(outcomes) > 20


@contextmanager
def unkept(lab: Lab) -> Iterator[None]:
    """Nobody keeps the cluster's networks as they should be; at the end somebody does again, and has."""
    networks, unix = lab.site("cloud").daemon("networks"), lab.site("cloud").nb_unix

    def rows() -> dict[str, Any]:
        tables = rpc.snapshot(unix, "OVN_Northbound")
        found = tables["Logical_Switch_Port"] | tables["Logical_Router_Port"]
        return {str(r["name"]): {c: r[c] for c in ("addresses", "port_security") if c in r} for r in found.values()}

    before = rows()
    networks.kill()
    try:
        yield
    finally:
        networks.start()
        eventually(lab, lambda: rows() == before, "all ports are as they were")
        lab.site("cloud").nbctl("--wait=hv", "sync")


def test_without_port_security_a_pod_would_lie_to_its_own_tenant_and_to_nobody_else(ground: Ground) -> None:
    """Else the frames are wrong, and the table above proves nothing."""
    lab = ground.lab
    with unkept(lab):
        for name in ("cloud-a-web-1", "cloud-a-quiet-1"):
            lab.site("cloud").nbctl("--wait=hv", "lsp-set-port-security", lab.port(name))
        told_of = {fault["row"]["name"] for fault in isthmus(lab, "verify", code=1)["faults"]}
        outcomes = [carry_out(ground, as_pods(lab, attack)) for attack in forged_in_the_own_vpc()]
    assert told_of == {lab.port(name) for name in ("cloud-a-web-1", "cloud-a-quiet-1")}
    for outcome in outcomes:
        print(outcome)
        assert outcome.seen, str(outcome)
        assert {lab.machine(name).tenant for name in outcome.seen} == {"a"}
    assert not any(carry_out(ground, as_pods(lab, attack)).seen for attack in forged_in_the_own_vpc())


def test_a_router_on_the_wrong_switch_would_let_the_neighbours_in(ground: Ground) -> None:
    lab = ground.lab
    attack = as_pods(lab, others_gateways(lab))
    with unkept(lab):
        lab.site("cloud").nbctl("lsp-del", "b-web/b")
        words = "lsp-add a-web joined -- lsp-set-type joined router -- lsp-set-addresses joined router"
        lab.site("cloud").nbctl("--wait=hv", *words.split(), "--", "lsp-set-options", "joined", "router-port=b/b-web")
        outcome = carry_out(ground, attack)
        faults = isthmus(lab, "verify", code=1)["faults"]
        lab.site("cloud").nbctl("lsp-del", "joined")
    assert {fault["kind"] for fault in faults} >= {"subnet", "stranger"}
    assert set(outcome.seen) >= {"cloud-b-quiet-1"}, str(outcome)
    assert not carry_out(ground, attack).seen


# -- what a tenant may do by herself ----------------------------------------------------------------------------------


def test_a_pod_with_net_admin_that_changes_its_interface_is_not_heard(lab: Lab) -> None:
    """By itself, with what is in its image."""
    create(lab, forger("forger", "cloud-1", "a", {SWITCH: "a-web"}))
    kubectl(lab, "-n", "a", "wait", "--for=condition=Ready", "pod/forger", "--timeout=60s")
    ports_now = ports(lab, "cloud")
    mac, own = ports_now["forger.a"]["addresses"][:2]
    ask = f"ping -c 1 -W 1 {NEIGHBOUR}"

    def disguised(lie: str) -> tuple[int, str]:
        return inside(lab, "a", "forger", "sh", "-c", f"{lie} && {ask}")

    def with_mac(word: str) -> str:
        return f"ip link set eth0 address {word}"

    def with_address(word: str) -> str:
        return f"ip addr flush dev eth0 && ip addr add {word}/24 dev eth0"

    assert disguised("true")[0] == 0
    macs, victim = router_macs(lab), ports_now[lab.port("cloud-b-web-1")]["addresses"][0]
    for lie in (
        *(with_mac(word) for word in (victim, macs["a/a-web"], macs["b/b-web"], "02:00:00:00:00:66")),
        f"{with_mac(mac)} && {with_address('10.1.1.1')}",
    ):
        code, said = disguised(lie)
        assert code != 0
        assert "100% packet loss" in said, (lie, said)
    code, said = disguised(with_address(own))
    assert code == 0, said
    delete(lab, "pod", "-n", "a", "forger", "--force")


def test_neither_annotations_nor_rights_give_a_tenant_what_is_anothers(lab: Lab) -> None:
    """She may do everything in her namespace that `edit` allows."""
    with as_tenant(lab, "a") as her:
        for verb, what in (
            ("create", "vpcs.kubeovn.io"),
            ("patch", "vpcs.kubeovn.io"),
            ("create", "subnets.kubeovn.io"),
            ("patch", "subnets.kubeovn.io"),
            ("patch", "subnets.kubeovn.io --subresource=status"),
            ("patch", "namespaces"),
            ("create", "pods --namespace=b"),
            ("patch", "pods --namespace=b"),
            ("patch", "pods --subresource=status --namespace=a"),
            ("patch", "nodes"),
        ):
            assert her("auth", "can-i", verb, *what.split()).stdout.strip() == "no", (verb, what)
        before = ports(lab, "cloud")
        claims = {
            "subnet": ({SWITCH: "b-web"}, "NotBound"),
            "whole": ({SWITCH: "b-web", ADDRESS: NEIGHBOUR, MAC: "02:00:00:00:00:77"}, "NotBound"),
            "default": ({SWITCH: "ovn-default"}, ""),
            "taken": ({SWITCH: "a-web", ADDRESS: NEIGHBOUR}, "AddressInUse"),
            "gateway": ({SWITCH: "a-web", ADDRESS: "10.1.1.1"}, "AddressReserved"),
            "elsewhere": ({SWITCH: "a-web", ADDRESS: "10.2.1.11"}, "AddressOutside"),
        }
        for name, (annotations, _) in claims.items():
            her("apply", "-f", "-", made=pod(name, "cloud-1", "a", annotations))
        for name, (_, why) in claims.items():
            if why:
                eventually(lab, lambda n=name: told(lab, "Pod", n, "a"), f"what is wrong with {name}")  # type: ignore[misc]
                assert told(lab, "Pod", name, "a") == {why}
        eventually(lab, lambda: "default.a" in ports(lab, "cloud"), "the cluster's own Subnet is everybody's")
        # What a Pod is told later changes nothing of it.
        running = lab.port("cloud-a-web-2").removesuffix(".a")
        assert her("annotate", "pod", "-n", "a", "--overwrite", running, f"{SWITCH}=b-web").returncode == 0
        delete(lab, "pod", "-n", "a", *claims, "--force")
        eventually(lab, lambda: ports(lab, "cloud") == before, "nothing has changed")


# -- the last one, which cuts a tenant --------------------------------------------------------------------------------


def listed(lab: Lab, *subnets: str | dict[str, str]) -> None:
    """Make these the Subnets of tenant b in the cluster."""

    def change(document: dict[str, Any]) -> None:
        if document["metadata"]["name"] == "tenant-b":
            (side,) = (a for a in document["spec"]["attachments"] if a["site"] == "cloud")
            side["subnets"] = list(subnets)

    edit(lab, "interconnects.yaml", change)


def in_the_cluster(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for d in plan["databases"] if d["database"] == "kubernetes/cloud" for row in d["rows"]]


@contextmanager
def slowly(lab: Lab, seconds: float) -> Iterator[None]:
    """Our commands wait so long for every answer of the API server; OVN's databases answer at once."""
    front = through_a_front(lab, "cloud")
    front.delay = seconds
    try:
        yield
    finally:
        set_site(lab, "cloud", kubernetes={"kubeconfig": "../kubeconfig", "context": "cloud"})
        front.stop()


def subnets_of(lab: Lab) -> set[str]:
    return {word.partition("/")[2] for word in kubectl(lab, "get", "subnets.kubeovn.io", "-o", "name").split()}


def test_a_subnet_is_defined_in_the_cluster_and_removed_when_no_pod_is_in_it(lab: Lab) -> None:
    before, new = subnets_of(lab), {"name": "b-new", "cidr": "10.5.0.0/24"}
    for wrong, code in (
        ({"name": "b-web", "cidr": "10.9.0.0/24"}, "CidrDiffers"),
        ({"name": "a-web", "cidr": "10.9.0.0/24"}, "NameInUse"),
        ({"name": "ovn-Default", "cidr": "10.9.0.0/24"}, "InvalidName"),
    ):
        listed(lab, wrong)
        assert [e["code"] for e in isthmus(lab, "plan", code=2)["errors"]] == [code]
    listed(lab, "b-web", new)
    (row,) = in_the_cluster(isthmus(lab, "plan"))
    assert (row["op"], row["table"], row["key"]) == ("add", "Subnet", "tenant-b/cloud/subnet/b-new")
    assert row["columns"]["cidrBlock"] == "10.5.0.0/24"
    assert subnets_of(lab) == before
    isthmus(lab, "apply")
    found = get(lab, "subnets.kubeovn.io", "b-new")
    assert (found["spec"]["vpc"], found["spec"]["gateway"]) == ("b", "10.5.0.1")
    assert found["metadata"]["annotations"]["isthmus.dev/key"] == "tenant-b/cloud/subnet/b-new"
    assert isthmus(lab, "apply")["transactions"] == 0
    assert not isthmus(lab, "plan")["databases"]
    isthmus(lab, "verify")
    # A Pod in it reaches a machine of its tenant, and keeps the Subnet when it is no longer connected.
    machine = lab.machine("cluster-b-pods-1").addresses[0].ip
    place = {"ovn.kubernetes.io/logical_switch": "b-new"}
    create(lab, pod("inside", "cloud-1", "b", place))
    kubectl(lab, "-n", "b", "wait", "--for=condition=Ready", "pod/inside", "--timeout=60s")
    assert inside(lab, "b", "inside", "ping", "-c", "3", "-W", "2", str(machine))[0] == 0
    listed(lab, "b-web")
    isthmus(lab, "apply")
    assert "b-new" in subnets_of(lab)
    assert inside(lab, "b", "inside", "ping", "-c", "2", "-W", "1", str(machine))[0] != 0
    delete(lab, "pod", "-n", "b", "inside", "--force")
    eventually(lab, lambda: "inside.b" not in ports(lab, "cloud"), "its port has gone")
    with slowly(lab, 1.0):
        (row,) = in_the_cluster(isthmus(lab, "plan"))
        assert (row["op"], row["table"], row["key"]) == ("remove", "Subnet", "tenant-b/cloud/subnet/b-new")
        isthmus(lab, "apply")
    assert subnets_of(lab) == before


def test_a_tenant_that_is_cut_stays_apart_and_the_others_do_not_notice(lab: Lab) -> None:
    within = {p for p in wanted(lab, 4) if lab.machine(p[0]).site == lab.machine(p[1]).site}
    others = {p for p in same_tenant(lab, wanted(lab, 4)) if lab.machine(p[0]).tenant != "a"}
    between = sorted(others - within)
    with traffic.Streams(lab, between, interval=0.05) as streams:
        streams.wait()
        isthmus(lab, "disconnect", "tenant-a")
        reports = streams.stop().values()
    assert sum(r.sent for r in reports)
    assert not [r.lost for r in reports if r.lost]
    assert traffic.matrix(lab, everybody(lab, 4)).open == within | set(between)
