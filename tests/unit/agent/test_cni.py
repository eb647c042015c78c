"""What container runtimes ask and are told, by the CNI specification 1.1.0."""

from __future__ import annotations

import ast
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
    return cni.read(given, ENVIRONMENT | words)


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
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("config", "code"),
    [({"cniVersion": "0.1.0"}, cni.VERSION), ({"cniVersion": "2.0.0"}, cni.VERSION)],
)
def test_configurations_that_are_none(config: Any, code: int) -> None:
    with pytest.raises(Refused) as refused:
        request(config)
    assert refused.value.code == code


def test_a_del_needs_neither_a_pod_nor_a_namespace() -> None:
    assert request(COMMAND="DEL", NETNS="", ARGS="").command == "DEL"


def test_what_a_gc_keeps() -> None:
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    found = request({"cniVersion": "1.1.0", "name": "x", "cni.dev/valid-attachments": valid}, COMMAND="GC")
    assert (found.network, found.valid) == ("x", {("c1", "eth0")})
    assert request({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []}, COMMAND="GC").valid == frozenset()
    assert request({"cniVersion": "1.1.0"}, COMMAND="GC").valid is None


@pytest.mark.parametrize("valid", [{}, "c1", ["c1"], [{"containerID": "c1"}], [{"containerID": "c1", "ifname": ""}]])
def test_half_a_list_of_what_a_gc_keeps_is_refused(valid: Any) -> None:
    with pytest.raises(Refused) as refused:
        request({"cniVersion": "1.1.0", "cni.dev/valid-attachments": valid}, COMMAND="GC")
    assert refused.value.code == cni.CONFIG


@pytest.mark.parametrize("previous", [[], "x", {"ips": {"x": 1}}, {"routes": ["x"]}, {"interfaces": 1}])
def test_an_earlier_result_that_is_none(previous: Any) -> None:
    with pytest.raises(Refused) as refused:
        request({"cniVersion": "1.0.0", "prevResult": previous})
    assert refused.value.code == cni.DECODING


ADD, OTHER, DEL = {"COMMAND": "ADD"}, {"COMMAND": "ADD", "CONTAINERID": "c2"}, {"COMMAND": "DEL", "ARGS": ""}


@pytest.mark.parametrize(
    ("later", "earlier", "follows", "ends"),
    [
        (DEL, ADD, True, True),
        (DEL, {"COMMAND": "CHECK"}, True, False),
        (DEL, DEL, True, False),
        (DEL, OTHER, False, False),
        (DEL | {"IFNAME": "eth1"}, ADD, True, False),
        (ADD, DEL, True, False),
        (ADD, ADD, True, False),
        (OTHER, ADD, True, True),
        (OTHER | {"ARGS": "K8S_POD_NAMESPACE=red;K8S_POD_NAME=web-1"}, ADD, False, False),
        ({"COMMAND": "CHECK"}, ADD, True, False),
        (OTHER | {"COMMAND": "CHECK"}, ADD, False, False),
    ],
)
def test_who_waits_for_whom_and_who_ends_whom(
    later: dict[str, str], earlier: dict[str, str], follows: bool, ends: bool
) -> None:
    one, other = request(**later), request(**earlier)
    assert (one.follows(other), one.ends(other)) == (follows, ends)


def test_nothing_follows_what_is_about_no_container() -> None:
    status = {"COMMAND": "STATUS", "CONTAINERID": "", "NETNS": "", "IFNAME": "", "ARGS": ""}
    one = request({"cniVersion": "1.1.0"}, **status)
    assert not one.follows(request({"cniVersion": "1.1.0"}, **status))


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


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_a_result_in_the_form_of_its_version(version: str) -> None:
    wired = cni.wiring(row())
    assert wired is not None
    found = cni.result(request({"cniVersion": version}), wired)
    assert found["cniVersion"] == version
    assert [ip["address"] for ip in found["ips"]] == ["10.1.0.2/24", "fd00:1::2/64"]
    assert [ip["interface"] for ip in found["ips"]] == [1, 1]
    assert ("version" in found["ips"][0]) == (version == "0.4.0")
    mtu = {"mtu": 1442} if version == "1.1.0" else {}
    assert found["interfaces"][1] == {"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/run/netns/x"} | mtu
    assert {r["dst"] for r in found["routes"]} == {"0.0.0.0/0", "::/0"}


def test_what_earlier_plugins_gave_is_kept() -> None:
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "net1"}],
        "ips": [{"address": "192.0.2.1/24", "interface": 0}],
        "routes": [{"dst": "198.51.100.0/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    wired = cni.wiring(row())
    assert wired is not None
    found = cni.result(request({"cniVersion": "1.0.0", "prevResult": before}), wired)
    assert [each["name"] for each in found["interfaces"]] == ["net1", request().link, "eth0"]
    assert [(ip["address"], ip["interface"]) for ip in found["ips"]] == [
        ("192.0.2.1/24", 0), ("10.1.0.2/24", 2), ("fd00:1::2/64", 2)
    ]  # fmt: skip
    assert len(found["routes"]) == 3
    assert found["dns"] == before["dns"]


def test_routes_that_a_later_plugin_took_away_are_not_missed() -> None:
    wired = cni.wiring(row())
    assert wired is not None
    told = cni.result(request(), wired)
    whole = request({"cniVersion": "1.0.0", "prevResult": told})
    assert cni.expected_routes(whole, wired) == cni.routes_of(wired)
    half = request({"cniVersion": "1.0.0", "prevResult": told | {"routes": told["routes"][1:]}})
    assert cni.expected_routes(half, wired) == cni.routes_of(wired)[1:]


def test_a_node_tells_its_own_links_from_others() -> None:
    assert cni.is_link_name(request().link)
    assert not any(map(cni.is_link_name, ("eth0", "i0123456789ab0", "ib0", "i0123456789aX", "br-int")))


def test_a_runtime_that_knows_only_one_version_reads_the_one_that_all_know() -> None:
    found = cni.conflist("/run/x.sock")
    assert found["cniVersion"] == "1.0.0"
    assert found["cniVersions"] == cni_shim.VERSIONS


def test_the_agents_folder_is_named_only_where_it_is_another() -> None:
    assert cni.conflist("/run/x.sock")["plugins"][0]["socket"] == "/run/x.sock"
    assert "socket" not in cni.conflist(cni_shim.SOCKET)["plugins"][0]


@pytest.mark.parametrize(
    ("config", "version"), [(b'{"cniVersion": "1.0.0"}', "1.0.0"), (b"{}", "0.4.0"), (b"[]", "1.1.0"), (b"{", "1.1.0")]
)
def test_who_is_refused_is_told_in_the_version_that_was_asked_in(config: bytes, version: str) -> None:
    words = [ENVIRONMENT.get(name, "").encode() for name in cni_shim.NAMES]
    question = cni.Question(b"\0".join([*words, config]))
    head, _, said = question.refusal(cni.Refused(cni.AGAIN, "later", "x")).partition(b"\n")
    assert head == b"1 %d" % len(said)
    assert json.loads(said) == {"cniVersion": version, "code": cni.AGAIN, "msg": "later", "details": "x"}


@pytest.mark.parametrize("body", [b"", b"ADD", b"\0" * 9, b"\xff\0\0\0\0\0\xff", b"ADD\0c\0n\0i\0a\0p\0[1]"])
def test_what_no_plugin_sends_is_refused(body: bytes) -> None:
    question = cni.Question(body)
    with pytest.raises(cni.Refused) as refused:
        question.read()
    assert json.loads(question.refusal(refused.value).partition(b"\n")[2])["code"] == refused.value.code


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
                again, length = map(int, stream.readline().split())
                asked.append((again, stream.read(length)))
                connection.sendall(answer)

    def agents() -> None:
        agent(b"")
        agent(b'0 24\n{"cniV')
        agent(b'0 24\n{"cniVersion": "1.1.0"}\n')

    thread = threading.Thread(target=agents)
    thread.start()
    code, said = shim({"cniVersion": "1.1.0", "socket": str(path)}, **ENVIRONMENT)
    thread.join()
    assert (code, said) == (0, {"cniVersion": "1.1.0"})
    assert [again for again, _ in asked] == [0, 1, 1]
    (body,) = {body for _, body in asked}
    assert [cni.Question(body, bool(again)).read().again for again, _ in asked] == [False, True, True]


def test_the_plugin_and_a_configuration_that_is_not_json() -> None:
    for text in ("{", "[]"):
        assert shim(text, COMMAND="ADD")[1]["code"] == 6


def test_the_plugin_is_for_pythons_older_than_ours() -> None:
    """What is evaluated when a function is defined must be known to 3.8 as well."""
    tree = ast.parse(Path(cni_shim.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    notes = [a.annotation for f in functions for a in f.args.args] + [f.returns for f in functions]
    assert len(notes) > 10
    assert [ast.dump(note) for note in notes if note and not isinstance(note, (ast.Name, ast.Constant))] == []


def test_the_plugin_is_one_file_of_the_standard_library() -> None:
    run = "exec(compile(open(p).read(), p, 'exec'), {'__name__': 'x'})"
    loaded = f"import sys; p = sys.argv[1]; {run}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", loaded, str(cni_shim.__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & {
        "isthmus",
        "asyncio",
        "json",
        "re",
        "socket",
        "enum",
    }
