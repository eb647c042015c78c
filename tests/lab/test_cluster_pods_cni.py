"""The network plugin by the CNI specification 1.1.0, asked by `cnitool` and as a runtime asks, on a real node.

Pods are in the API and on the node, but its kubelet is stopped: nobody else asks for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from isthmus.agent import cni
from isthmus.lab.kubernetes import programs
from isthmus.lab.lab import Lab

from .cni_steps import NETWORK, VERSIONS, Attachment, Runtime, ended
from .kubernetes_steps import apply, delete, eventually, get, interfaces, kubectl, pod, ports

pytestmark = pytest.mark.lab

MANY = 50
RACES = 20
PODS = [Attachment(f"p{number}") for number in range(MANY)]
ONE, TWO, THREE, FOUR = PODS[:4]
MARK = "waits-for-nobody"
"""A label of these Pods."""


@pytest.fixture(scope="module")
def runtime(shared_cluster: Lab) -> Iterator[Runtime]:
    """A node without a kubelet, Pods that wait there for somebody, and a network namespace for each."""
    lab = shared_cluster
    programs.install(lab.state, print, programs.CNITOOL)
    made = Runtime(lab, "n1", str(programs.path(programs.CNITOOL) / "bin" / "cnitool"))
    kubelet = lab.host("n1").daemon("kubelet")
    kubelet.stop()
    apply(lab, *map(waiting, PODS))
    for version in VERSIONS:
        made.configure(version, f"{NETWORK}-{version}")
    made.configure("1.1.0", NETWORK)
    made.make(PODS)
    yield made
    made.unmake(PODS)
    kubectl(lab, "delete", "--raw", f"/api/v1/namespaces/red/pods?labelSelector={MARK}&gracePeriodSeconds=0")
    kubelet.start()
    kubectl(lab, "wait", "--for=condition=Ready", "node/n1", "--timeout=60s")


def waiting(attachment: Attachment) -> dict[str, Any]:
    """A Pod that has a port, and no kubelet."""
    made = pod(attachment.pod, "n1", attachment.namespace)
    made["metadata"]["labels"] = {MARK: ""}
    return made


@pytest.fixture(autouse=True)
def nothing_else(runtime: Runtime) -> Iterator[None]:
    """Whatever a test makes, it leaves the node as it was."""
    before = runtime.left()
    yield
    assert runtime.left() == before


@pytest.fixture
def one(runtime: Runtime) -> Iterator[dict[str, Any]]:
    """What ADD said of an attachment that is there for one test."""
    yield runtime.add(ONE)
    runtime.succeed("del", ONE)


def config(version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    return {"cniVersion": version} | more


def code(answer: tuple[int, Any]) -> int:
    exit_code, said = answer
    assert exit_code != 0
    assert {"cniVersion", "code", "msg"} <= said.keys()
    return int(said["code"])


# -- VERSION, ADD, CHECK, DEL --------------------------------------------------------------------------------------


def test_the_plugin_says_its_versions(runtime: Runtime) -> None:
    assert runtime.plugin("VERSION", config("1.0.0")) == (
        0, {"cniVersion": "1.0.0", "supportedVersions": list(VERSIONS)}
    )  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_an_attachment_comes_stands_and_goes(runtime: Runtime, version: str) -> None:
    lab, network = runtime.lab, f"{NETWORK}-{version}"
    said = runtime.add(ONE, network)
    given = ports(lab)[ONE.port]["addresses"]
    assert said["cniVersion"] == version
    outer, inner = said["interfaces"]
    assert (outer["name"], "sandbox" in outer) == (ONE.link, False)
    assert (inner["name"], inner["mac"], inner["sandbox"]) == (ONE.ifname, given[0], ONE.netns)
    assert ("mtu" in inner) == (version == "1.1.0")
    assert [ip["address"].partition("/")[0] for ip in said["ips"]] == given[1:]
    assert [ip["gateway"] for ip in said["ips"]] == ["10.1.0.1", "fd00:1::1"]
    assert {ip["interface"] for ip in said["ips"]} == {1}
    assert [ip.get("version") for ip in said["ips"]] == (["4", "6"] if version == "0.4.0" else [None, None])
    assert {(route["dst"], route["gw"]) for route in said["routes"]} == {
        ("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd00:1::1")
    }  # fmt: skip
    (seen,) = json.loads(runtime.inside(ONE, "ip", "-j", "address", "show", ONE.ifname))
    assert (seen["address"], seen["operstate"]) == (given[0], "UP")
    assert {f"{a['local']}/{a['prefixlen']}" for a in seen["addr_info"] if a["scope"] == "global"} == {
        ip["address"] for ip in said["ips"]
    }
    for address in get(lab, "pod", "on-n2", "-n", "red")["status"]["podIPs"]:
        runtime.inside(ONE, "ping", "-c", "2", "-W", "2", address["ip"])
    runtime.succeed("check", ONE, network)
    for _ in range(2):
        runtime.succeed("del", ONE, network)
        assert "eth0" not in runtime.inside(ONE, "ip", "-o", "link")
    assert ONE.port not in interfaces(lab, "n1")


def test_what_an_earlier_plugin_gave_is_passed_on(runtime: Runtime) -> None:
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "net7", "sandbox": ONE.netns}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0}],
        "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    exit_code, said = runtime.plugin("ADD", config("1.0.0", prevResult=before), ONE)
    assert exit_code == 0
    assert said["interfaces"][0] == before["interfaces"][0]
    assert said["ips"][0] == before["ips"][0]
    assert [ip["interface"] for ip in said["ips"]] == [0, 2, 2]
    assert said["interfaces"][2]["name"] == ONE.ifname
    assert said["routes"][0] == before["routes"][0]
    assert said["dns"] == before["dns"]
    # CHECK gets all of it, and knows what is its own.
    assert runtime.plugin("CHECK", config("1.0.0", prevResult=said), ONE) == (0, None)
    assert runtime.plugin("DEL", config("1.0.0", prevResult=said), ONE) == (0, None)


@pytest.mark.parametrize(
    ("command", "text", "words", "expected"),
    [
        ("ADD", {"cniVersion": "0.2.0"}, {}, cni.VERSION),
        ("ADD", {"cniVersion": "9.0.0"}, {}, cni.VERSION),
        ("FRY", {"cniVersion": "1.0.0"}, {}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"CONTAINERID": ""}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"CONTAINERID": "-x"}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"IFNAME": ""}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"IFNAME": "a-name-of-16-char"}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"NETNS": ""}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"NETNS": "/run/netns/none"}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"NETNS": "/etc/passwd"}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0"}, {"ARGS": "FOO=BAR"}, cni.ENVIRONMENT),
        ("ADD", {"cniVersion": "1.0.0", "prevResult": "x"}, {}, cni.DECODING),
        ("ADD", "{", {}, cni.DECODING),
        ("ADD", "[]", {}, cni.DECODING),
        ("DEL", {"cniVersion": "1.0.0"}, {"CONTAINERID": ""}, cni.ENVIRONMENT),
        ("DEL", {"cniVersion": "1.0.0"}, {"IFNAME": ""}, cni.ENVIRONMENT),
        ("CHECK", {"cniVersion": "1.0.0"}, {"NETNS": ""}, cni.ENVIRONMENT),
        ("CHECK", {"cniVersion": "1.0.0"}, {}, cni.CONFIG),
        ("STATUS", {"cniVersion": "1.0.0"}, {}, cni.ENVIRONMENT),
        ("GC", {"cniVersion": "1.1.0", "cni.dev/valid-attachments": ["x"]}, {}, cni.CONFIG),
    ],
)
def test_what_is_not_understood_is_refused_by_its_code(
    runtime: Runtime, command: str, text: Any, words: dict[str, str], expected: int
) -> None:
    assert code(runtime.plugin(command, text, ONE, **words)) == expected


def test_a_second_add_is_an_error_and_the_first_one_stays(runtime: Runtime, one: dict[str, Any]) -> None:
    assert code(runtime.plugin("ADD", config(), ONE)) == cni.ENVIRONMENT
    runtime.succeed("check", ONE)


def test_a_pod_has_one_interface(runtime: Runtime, one: dict[str, Any]) -> None:
    """It has one port: a second interface would take it away from the first."""
    assert code(runtime.plugin("ADD", config(), Attachment(ONE.pod, ifname="eth1"))) == cni.ENVIRONMENT
    runtime.succeed("check", ONE)


def test_an_interface_of_that_name_is_not_touched(runtime: Runtime) -> None:
    runtime.inside(ONE, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    assert code(runtime.plugin("ADD", config(), ONE)) == cni.ENVIRONMENT
    runtime.inside(ONE, "ip", "link", "del", "eth0")


def test_a_pods_next_container_takes_its_port(runtime: Runtime, one: dict[str, Any]) -> None:
    """And the DEL of the one before, which comes late, leaves it alone."""
    before = runtime.left()
    exit_code, said = runtime.plugin("ADD", config(), ONE, CONTAINERID="next", NETNS=TWO.netns)
    assert exit_code == 0
    assert "eth0" not in runtime.inside(ONE, "ip", "-o", "link")
    assert len(runtime.left()) == len(before)
    runtime.succeed("del", ONE)
    assert runtime.plugin("CHECK", config(prevResult=said), ONE, CONTAINERID="next", NETNS=TWO.netns) == (0, None)
    assert runtime.plugin("DEL", config(), ONE, CONTAINERID="next", NETNS=TWO.netns) == (0, None)


def test_a_del_of_nothing_is_done(runtime: Runtime) -> None:
    assert runtime.plugin("DEL", config(), ONE) == (0, None)
    assert runtime.plugin("DEL", config(), CONTAINERID="unknown", IFNAME="eth0") == (0, None)


def test_a_del_needs_no_network_namespace(runtime: Runtime) -> None:
    gone = PODS[-1]
    runtime.add(gone)
    runtime.unmake([gone])
    assert gone.port in interfaces(runtime.lab, "n1")
    assert runtime.plugin("DEL", config(), CONTAINERID=gone.container, IFNAME=gone.ifname) == (0, None)
    assert gone.port not in interfaces(runtime.lab, "n1")
    runtime.make([gone])


@pytest.mark.parametrize(
    "damage",
    [
        "ip netns exec {pod} ip link del eth0",
        "ip netns exec {pod} ip link set eth0 down",
        "ip netns exec {pod} ip link set eth0 address 02:00:00:00:00:01",
        "ip netns exec {pod} ip address flush dev eth0 scope global",
        "ip netns exec {pod} ip -6 address del {address6} dev eth0",
        "ip netns exec {pod} ip route del default",
        "ip link set {link} down",
        "ovs-vsctl --no-wait del-port {link}",
    ],
)
def test_a_check_finds_what_is_missing(runtime: Runtime, one: dict[str, Any], damage: str) -> None:
    runtime.succeed("check", ONE)
    runtime.shell(damage.format(pod=ONE.pod, link=ONE.link, address6=one["ips"][1]["address"]))
    done = runtime.tool("check", ONE)
    assert done.returncode != 0
    assert code(runtime.plugin("CHECK", config(prevResult=one), ONE)) == cni.BROKEN


def test_a_check_compares_with_what_add_gave(runtime: Runtime, one: dict[str, Any]) -> None:
    other = one | {"ips": [ip | {"address": "10.1.0.250/24"} for ip in one["ips"]]}
    assert code(runtime.plugin("CHECK", config(prevResult=other), ONE)) == cni.BROKEN
    assert runtime.plugin("CHECK", config(prevResult=one), ONE) == (0, None)


# -- STATUS and GC -------------------------------------------------------------------------------------------------


def test_the_installed_network_speaks_the_newest_version(runtime: Runtime, one: dict[str, Any]) -> None:
    """What kubelet's runtime reads, `cnitool` reads as well, and asks for STATUS, which is of 1.1.0."""
    name = runtime.installed()["name"]
    assert runtime.tool("status", ONE, name, "/etc/cni/net.d").returncode == 0


def test_status_tells_whether_there_can_be_an_add(runtime: Runtime) -> None:
    agent = runtime.lab.host("n1").daemon("agent")
    assert runtime.tool("status", ONE).returncode == 0
    assert runtime.plugin("STATUS", config()) == (0, None)
    runtime.add(TWO)
    agent.stop()
    try:
        assert runtime.tool("status", ONE).returncode != 0
        assert code(runtime.plugin("STATUS", config())) == cni.UNAVAILABLE
        # Each waits for an agent that may come back.
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(runtime.plugin, *words) for words in (("ADD", config(), ONE), ("DEL", config(), TWO))]
            assert [code(each.result()) for each in asked] == [cni.AGAIN, cni.AGAIN]
    finally:
        agent.start()
    eventually(runtime.lab, lambda: runtime.tool("status", ONE).returncode == 0, "the agent serves again")
    runtime.succeed("check", TWO)
    runtime.succeed("del", TWO)


def test_garbage_is_what_no_valid_attachment_names(runtime: Runtime) -> None:
    lab, others = runtime.lab, interfaces(runtime.lab, "n1")
    orphan = "i0123456789ab"
    for each in (ONE, TWO, THREE):
        runtime.add(each)
    runtime.add(FOUR, f"{NETWORK}-1.1.0")
    runtime.shell(f"ip link add {orphan} type veth peer name nobody; ip link add ours type veth peer name o")
    # As many as a node may have: more than one line of a socket's buffer.
    many = [Attachment(f"other-{number}").valid for number in range(2000)]

    def collect(*valid: Attachment) -> None:
        stated = {"cni.dev/valid-attachments": [each.valid for each in valid] + many}
        assert runtime.plugin("GC", config(**stated)) == (0, None)

    collect(ONE, TWO, THREE)
    assert interfaces(lab, "n1").keys() == others.keys() | {each.port for each in (ONE, TWO, THREE, FOUR)}
    assert orphan not in runtime.left()
    assert runtime.plugin("GC", config()) == (0, None)
    collect(ONE)
    assert interfaces(lab, "n1").keys() == others.keys() | {ONE.port, FOUR.port}
    assert "eth0" not in runtime.inside(TWO, "ip", "-o", "link")
    runtime.succeed("check", ONE)
    runtime.succeed("check", FOUR, f"{NETWORK}-1.1.0")
    # What `cnitool` calls so takes all of a network away, and nothing of another.
    runtime.succeed("gc", ONE)
    assert interfaces(lab, "n1").keys() == others.keys() | {FOUR.port}
    runtime.succeed("check", FOUR, f"{NETWORK}-1.1.0")
    runtime.succeed("del", FOUR, f"{NETWORK}-1.1.0")
    assert "ours@o" in runtime.shell("ip -o link")
    runtime.shell("ip link del ours")


# -- at once -------------------------------------------------------------------------------------------------------


def test_fifty_at_once(runtime: Runtime) -> None:
    lab = runtime.lab

    def at_once(word: str) -> list[str]:
        done = [ended(process) for process in [runtime.start(word, each) for each in PODS]]
        assert [each.returncode for each in done] == [0] * MANY, [each.stderr for each in done]
        return [each.stdout for each in done]

    said = [json.loads(text) for text in at_once("add")]
    given = [ports(lab)[each.port]["addresses"][1:] for each in PODS]
    assert [[ip["address"].partition("/")[0] for ip in each["ips"]] for each in said] == given
    assert len({address for addresses in given for address in addresses}) == 2 * MANY
    there = interfaces(lab, "n1")
    assert all(there[each.port]["ovn-installed"] == "true" for each in PODS)
    assert len(runtime.left()) == len(there)
    at_once("check")
    at_once("del")


def test_an_add_and_a_del_that_race_leave_all_or_nothing(runtime: Runtime) -> None:
    for number, each in enumerate(PODS[:RACES]):
        adding = runtime.start("add", each)
        time.sleep(number * 0.03)
        removed, added = ended(runtime.start("del", each)), ended(adding)
        assert removed.returncode == 0
        stands = each.port in interfaces(runtime.lab, "n1")
        assert stands == (each.link in runtime.left())
        assert stands == ("eth0" in runtime.inside(each, "ip", "-o", "link"))
        if stands:
            # The DEL was first.
            assert added.returncode == 0
            assert runtime.plugin("CHECK", config(prevResult=json.loads(added.stdout)), each) == (0, None)
            runtime.succeed("del", each)


def test_a_del_ends_the_add_that_waits_for_ovn(runtime: Runtime) -> None:
    ghost = Attachment("ghost")
    runtime.make([ghost])
    add = runtime.start("add", ghost)
    # The ADD may not have arrived yet when the first DEL does.
    while add.poll() is None:
        runtime.succeed("del", ghost)
    done = ended(add)
    assert done.returncode != 0
    assert "a later request ended this ADD" in done.stderr
    runtime.unmake([ghost])


def test_an_add_waits_for_its_pod_and_the_later_container_gets_it(runtime: Runtime) -> None:
    places = [Attachment("late", place=f"late-{number}") for number in (1, 2)]
    runtime.make(places)
    adds = [runtime.start("add", each) for each in places]
    eventually(runtime.lab, lambda: any(add.poll() is not None for add in adds), "one ADD has ended the other")
    apply(runtime.lab, pod("late", "n1", "red"))
    done = [ended(add) for add in adds]
    (lost,) = [number for number, each in enumerate(done) if each.returncode != 0]
    assert "a later request ended this ADD" in done[lost].stderr
    assert "eth0" not in runtime.inside(places[lost], "ip", "-o", "link")
    runtime.succeed("check", places[1 - lost])
    runtime.succeed("del", places[1 - lost])
    runtime.unmake(places)
    delete(runtime.lab, "pod", "-n", "red", "late", "--force", "--grace-period=0")
