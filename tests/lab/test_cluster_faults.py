"""Whatever of a cluster is restarted, killed or away, in the middle of an ADD too: Pods that run lose no packet."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import permutations
from pathlib import Path

import pytest

from apiserver import Front
from isthmus.lab import rpc, spec
from isthmus.lab.kubernetes import reboot
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.traffic import Pair, Report, Streams
from unixes import until

from .blame import around
from .kubernetes_steps import (
    apply,
    custom,
    delete,
    get,
    has_account,
    kubectl,
    pod,
    ports,
    serving,
    through_a_front,
    twins,
)
from .pod_endpoints import PodLab
from .steps import warm
from .test_cluster_networks import reason, told
from .test_cluster_pods import interfaces
from .tidy import nothing_left_over

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("three-nodes.yaml")
TENANTS = ("red", "blue")
BUSY = "n1"
"""Where Pods come and go. The userspace datapath loses packets of tunnels there when links do (docs/lab.md)."""
STANDING = {"red": ["on-n1", "by-n1", "on-n2", "on-n3"], "blue": ["on-n1", "on-n2", "on-n3"]}
"""Pods that are there all the time; the name ends with the node's."""
PAIRS: list[Pair] = [
    *(("on-n2." + t, "on-n3." + t) for t in TENANTS),
    *(("on-n3." + t, "on-n2." + t) for t in TENANTS),
    ("on-n1.red", "by-n1.red"),
    ("by-n1.red", "on-n1.red"),
]
"""Each tenant's Pods on two nodes, both ways; and two Pods on the busy one."""
TUNNELS: list[Pair] = [pair for t in TENANTS for pair in permutations((f"on-n1.{t}", f"on-n2.{t}"))]
"""To and from the busy one."""
ELSEWHERE = PAIRS[:-2]
AGENT, CONTROLLER, NETWORKS = "n1/agent", "n1/controller", "cluster/networks"


@pytest.fixture(scope="module")
def cluster() -> Iterator[PodLab]:
    """Two tenants with one and the same network, each with a Pod on every node."""
    with PodLab.up(spec.load(str(FILE), name=unique_name())) as lab:
        assert isinstance(lab, PodLab)
        twins(lab, TENANTS)
        for tenant, names in STANDING.items():
            until(f"service account of {tenant}", lambda t=tenant: has_account(lab, t), 60)  # type: ignore[misc]
            apply(lab, *(pod(name, name[-2:], tenant) for name in names))
        for tenant, names in STANDING.items():
            ready(lab, tenant, *names)
            for name in names:
                lab.take(tenant, name)
        yield lab


@pytest.fixture(autouse=True)
def _tidy(cluster: PodLab) -> Iterator[None]:
    """Before and after each test there are the standing Pods, and nothing of others, also where one failed."""
    yield
    cluster.daemon(NETWORKS).start()
    found = json.loads(kubectl(cluster, "get", "pods", "--all-namespaces", "-o", "json"))["items"]
    for space in {item["metadata"]["namespace"] for item in found}:
        names = {item["metadata"]["name"] for item in found if item["metadata"]["namespace"] == space}
        if others := sorted(names - set(STANDING.get(space, ()))):
            delete(cluster, "pod", "-n", space, *others, "--force")
    nothing_left_over(cluster)


def ready(lab: Lab, space: str, *names: str) -> None:
    kubectl(lab, "-n", space, "wait", "--for=condition=Ready", "pod", *names, "--timeout=60s")


def one_more(lab: Lab, name: str = "more", host: str = "n1") -> None:
    """A new Pod becomes Ready."""
    apply(lab, pod(name, host, "red"))
    ready(lab, "red", name)


@contextmanager
def traffic(lab: Lab, pairs: list[Pair]) -> Iterator[dict[Pair, Report]]:
    """Packets every 10 ms; the reports are there afterwards."""
    warm(lab, pairs)
    found: dict[Pair, Report] = {}
    with Streams(lab, pairs, interval=0.01) as streams:
        streams.wait()
        yield found
        found |= streams.stop()


@contextmanager
def no_loss(lab: Lab, pairs: list[Pair] = PAIRS) -> Iterator[None]:
    """Packets every 10 ms, of which none is lost."""
    with traffic(lab, pairs) as reports:
        yield
    assert all(report.sent for report in reports.values())
    assert not any(report.lost for report in reports.values()), around(lab, reports)


# -- in the middle of an ADD ------------------------------------------------------------------------------------------


@contextmanager
def in_mid_add(lab: Lab, name: str, holds: str) -> Iterator[None]:
    """A Pod of red on n1 whose ADD is under way and cannot end, because a daemon is paused; Ready soon afterwards."""
    lab.daemon(holds).pause()
    try:
        apply(lab, pod(name, "n1", "red"))
        until(f"the plugin is at work for {name}", lambda: adding(lab, name), 30)
        if holds == CONTROLLER:
            until("its interface is in Open vSwitch", lambda: f"{name}.red" in interfaces(lab, "n1"))
        yield
    finally:
        if lab.daemon(holds).running:
            lab.daemon(holds).resume()
    ready(lab, "red", name)


def adding(lab: Lab, name: str) -> bool:
    """A container runtime's plugin runs for this Pod, and has not answered yet."""
    for entry in Path(f"/proc/{lab.state.keeper}/root/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            words = dict(word.partition(b"=")[::2] for word in entry.read_bytes().split(b"\0"))
            arguments = words.get(b"CNI_ARGS", b"").split(b";")
            if words.get(b"CNI_COMMAND") == b"ADD" and f"K8S_POD_NAME={name}".encode() in arguments:
                return True
    return False


MID_ADD = [
    # What ends, how, and who is paused meanwhile so that the ADD cannot end before.
    (AGENT, "stop", CONTROLLER),
    (AGENT, "kill", CONTROLLER),
    (NETWORKS, "stop", CONTROLLER),
    (NETWORKS, "kill", NETWORKS),
    (CONTROLLER, "stop", NETWORKS),
    (CONTROLLER, "kill", CONTROLLER),
    ("cluster/nb", "stop", NETWORKS),
    ("cluster/nb", "kill", CONTROLLER),
    ("cluster/sb", "stop", NETWORKS),
    ("cluster/sb", "kill", CONTROLLER),
    # Asked to end it waits a minute for those who watch: a test of its own.
    ("cluster/apiserver", "kill", NETWORKS),
    ("cluster/apiserver", "kill", CONTROLLER),
    ("cluster/etcd", "stop", CONTROLLER),
    ("cluster/etcd", "kill", NETWORKS),
]


@pytest.mark.parametrize("daemon", dict.fromkeys(daemon for daemon, _, _ in MID_ADD))
def test_what_ends_in_the_middle_of_an_add_costs_nobody_a_packet(cluster: PodLab, daemon: str) -> None:
    handle = cluster.daemon(daemon)
    with no_loss(cluster):
        for number, (how, holds) in enumerate((how, holds) for ended, how, holds in MID_ADD if ended == daemon):
            with in_mid_add(cluster, f"{daemon.replace('/', '-')}-{number}", holds):
                getattr(handle, how)()
                handle.start()


@pytest.mark.full
def test_an_api_server_that_is_asked_to_end_costs_nobody_a_packet(cluster: PodLab) -> None:
    with no_loss(cluster):
        cluster.daemon("cluster/apiserver").restart()
    one_more(cluster)


@pytest.mark.parametrize("daemon", [AGENT, CONTROLLER])
def test_what_ends_on_a_node_costs_its_tunnels_no_packet(cluster: PodLab, daemon: str) -> None:
    handle = cluster.daemon(daemon)
    with no_loss(cluster, TUNNELS):
        handle.restart()
        handle.kill()
        handle.start()
        cluster.site("cluster").nbctl("--wait=hv", "--timeout=20", "sync")
    one_more(cluster)


def test_a_pod_that_goes_in_the_middle_of_its_add_or_while_the_agent_is_dead_leaves_nothing(cluster: PodLab) -> None:
    one_more(cluster)
    with no_loss(cluster):
        cluster.daemon(CONTROLLER).pause()
        apply(cluster, pod("half", BUSY, "red"))
        until("its interface is in Open vSwitch", lambda: "half.red" in interfaces(cluster, BUSY), 30)
        delete(cluster, "pod", "-n", "red", "half", "--force")
        until("it is no longer", lambda: "half.red" not in interfaces(cluster, BUSY), 30)
        cluster.daemon(CONTROLLER).resume()
        cluster.daemon(AGENT).kill()
        delete(cluster, "pod", "-n", "red", "more", "--force")
        cluster.daemon(AGENT).start()
        nothing_left_over(cluster)
    one_more(cluster)


# -- the datapath itself ----------------------------------------------------------------------------------------------


def test_a_switch_that_is_killed_costs_its_own_node_a_moment(cluster: PodLab) -> None:
    switch = cluster.daemon("n1/vswitchd")
    with no_loss(cluster, ELSEWHERE), traffic(cluster, TUNNELS) as reports:
        begin = time.monotonic()
        switch.kill()
        switch.start()
        away = time.monotonic() - begin
        warm(cluster, TUNNELS, seconds=30)
    for pair, report in reports.items():
        print(f"ovs-vswitchd of n1 killed, back after {away:.2f} s: {pair[0]} to {pair[1]} {report.longest_gap:.2f} s")
        assert report.longest_gap < away + BOUND
    one_more(cluster)


BOUND = 5.0
"""Seconds after a switch runs until its packets pass again: ovn-controller has filled it, and waited a second."""


def test_a_node_that_is_rebooted_brings_its_pods_back(cluster: PodLab) -> None:
    """A Pod that is deleted meanwhile leaves nothing; those on other nodes do not notice."""
    for name in ("doomed", "kept"):
        one_more(cluster, name)
    before = ports(cluster)
    with no_loss(cluster, ELSEWHERE):
        try:
            reboot.power_off(cluster, BUSY)
            off = time.time_ns()
            delete(cluster, "pod", "-n", "red", "doomed", "--force")
        finally:
            reboot.power_on(cluster, BUSY)
        for tenant, name in (("red", "on-n1"), ("red", "by-n1"), ("blue", "on-n1"), ("red", "kept")):
            until(f"{name} of {tenant} runs again", lambda t=tenant, n=name: restarted(cluster, t, n), 90)  # type: ignore[misc]
            cluster.take(tenant, name)
        with traffic(cluster, TUNNELS) as reports:
            pass
    for pair, report in reports.items():
        assert report.first is not None
        print(f"n1 without power until {pair[0]} reached {pair[1]}: {(report.first - off) / 1e9:.1f} s")
        assert not report.lost
    assert ports(cluster) == {name: port for name, port in before.items() if name != "doomed.red"}
    one_more(cluster)


def restarted(lab: Lab, space: str, name: str) -> bool:
    status = get(lab, "pod", name, "-n", space)["status"]["containerStatuses"][0]
    return bool(status["ready"] and status["restartCount"])


# -- who keeps the networks -------------------------------------------------------------------------------------------


def test_of_two_controllers_one_writes_and_the_other_takes_over(cluster: PodLab) -> None:
    def write(*names: str) -> None:
        one_more(cluster, *names)
        assert max(Counter(keys(cluster)).values()) == 1, "a row is there twice"

    with no_loss(cluster), serving(cluster):
        write("both")
        before = versions(cluster)
        cluster.daemon(NETWORKS).kill()
        write("second")
        assert before.items() <= versions(cluster).items(), "the second one wrote what was there"
        cluster.daemon(NETWORKS).start()
        write("again-both")
    write("first")


def keys(lab: Lab) -> list[str]:
    """What rows of ours in NB stand for."""
    tables = rpc.snapshot(lab.site("cluster").nb_unix, "OVN_Northbound")
    marks = [rpc.mapping(row.get("external_ids", ["map", []])) for rows in tables.values() for row in rows.values()]
    return [ids["isthmus:key"] for ids in marks if "isthmus:key" in ids]


def versions(lab: Lab) -> dict[str, str]:
    """Of the ports of Pods, by name: another one with each write."""
    rows = rpc.snapshot(lab.site("cluster").nb_unix, "OVN_Northbound")["Logical_Switch_Port"].values()
    return {row["name"]: str(row["_version"]) for row in rows if row["type"] == ""}


def test_after_a_restore_from_an_old_backup_no_address_is_given_twice(cluster: PodLab) -> None:
    """One that was in the backup is gone since, others have come; nobody who wrote in between is there any more."""
    file = cluster.paths.run("cluster") / "ovn" / "ovnnb_db.db"
    one_more(cluster, "gone")
    backup = file.read_bytes()
    delete(cluster, "pod", "-n", "red", "gone")
    for name in ("new-1", "new-2"):
        one_more(cluster, name)
    before = ports(cluster)
    with no_loss(cluster):
        cluster.daemon(NETWORKS).kill()
        cluster.daemon("cluster/nb").kill()
        file.write_bytes(backup)
        apply(cluster, pod("late", BUSY, "red"))
        cluster.daemon("cluster/nb").start()
        cluster.daemon(NETWORKS).start()
        ready(cluster, "red", "late")
        nothing_left_over(cluster)
    after = ports(cluster)
    assert before == {name: port for name, port in after.items() if name != "late.red"}


# -- bad objects ------------------------------------------------------------------------------------------------------


def test_a_subnet_that_is_deleted_with_pods_inside_stays_until_they_have_gone(cluster: PodLab) -> None:
    inside = {"ovn.kubernetes.io/logical_switch": "old"}
    with no_loss(cluster):
        apply(cluster, custom("Subnet", "old", vpc="red", cidrBlock="10.7.0.0/24", namespaces=["red"]))
        apply(cluster, pod("inside", "n1", "red", inside))
        ready(cluster, "red", "inside")
        delete(cluster, "subnet", "old")
        # It takes in nobody else, and is there for who is inside, also under the next controller.
        apply(cluster, pod("outside", "n1", "red", inside))
        cluster.daemon(NETWORKS).restart()
        one_more(cluster)
        assert {name: ports(cluster)[f"{name}.red"]["subnet"] for name in ("inside", "more")} == {
            "inside": "old",
            "more": "red-web",
        }
        delete(cluster, "pod", "-n", "red", "inside", "outside", "--force")
        until("its switch is gone", lambda: "old" not in cluster.site("cluster").nbctl("ls-list"), 30)


GARBAGE = {
    "ovn.kubernetes.io/ip_address": [
        "10.1.0.300",
        "10.1.0.0/24",
        "::ffff:10.1.0.9",
        "10.1.0.5;rm",
        "10.1.0.1",
        "10.1.0.6,10.1.0.7",
    ],
    "ovn.kubernetes.io/mac_address": ["00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00-00-5e-00-53-01"],
    "ovn.kubernetes.io/logical_switch": ["../red-web", "red-web ", "none\n", "x" * 300],
}


def test_annotations_that_mean_nothing_are_told_and_harm_nobody(cluster: PodLab) -> None:
    wrong = [(name, value) for name, values in GARBAGE.items() for value in values]
    pods = [pod(f"wrong-{n}", f"n{1 + n % 3}", "red", {name: value}) for n, (name, value) in enumerate(wrong)]
    with no_loss(cluster):
        apply(cluster, *pods)
        for n, pair in enumerate(wrong):
            until(f"an Event about {pair}", lambda n=n: told(cluster, "Pod", f"wrong-{n}", "red"), 30)  # type: ignore[misc]
        one_more(cluster)
        assert not [name for name in ports(cluster) if name.startswith("wrong-")]


def test_pods_of_two_vpcs_that_a_node_cannot_tell_apart_are_told(cluster: PodLab) -> None:
    fixed = {"ovn.kubernetes.io/ip_address": "10.1.0.99"}
    with no_loss(cluster):
        apply(cluster, *(pod("same", "n1", tenant, fixed) for tenant in TENANTS))
        for tenant in TENANTS:
            ready(cluster, tenant, "same")
            until("an Event", lambda t=tenant: told(cluster, "Pod", "same", t) == {"AddressAmbiguous"}, 30)  # type: ignore[misc]
            wait = ("wait", "--for=condition=AddressesUnambiguous=False", f"subnet/{tenant}-web", "--timeout=10s")
            kubectl(cluster, *wait)
            assert reason(cluster, f"{tenant}-web", "AddressesUnambiguous") == "AddressAmbiguous"
        delete(cluster, "pod", "-n", "blue", "same", "--force")
        for tenant in TENANTS:
            wait = ("wait", "--for=condition=AddressesUnambiguous", f"subnet/{tenant}-web", "--timeout=10s")
            kubectl(cluster, *wait)


# -- churn ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "there", "total"), [(60.0, 12, 0), pytest.param(600.0, 60, 500, marks=pytest.mark.full)]
)
def test_pods_that_come_and_go_leave_nothing(cluster: PodLab, seconds: float, there: int, total: int) -> None:
    """Some are deleted before they ran, some at once and some as a node has stopped them.

    there   how many there are at most
    total   how many there must have been at least
    """
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    alive: list[tuple[str, str]] = []
    made, end = 0, time.monotonic() + seconds
    while time.monotonic() < end or made < total:
        # A stream at a time keeps its memory small.
        with no_loss(cluster):
            pause = time.monotonic() + min(60.0, seconds)
            while time.monotonic() < pause:
                new = [(f"churned-{made + n}", dice.choice(TENANTS)) for n in range(dice.randint(1, there // 3))]
                apply(cluster, *(pod(name, BUSY, tenant) for name, tenant in new))
                made += len(new)
                alive = dice.sample(alive + new, len(alive + new))
                keep = dice.randint(0, there)
                alive, gone = alive[:keep], alive[keep:]
                for tenant in TENANTS:
                    if names := [name for name, space in gone if space == tenant]:
                        how = dice.choice((["--force"], ["--wait=false"]))
                        kubectl(cluster, "-n", tenant, "delete", "pod", *names, *how)
    print(f"{made} Pods, seed {seed}")
    one_more(cluster)


# -- the API server ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def front(cluster: PodLab) -> Iterator[Front]:
    """From here on the networks are kept by somebody who asks the API server through it."""
    made = through_a_front(cluster)
    cluster.daemon(NETWORKS).stop()
    with serving(cluster):
        yield made
    made.stop()


def test_an_api_server_that_takes_two_seconds_for_an_answer(cluster: PodLab, front: Front) -> None:
    front.delay = 2.0
    with no_loss(cluster):
        front.drop()
        for name in ("slow-1", "slow-2"):
            one_more(cluster, name)
        nothing_left_over(cluster)
    front.delay = 0.0


def test_an_api_server_that_has_no_time(cluster: PodLab, front: Front) -> None:
    """Nothing is taken away, and what came meanwhile is seen afterwards."""
    one_more(cluster, "before")
    there = ports(cluster)
    with no_loss(cluster):
        front.busy = True
        refused = front.refused
        delete(cluster, "pod", "-n", "red", "before", "--force")
        apply(cluster, pod("meanwhile", "n1", "red"))
        until("everybody was refused", lambda: front.refused >= refused + 20, 30)
        assert ports(cluster) == there
        front.busy = False
        ready(cluster, "red", "meanwhile")
        nothing_left_over(cluster)


@pytest.mark.parametrize("how", ["status", "event"])
def test_an_api_server_that_forgot_what_a_watch_saw(cluster: PodLab, front: Front, how: str) -> None:
    """Everything is listed again: what went meanwhile too."""
    one_more(cluster, "before")
    with no_loss(cluster):
        front.expired = how
        refused = front.refused
        front.drop()
        until("watches were refused", lambda: front.refused > refused, 30)
        delete(cluster, "pod", "-n", "red", "before", "--force")
        one_more(cluster, "meanwhile")
        assert front.refused < refused + 200, "it asks all the time"
        front.expired = ""
        nothing_left_over(cluster)
        one_more(cluster, "after")
