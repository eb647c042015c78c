"""Guests that Nova boots in a lab: their addresses, their packets, their life, and that nothing is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isthmus.lab import spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

from .openstack_steps import answers, sync
from .openstack_steps import cloud as attached
from .steps import attach, isthmus, warm, write_interconnects
from .test_lab_leaves_nothing import assert_nothing_left, inodes, links

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("guests")]

FILE = Path(__file__).with_name("nova.yaml")
WEB, DB, OTHER, FAR = "cloud-a-web-1", "cloud-a-db-1", "cloud-b-web-1", "cloud-b-db-1"
BETWEEN = [(WEB, DB), (DB, WEB)]
POD, OTHER_POD = "cluster-a-pods-1", "cluster-b-pods-1"
ACROSS, OTHERS = [(WEB, POD), (POD, WEB)], [(OTHER, FAR), (FAR, OTHER), (FAR, OTHER_POD), (OTHER_POD, FAR)]
COMMAND = [sys.executable, "-m", "isthmus.cli.main", "lab"]


@pytest.fixture(scope="module")
def links_before() -> list[str]:
    return links()


@pytest.fixture(scope="module")
def cloud(links_before: list[str]) -> Iterator[Lab]:
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        yield lab


@pytest.fixture
def connected(cloud: Lab) -> Lab:
    """Both projects are joined to their own counterparts, who may come in."""
    sides = {
        f"tenant-{name}": [attached(name, "*", securityGroups=["default"]), attach("cluster", name, f"{name}-pods")]
        for name in "ab"
    }
    write_interconnects(cloud, sides)
    isthmus(cloud, "apply", "--prune")
    return cloud


def unmoved(lab: Lab) -> None:
    """Whatever becomes of a server, nothing of ours has to change for it."""
    assert isthmus(lab, "plan", "--prune")["databases"] == []


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether it becomes so in time."""
    deadline = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def crosses(lab: Lab) -> bool:
    return traffic.matrix(lab, BETWEEN, count=1).open == set(BETWEEN)


@pytest.mark.parametrize("name, address", [(WEB, "10.1.1.11/24"), (DB, "10.1.2.11/24"), (OTHER, "10.1.1.11/24")])
def test_a_guest_has_the_address_of_the_lab_file_by_dhcp_and_the_networks_mtu(cloud, name, address):
    said = cloud.exec(name, ["ip", "-4", "-o", "addr", "show", "eth0"]).stdout
    assert f" {address} " in said
    assert cloud.exec(name, ["cat", "/sys/class/net/eth0/mtu"]).stdout == "1442\n"
    assert f"isthmus guest: eth0 {address} mtu 1442" in cloud.console(name).read_text()


def test_a_command_in_a_guest_says_its_code_and_both_outputs_and_reads_its_input(cloud):
    done = cloud.exec(WEB, ["sh", "-c", "cat; echo wrong >&2; exit 7"], input="right\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "right\n", "wrong\n")
    assert cloud.exec(WEB, ["nonesuch"]).returncode == 127
    with pytest.raises(subprocess.TimeoutExpired):
        cloud.exec(WEB, ["sleep", "1000"], timeout=0.5)
    assert cloud.exec(WEB, ["pidof", "sleep"]).returncode == 1


def test_the_command_line_reaches_into_a_guest_and_shows_its_console(cloud):
    argv = [*COMMAND, "exec", "--name", cloud.name, DB, "--", "sh", "-c", "cat; exit 5"]
    done = subprocess.run(argv, input="piped\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "piped\n")
    argv = [*COMMAND, "logs", "--name", cloud.name, DB, "--output", "json"]
    (log,) = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)["logs"]
    assert log["daemon"] == DB
    assert any("isthmus guest: agent" in line for line in log["lines"])


def test_ping_and_http_cross_hosts_and_the_projects_router(cloud):
    assert cloud.exec(WEB, ["ping", "-c", "3", "-i", "0.2", "10.1.2.11"]).returncode == 0
    cloud.exec(DB, ["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x >/etc/www/large"])
    page = cloud.exec(WEB, ["timeout", "20", "wget", "-qO-", "http://10.1.2.11/large"])
    assert (page.returncode, len(page.stdout)) == (0, 300000)


@pytest.mark.parametrize("protocol", ["udp", "icmp"])
def test_two_projects_with_the_same_addresses_do_not_reach_each_other(cloud, protocol):
    pairs = traffic.pairs(cloud.machines)
    found = traffic.matrix(cloud, pairs, protocol=protocol)
    assert all(count.sent for count in found.counts.values())
    by = {m.name: (m.tenant, m.site) for m in cloud.machines}
    assert found.open == {(one, other) for one, other in pairs if by[one] == by[other]}
    assert not found.strays


def test_a_steady_stream_between_guests_loses_nothing(cloud):
    with traffic.Streams(cloud, BETWEEN, interval=0.1) as streams:
        streams.wait()
        assert within(30, lambda: all(len(streams.arrivals[pair]) >= 20 for pair in BETWEEN))
        reports = streams.stop(settle=2.0)
    for report in reports.values():
        assert report.received >= 20
        assert report.lost == ()


def test_a_security_group_closes_and_opens_what_may_come_in(cloud):
    network = cloud.site("cloud").cloud("a").network
    group = network.find_security_group("default", project_id=cloud.site("cloud").cloud("a").current_project_id)
    rules = list(network.security_group_rules(security_group_id=group.id, direction="ingress"))
    for rule in rules:
        network.delete_security_group_rule(rule)
    assert within(20, lambda: not traffic.matrix(cloud, BETWEEN, count=1).open)
    options = {"direction": "ingress", "ether_type": "IPv4"}
    network.create_security_group_rule(security_group_id=group.id, protocol="udp", **options)
    assert within(20, lambda: crosses(cloud))
    assert not traffic.matrix(cloud, BETWEEN, protocol="icmp").open
    network.create_security_group_rule(security_group_id=group.id, protocol="icmp", **options)
    assert within(20, lambda: traffic.matrix(cloud, BETWEEN, protocol="icmp").open == set(BETWEEN))


def test_neutron_lives_on_beside_guests_that_are_joined(connected):
    """Its repair, a tenant's own route, a restart of its API and worker: cases of `test_openstack_coexistence`."""
    member = connected.site("cloud").cloud("a").network
    router, mine = member.find_router("a"), {"destination": "192.0.2.0/24", "nexthop": "10.1.2.99"}
    daemons = [connected.site("cloud").daemon(short) for short in ("neutron", "neutron-maintenance")]
    warm(connected, [*ACROSS, *OTHERS], seconds=30)
    with traffic.Streams(connected, [*ACROSS, *OTHERS], interval=0.1) as streams:
        streams.wait()
        sync(connected, "repair")
        for change in (member.add_extra_routes_to_router, member.remove_extra_routes_from_router):
            change(router, {"router": {"routes": [mine]}})
        for daemon in daemons:
            daemon.stop()
            daemon.start()
        answers(connected)
        reports = streams.stop(settle=2.0)
    assert not [report.lost for report in reports.values() if report.lost]
    # Its worker sets an option on every router of the deployment when it starts, on our edges too.
    isthmus(connected, "apply", "--prune")
    unmoved(connected)


@pytest.mark.parametrize("hard", [False, True])
def test_a_rebooted_guest_is_another_and_answers_again_while_others_carry_on(connected, hard):
    connected.exec(WEB, ["touch", "/run/before"])
    warm(connected, [*ACROSS, *OTHERS], seconds=30)
    with traffic.Streams(connected, OTHERS, interval=0.1) as streams:
        streams.wait()
        connected.server(WEB).reboot(hard=hard)
        reports = streams.stop(settle=2.0)
    assert connected.exec(WEB, ["test", "-e", "/run/before"]).returncode == 1
    assert within(30, lambda: crosses(connected))
    warm(connected, ACROSS, seconds=30)
    unmoved(connected)
    # A tap that goes and comes makes the userspace datapath set itself up anew, which may cost a packet under way.
    assert max(len(report.lost) for report in reports.values()) <= hard


def test_a_stopped_guest_is_silent_and_a_started_one_has_its_address_again(connected):
    server, ways = connected.server(DB), [(POD, DB), (DB, POD)]
    warm(connected, ways, seconds=30)
    server.stop()
    assert server.status == "SHUTOFF"
    unmoved(connected)
    assert not traffic.matrix(connected, [(WEB, DB), (POD, DB)]).open
    server.start()
    assert server.status == "ACTIVE"
    assert within(30, lambda: crosses(connected))
    warm(connected, ways, seconds=30)
    unmoved(connected)


def test_what_nova_runs_is_told_by_the_operators_own_client(cloud):
    done = cloud.exec("operator", ["openstack", "--os-cloud", "cloud-a", "server", "list", "-f", "json"], timeout=60)
    assert {each["Name"]: each["Status"] for each in json.loads(done.stdout)} == {WEB: "ACTIVE", DB: "ACTIVE"}


def test_a_deleted_guest_is_gone_with_its_link_and_the_lab_knows_it(connected):
    host, tap = connected.taps[FAR]
    assert tap in connected.exec(host, ["ip", "-o", "link"]).stdout
    with traffic.Streams(connected, ACROSS, interval=0.1) as streams:
        streams.wait()
        connected.server(FAR).delete()
        reports = streams.stop(settle=2.0)
    assert max(len(report.lost) for report in reports.values()) <= 1, "of the userspace datapath, as above"
    assert FAR not in {machine.name for machine in connected.machines}
    assert within(20, lambda: tap not in connected.exec(host, ["ip", "-o", "link"]).stdout)
    warm(connected, [(OTHER, OTHER_POD), (OTHER_POD, OTHER)], seconds=30)
    unmoved(connected)
    for name in ("tenant-a", "tenant-b"):
        isthmus(connected, "disconnect", name)
    assert not traffic.matrix(connected, [*ACROSS, (OTHER, OTHER_POD)]).open
    assert crosses(connected)


def test_nothing_is_left_when_the_lab_is_killed_and_removed(cloud, links_before):
    """The last one: the module's lab is gone afterwards."""
    keeper = cloud.state.keeper
    held = inodes(keeper)
    os.kill(keeper, signal.SIGKILL)
    cloud.down()
    assert_nothing_left(cloud.name, held, links_before)
