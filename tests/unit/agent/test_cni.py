"""What container runtimes ask and are told, by the CNI specification 1.1.0."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from isthmus.agent import cni, cni_shim
from isthmus.agent.cni import Refused, Request, Wiring

ENVIRONMENT = {
    "COMMAND": "ADD",
    "CONTAINERID": "c1",
    "NETNS": "/run/netns/x",
    "IFNAME": "eth0",
    "ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=red;K8S_POD_NAME=web-0;K8S_POD_UID=u1",
}


def request(config: Any = None, **words: str) -> Request:
    given = {"cniVersion": "1.0.0", "name": "isthmus"} if config is None else config
    return cni.read({"config": given, "environment": ENVIRONMENT | words})


def row(**ids: str) -> dict[str, Any]:
    marks = {
        "isthmus:pod-uid": "u1",
        "isthmus:gateways": "10.1.0.1/24 fd00:1::1/64",
        "isthmus:mtu": "0",
    }
    mac = frozenset({"0a:00:00:00:00:01 10.1.0.2 fd00:1::2"})
    return {"logical_port": "web-0.red", "mac": mac, "external_ids": marks | ids}


def test_an_attachment_of_a_pod() -> None:
    found = request()
    assert (found.port, found.uid, found.container) == ("web-0.red", "u1", "c1")
    assert len(found.link) <= 15
    assert found.link != request(IFNAME="eth1").link != request(CONTAINERID="c2").link


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"COMMAND": "FRY"}, cni.ENVIRONMENT),
        ({"COMMAND": ""}, cni.ENVIRONMENT),
        ({"CONTAINERID": ""}, cni.ENVIRONMENT),
        ({"CONTAINERID": "../x"}, cni.ENVIRONMENT),
        ({"IFNAME": ""}, cni.ENVIRONMENT),
        ({"IFNAME": "a-name-of-16-char"}, cni.ENVIRONMENT),
        ({"IFNAME": "a/b"}, cni.ENVIRONMENT),
        ({"IFNAME": ".."}, cni.ENVIRONMENT),
        ({"NETNS": ""}, cni.ENVIRONMENT),
        ({"ARGS": ""}, cni.ENVIRONMENT),
        ({"COMMAND": "STATUS"}, cni.ENVIRONMENT),
    ],
)
def test_what_is_not_understood(words: dict[str, str], code: int) -> None:
    with pytest.raises(Refused) as refused:
        request(**words)
    assert refused.value.answer["error"][0] == code


@pytest.mark.parametrize(
    ("config", "code"),
    [({"cniVersion": "0.1.0"}, cni.VERSION), ({"cniVersion": "2.0.0"}, cni.VERSION), ([], cni.CONFIG)],
)
def test_configurations_that_are_none(config: Any, code: int) -> None:
    with pytest.raises(Refused) as refused:
        request(config)
    assert refused.value.answer["error"][0] == code


def test_a_del_needs_neither_a_pod_nor_a_namespace() -> None:
    assert request(COMMAND="DEL", NETNS="", ARGS="").command == "DEL"


def test_what_a_gc_keeps() -> None:
    config = {"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    assert request(config, COMMAND="GC").valid == {("c1", "eth0")}


def test_a_port_says_all_that_an_interface_needs() -> None:
    assert cni.wiring(row()) == Wiring(
        "web-0.red", "u1", "0a:00:00:00:00:01",
        (ip_interface("10.1.0.2/24"), ip_interface("fd00:1::2/64")),
        (ip_interface("10.1.0.1/24"), ip_interface("fd00:1::1/64")),
        1442,
    )  # fmt: skip
    assert cni.wiring(row() | {"external_ids": {}}) is None
    assert cni.wiring(row() | {"mac": frozenset()}) is None
    assert cni.wiring(row() | {"external_ids": {"isthmus:pod-uid": "u1"}}) is None


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_a_result_in_the_form_of_its_version(version: str) -> None:
    wired = cni.wiring(row())
    assert wired is not None
    found = cni.result(request({"cniVersion": version}), wired)
    assert found["cniVersion"] == version
    assert [ip["address"] for ip in found["ips"]] == ["10.1.0.2/24", "fd00:1::2/64"]
    assert [ip["interface"] for ip in found["ips"]] == [1, 1]
    assert ("version" in found["ips"][0]) == (version == "0.4.0")
    assert found["interfaces"][1] == {"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/run/netns/x"}
    assert {r["dst"] for r in found["routes"]} == {"0.0.0.0/0", "::/0"}


def shim(config: Any, **words: str) -> tuple[int, dict[str, Any]]:
    """Run the plugin as a runtime does."""
    environment = {"PATH": os.environ["PATH"]} | {f"CNI_{name}": word for name, word in words.items()}
    text = config if isinstance(config, str) else json.dumps(config)
    command = [sys.executable, "-I", "-S", cni_shim.__file__]
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, dict(json.loads(done.stdout))


def test_the_plugin_knows_its_versions_without_an_agent() -> None:
    code, said = shim({"cniVersion": "1.1.0"}, COMMAND="VERSION")
    assert (code, said["supportedVersions"]) == (0, cni_shim.VERSIONS)


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("DEL", 11), ("STATUS", 50)])
def test_the_plugin_without_an_agent_says_so(tmp_path: Path, command: str, code: int) -> None:
    exit_code, said = shim({"cniVersion": "1.1.0", "socket": str(tmp_path / "none/cni.sock")}, COMMAND=command)
    assert (exit_code, said["code"]) == (1, code)
    assert str(tmp_path / "none/cni.sock") in said["msg"]


def test_the_plugin_asks_again_whoever_comes_after_an_agent_that_hung_up(tmp_path: Path) -> None:
    path, asked = tmp_path / "cni.sock", []

    def agent(answer: bytes) -> None:
        """One that takes a request and ends."""
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            connection = listener.accept()[0]
            with connection, connection.makefile("rb") as stream:
                asked.append(json.loads(stream.readline()))
                connection.sendall(answer)

    def agents() -> None:
        agent(b"")
        agent(b'{"resu')
        agent(b'{"result": {"cniVersion": "1.1.0"}}\n')

    thread = threading.Thread(target=agents)
    thread.start()
    code, said = shim({"cniVersion": "1.1.0", "socket": str(path)}, **ENVIRONMENT)
    thread.join()
    assert (code, said) == (0, {"cniVersion": "1.1.0"})
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2]


def test_the_plugin_and_a_configuration_that_is_not_json() -> None:
    assert shim("{", COMMAND="ADD")[1]["code"] == 6


def test_the_plugin_is_one_file_of_the_standard_library() -> None:
    run = "exec(compile(open(p).read(), p, 'exec'), {'__name__': 'x'})"
    loaded = f"import sys; p = sys.argv[1]; {run}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", loaded, str(cni_shim.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {"isthmus", "asyncio", "typing", "ssl"}
