"""Breaking and mending a lab works as it says."""

from __future__ import annotations

import re
import signal
import time

import pytest

from isthmus.errors import WorldError
from isthmus.lab import packets, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.processes import send
from isthmus.lab.pytest_plugin import LabFactory

pytestmark = pytest.mark.lab


def reaches(lab: Lab, remote: str) -> bool:
    tls = lab.paths.tls
    keys = [f"--certificate={tls}/operator.pem", f"--private-key={tls}/operator-key.pem", f"--ca-cert={tls}/all-ca.pem"]
    return lab.exec("operator", ["ovsdb-client", "--timeout=1", *keys, "list-dbs", remote]).returncode == 0


def test_a_cut_site_is_out_of_the_operators_reach_until_healed(two_sites: Lab) -> None:
    site = two_sites.site("cluster")
    site.cut()
    try:
        assert not reaches(two_sites, site.nb) and not reaches(two_sites, site.sb)
        assert reaches(two_sites, two_sites.site("cloud").nb)
        opened = traffic.matrix(two_sites, [("cluster-a-pods-1", "cluster-a-jobs-2")]).open
        assert opened, "traffic of its hosts is not touched"
    finally:
        site.heal()
    assert reaches(two_sites, site.nb)


def test_a_stream_counts_exactly_what_a_cut_uplink_costs(two_sites: Lab) -> None:
    pair = ("cloud-a-web-1", "cloud-a-db-2")
    host = two_sites.host("cloud-1")
    with traffic.Stream(two_sites, *pair) as stream:
        stream.wait()
        host.cut()
        time.sleep(0.3)
        host.heal()
        time.sleep(0.5)
        report = stream.report()
    assert 20 <= len(report.lost) <= 60, report.lost
    assert report.received + len(report.lost) == report.sent
    assert report.longest_gap >= 0.25
    numbers = [number for number, _ in report.lost]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(
    "key",
    [
        "cloud/nb",
        "cloud/sb",
        "cloud/northd",
        "cloud/front",
        "cloud/ovn-ic",
        "cloud-3/controller",
        "cloud-3/vswitchd",
        "cloud-3/ovsdb",
        "fabric/ic-nb",
        "fabric/ic-sb",
    ],
)
def test_every_daemon_can_be_stopped_killed_and_started(two_sites: Lab, key: str) -> None:
    daemon = two_sites.daemon(key)
    assert daemon.running and daemon.log.exists()
    daemon.stop()
    assert not daemon.running
    daemon.start()
    assert daemon.running
    daemon.kill()
    assert not daemon.running
    daemon.restart()
    assert daemon.running


def test_the_lab_knows_which_signal_ended_a_daemon(two_sites: Lab) -> None:
    daemon, before = two_sites.daemon("cloud-3/vswitchd"), len(two_sites.state.ended)
    send(two_sites.state, two_sites.state.daemons["cloud-3/vswitchd"], signal.SIGSEGV)
    deadline = time.monotonic() + 10
    while len(two_sites.state.ended) == before:
        assert time.monotonic() < deadline
    assert not daemon.running
    daemon.start()
    (line,) = two_sites.state.ended[before:]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ovs-vswitchd \d+ SIGSEGV", line)


def test_traffic_works_after_every_daemon_was_restarted(two_sites: Lab) -> None:
    pairs = [p for p in traffic.pairs(two_sites.machines) if p[0].startswith("cloud-a") and p[1].startswith("cloud-a")]
    deadline = time.monotonic() + 20
    while traffic.matrix(two_sites, pairs).open != set(pairs):
        assert time.monotonic() < deadline


def test_a_paused_daemon_answers_again_when_resumed(two_sites: Lab) -> None:
    nb = two_sites.daemon("cloud/nb")
    nb.pause()
    assert not reaches(two_sites, two_sites.site("cloud").nb)
    nb.resume()
    assert reaches(two_sites, two_sites.site("cloud").nb)


def test_a_lost_database_comes_back_empty(lab_factory: LabFactory) -> None:
    lab = lab_factory("two-sites")
    lab.fabric.nbctl("ts-add", "something")
    lab.fabric.lose("ic-nb")
    assert lab.fabric.nbctl("ts-list").strip() == ""


def test_the_underlay_drops_what_carries_another_hosts_address(two_sites: Lab) -> None:
    worker, gateway, far = (two_sites.host(n) for n in ("cloud-3", "cloud-1", "cluster-1"))
    nodes = two_sites.layout.nodes

    def forged_arrives() -> bool:
        mark = packets.Mark(7, 1, 2, 3)
        inner = packets.frame("0a:00:00:00:00:01", "0a:00:00:00:00:02", "10.2.1.11", "10.1.1.11", mark.encode())
        outer = packets.geneve(
            inner,
            source_mac=nodes[worker.name].mac,
            target_mac=nodes[worker.name].router_mac,
            source=gateway.address,
            target=far.address,
            key=1,
            ingress=1,
            egress=2,
        )
        with traffic.Wire(two_sites, far.name, "under") as ear, traffic.Wire(two_sites, worker.name, "under") as mouth:
            mouth.send(outer)
            return any(packets.decode(frame) == mark for frame in ear.frames(0.3))

    assert not forged_arrives()
    two_sites.filter(False)
    try:
        assert forged_arrives(), "else the test above proves nothing"
    finally:
        two_sites.filter(True)
    assert not forged_arrives()


def test_an_endpoint_can_be_plugged_in_and_out(two_sites: Lab) -> None:
    place = {
        "site": "cloud",
        "switch": "a-web",
        "host": "cloud-2",
        "addresses": ["10.1.1.50/24"],
        "gateways": ["10.1.1.1"],
    }
    for _ in range(2):
        two_sites.plug("late", tenant="a", **place)  # type: ignore[arg-type]
        assert traffic.matrix(two_sites, [("late", "cloud-a-db-2"), ("cloud-a-db-2", "late")]).open == {
            ("late", "cloud-a-db-2"),
            ("cloud-a-db-2", "late"),
        }
        with pytest.raises(WorldError, match="already"):
            two_sites.plug("late", **place)  # type: ignore[arg-type]
        two_sites.unplug("late")
    assert "late" not in {m.name for m in two_sites.machines}


def test_a_snapshot_shows_every_row_of_every_database(two_sites: Lab) -> None:
    shot = two_sites.snapshot()
    assert set(shot) == {"nb/cloud", "nb/cluster", "ic-nb"}
    assert {r["name"] for r in shot["nb/cloud"]["Logical_Router"].values()} == {"a", "b"}
    assert two_sites.snapshot() == shot
