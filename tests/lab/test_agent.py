"""`isthmus agent` on a chassis of a real deployment, with its chassis' own key."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab import rpc
from isthmus.lab.lab import HostHandle, Lab

pytestmark = pytest.mark.lab

TLS = ["--ca", "/run/pki/sb-ca.pem", "--cert", "/run/pki/chassis.pem", "--key", "/run/pki/chassis-key.pem"]
HOST = "cloud-1"
TARGETS = [
    {"subnet": "cloud/a-web", "address": "10.1.1.1"},
    {"subnet": "cloud/a-web", "address": "fd00:1:1::1"},
    {"subnet": "cloud/a-db", "address": "10.1.2.1"},
]


def until(what: str, condition: Callable[[], object], within: float = 10.0) -> None:
    """Poll until the condition is true; fail when it does not become so."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.02)


class Scene:
    """One link with a probe port on the router `a` of `cloud`; a trunk for it and one of another owner."""

    child, trunk, other_trunk, other_child = "p1", "isthmus-one.probe.cloud-1", "isthmus-two.probe.cloud-1", "p2"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.site = lab.site("cloud")
        self.host: HostHandle = lab.host(HOST)
        self.number = 0
        nb = self.site.nbctl
        nb("lrp-add", "a", "a-link", "02:00:00:00:99:02", "169.254.128.2/29", "fd69:7374::2/64")
        nb("ls-add", "link", "--", "lsp-add", "link", "link-a", "--", "lsp-set-type", "link-a", "router")
        nb("lsp-set-addresses", "link-a", "router", "--", "lsp-set-options", "link-a", "router-port=a-link")
        for tag, child, trunk in ((5, self.child, self.trunk), (6, self.other_child, self.other_trunk)):
            number = tag - 2
            nb("ls-add", f"{trunk}.switch", "--", "lsp-add", f"{trunk}.switch", trunk)
            nb("set", "Logical_Switch_Port", trunk, 'external_ids:"isthmus:trunk"="true"')
            nb("lsp-set-options", trunk, f"requested-chassis={HOST}")
            nb("lsp-add", "link", child, trunk, str(tag), "--", "lsp-set-options", child, f"requested-chassis={HOST}")
            address = f"02:00:00:00:99:0{number} 169.254.128.{number} fd69:7374::{number}"
            nb("lsp-set-addresses", child, address)
        self.ask(self.child, 3)
        self.ask(self.other_child, 4)

    def ask(self, child: str, number: int) -> str:
        """Write a new generation; returns it."""
        self.number += 1
        generation = f"g{self.number}"
        spec = {
            "addresses": [f"169.254.128.{number}", f"fd69:7374::{number}"],
            "router_macs": {"4": "02:00:00:00:99:02", "6": "02:00:00:00:99:02"},
            "targets": TARGETS,
            "generation": generation,
        }
        where = [["name", "==", child]]
        self._nb(
            {
                "op": "mutate",
                "table": "Logical_Switch_Port",
                "where": where,
                "mutations": [
                    ["external_ids", "delete", ["set", ["isthmus:probe"]]],
                    ["external_ids", "insert", ["map", [["isthmus:probe", json.dumps(spec)]]]],
                ],
            }
        )
        return generation

    def renumber(self, network: str) -> None:
        """Give the router's port in the subnet cloud/a-db that address; 10.1.2.1 is what is probed."""
        self.site.nbctl("set", "Logical_Router_Port", "a-a-db", f"networks={network}")

    def _nb(self, operation: dict[str, Any]) -> None:
        rpc.transact(self.site.nb_unix, "OVN_Northbound", operation)

    def _sb(self, table: str, column: str, value: str) -> dict[str, Any]:
        [answer] = rpc.transact(
            self.site.sb_unix,
            "OVN_Southbound",
            {"op": "select", "table": table, "where": [[column, "==", value]]},
        )
        return dict(answer["rows"][0]) if answer["rows"] else {}

    def words(self, chassis: str = HOST) -> dict[str, str]:
        row = self._sb("Chassis_Private", "name", chassis)
        return rpc.mapping(row["external_ids"]) if row else {}

    def result(self, child: str | None = None) -> dict[str, Any]:
        """What the agent says of a probe port; empty when it says nothing."""
        return dict(json.loads(self.words().get(f"isthmus:probe:{child or self.child}", "{}")))

    def is_up(self, generation: str, child: str | None = None) -> bool:
        result = self.result(child)
        return (result.get("generation"), result.get("state")) == (generation, "up")

    def prove(self) -> None:
        """A new generation of both ports becomes up: everything works, now."""
        for number, child in ((3, self.child), (4, self.other_child)):
            generation = self.ask(child, number)
            until(f"{child} up in {generation}", lambda g=generation, c=child: self.is_up(g, c))

    def bound(self, port: str | None = None) -> bool:
        return bool(self._sb("Port_Binding", "logical_port", port or self.child)["chassis"] != ["set", []])

    def ports(self) -> list[str]:
        """Our devices on the integration bridge."""
        done = self.host.exec(["ovs-vsctl", "list-ports", "br-int"])
        return [name for name in done.stdout.split() if name.startswith("ist")]


class Running:
    """An agent process."""

    def __init__(self, lab: Lab, *options: str) -> None:
        argv = [sys.executable, "-m", "isthmus.cli.main", "agent", *TLS, *options]
        self.popen = lab.popen(HOST, argv)
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        until("the agent's process", lambda: children.read_text().split())
        self.pid = int(children.read_text().split()[0])

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def resume(self) -> None:
        """After SIGSTOP. nsenter stops itself when its child is stopped."""
        self.send(signal.SIGCONT)
        self.popen.send_signal(signal.SIGCONT)

    def guards(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [pid for pid in map(int, children) if "guard" in Path(f"/proc/{pid}/cmdline").read_text()]

    def end(self, number: signal.Signals) -> int:
        if self.popen.poll() is None:
            self.send(number)
            self.popen.send_signal(signal.SIGCONT)
        return self.popen.wait(10)


@contextmanager
def agent(lab: Lab, *options: str) -> Iterator[Running]:
    running = Running(lab, *options)
    try:
        yield running
    finally:
        running.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def scene(two_sites: Lab) -> Scene:
    return Scene(two_sites)


@pytest.fixture
def serving(scene: Scene) -> Iterator[Running]:
    with agent(scene.lab) as running:
        scene.prove()
        yield running


@pytest.mark.usefixtures("serving")
def test_ports_of_both_families_and_two_owners_are_proven(scene: Scene) -> None:
    assert scene.result()["lost"] == []
    assert len(scene.ports()) == 2
    assert scene.bound(scene.trunk) and scene.bound(scene.other_trunk)
    assert json.loads(scene.words()["isthmus:agent"])["endpoint"] is None


@pytest.mark.usefixtures("serving")
def test_what_does_not_answer_is_named_within_ten_seconds_and_comes_back(scene: Scene) -> None:
    scene.renumber("10.1.2.2/24")
    until("down", lambda: scene.result().get("state") == "down")
    assert scene.result()["lost"] == ["cloud/a-db 10.1.2.1"]
    scene.renumber("10.1.2.1/24")
    until("up", lambda: scene.result().get("state") == "up")


def test_a_killed_agent_releases_its_ports_and_the_next_one_says_nothing_untrue(scene: Scene) -> None:
    with agent(scene.lab) as first:
        scene.prove()
        scene.renumber("10.1.2.2/24")
        first.end(signal.SIGKILL)
        until("released", lambda: not scene.bound() and not scene.bound(scene.trunk), 5)
        assert scene.ports() == []
    with agent(scene.lab):
        until("bound", scene.bound)
        assert scene.result().get("state") != "up"
        scene.renumber("10.1.2.1/24")
        scene.prove()


def test_agent_and_guard_killed_at_once_are_repaired_by_the_next(scene: Scene) -> None:
    with agent(scene.lab) as first:
        scene.prove()
        [guard] = first.guards()
        first.send(signal.SIGSTOP)  # or it would replace the guard
        os.kill(guard, signal.SIGKILL)
        first.end(signal.SIGKILL)
    assert len(scene.ports()) == 2
    with agent(scene.lab):
        scene.prove()
        assert len(scene.ports()) == 2


def test_a_killed_guard_is_replaced(scene: Scene, serving: Running) -> None:
    [guard] = serving.guards()
    os.kill(guard, signal.SIGKILL)
    until("another guard", lambda: serving.guards() not in ([], [guard]))
    serving.end(signal.SIGKILL)
    until("released", lambda: not scene.bound())


def test_a_frozen_agent_loses_its_ports_and_gets_them_back(scene: Scene, serving: Running) -> None:
    serving.send(signal.SIGSTOP)
    until("released", lambda: not scene.bound(), 15)
    serving.resume()
    until("bound again", scene.bound)
    scene.prove()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_exit_leaves_only_the_word_that_it_stopped(scene: Scene, number: signal.Signals) -> None:
    scene.site.sbctl("set", "Chassis_Private", HOST, "external_ids:foreign=kept")
    with agent(scene.lab) as running:
        scene.prove()
        assert running.end(number) == 0
    keys = scene.words()
    assert set(keys) == {"foreign", "isthmus:agent"} and keys["foreign"] == "kept"
    assert json.loads(keys["isthmus:agent"])["stopped"] is True
    assert scene.ports() == []
    until("released", lambda: not scene.bound())


def test_retire_removes_the_last_trace_but_not_under_a_running_agent(scene: Scene) -> None:
    command = [sys.executable, "-m", "isthmus.cli.main", "agent", *TLS, "--retire"]
    with agent(scene.lab):
        scene.prove()
        refused = scene.host.exec(command)
        assert refused.returncode == 1 and "stop it first" in refused.stderr
    assert scene.host.exec(command).returncode == 0
    assert not [key for key in scene.words() if key.startswith("isthmus:")]


@pytest.mark.parametrize("daemon", [f"{HOST}/vswitchd", f"{HOST}/controller", f"{HOST}/ovsdb", "cloud/sb"])
@pytest.mark.parametrize("how", ["restart", "kill"])
@pytest.mark.usefixtures("serving")
def test_restarts_of_every_server_are_survived(scene: Scene, daemon: str, how: str) -> None:
    handle = scene.lab.daemon(daemon)
    if how == "restart":
        handle.restart()
    else:
        handle.kill()
        handle.start()
    scene.prove()
    assert len(scene.ports()) == 2


@pytest.mark.usefixtures("serving")
def test_a_deleted_device_or_port_comes_back(scene: Scene) -> None:
    device = scene.ports()[0]
    scene.host.exec(["ip", "link", "del", device])
    until("another device", lambda: len(scene.ports()) == 2 and device not in scene.ports())
    scene.prove()
    scene.host.exec(["ovs-vsctl", "del-port", scene.ports()[0]])
    until("the port again", lambda: len(scene.ports()) == 2)
    scene.prove()


def test_a_second_agent_stands_by_and_takes_over(scene: Scene, serving: Running) -> None:
    with agent(scene.lab):
        scene.prove()
        before = scene.ports()
        assert len(before) == 2
        serving.end(signal.SIGKILL)
        until("the second one's ports", lambda: len(scene.ports()) == 2 and not set(scene.ports()) & set(before))
        scene.prove()


@pytest.mark.usefixtures("serving")
def test_a_port_taken_away_is_forgotten_and_one_given_is_probed(scene: Scene) -> None:
    nb = scene.site.nbctl
    nb("lsp-set-options", scene.other_child, "requested-chassis=cloud-2")
    until("forgotten", lambda: not scene.result(scene.other_child))
    assert scene.result()["state"] == "up"
    nb("lsp-set-options", scene.other_trunk, "requested-chassis=cloud-2")
    until("one port less", lambda: len(scene.ports()) == 1)
    for port in (scene.other_trunk, scene.other_child):
        nb("lsp-set-options", port, f"requested-chassis={HOST}")
    scene.prove()


@pytest.mark.usefixtures("serving")
def test_a_port_whose_mark_makes_no_sense_does_not_stop_the_others(scene: Scene) -> None:
    scene.site.nbctl("set", "Logical_Switch_Port", scene.other_child, 'external_ids:"isthmus:probe"="[1"')
    until("silence about it", lambda: not scene.result(scene.other_child))
    generation = scene.ask(scene.child, 3)
    until("the other one up", lambda: scene.is_up(generation))


def test_the_chassis_key_writes_its_own_row_and_no_other(scene: Scene) -> None:
    def write(chassis: str) -> dict[str, Any]:
        operation = {
            "op": "mutate",
            "table": "Chassis_Private",
            "where": [["name", "==", chassis]],
            "mutations": [["external_ids", "insert", ["map", [["isthmus:agent", "forged"]]]]],
        }
        tls = ["-C", "/run/pki/sb-ca.pem", "-c", "/run/pki/chassis.pem", "-p", "/run/pki/chassis-key.pem"]
        request = json.dumps(["OVN_Southbound", operation])
        done = scene.host.exec(["ovsdb-client", *tls, "transact", scene.site.sb_chassis, request])
        return dict(json.loads(done.stdout)[0])

    assert write(HOST) == {"count": 1}
    assert write("cloud-2")["error"] == "permission error"
    assert "isthmus:agent" not in scene.words("cloud-2")


SCRAPE = """
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
if len(sys.argv) > 3: context.load_cert_chain(sys.argv[3], sys.argv[4])
print(urllib.request.urlopen(sys.argv[1], context=context, timeout=3).read().decode())
"""


def test_metrics_are_served_to_those_who_have_a_certificate(scene: Scene) -> None:
    where = f"{scene.host.address}:9476"
    ca, cert, key = (TLS[number] for number in (1, 3, 5))
    client_ca = ca

    def scrape(url: str, *files: str) -> tuple[int, str]:
        done = scene.host.exec([sys.executable, "-c", SCRAPE, url, ca, *files])
        return done.returncode, done.stdout + done.stderr

    with agent(scene.lab, "--listen", where, "--client-ca", client_ca):
        scene.prove()
        assert json.loads(scene.words()["isthmus:agent"])["endpoint"] == f"https://{where}/metrics"
        code, text = scrape(f"https://{where}/metrics", cert, key)
        assert code == 0, text
        assert 'isthmus_probe_up{probe="p1"} 1.0' in text
        assert 'isthmus_probe_sent_total{address="10.1.1.1",probe="p1",subnet="cloud/a-web"}' in text
        assert scrape(f"https://{where}/metrics")[0] != 0
        assert "404" in scrape(f"https://{where}/other", cert, key)[1]
