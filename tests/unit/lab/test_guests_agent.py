"""The guest's agent, as it runs in a guest, but in a process of this machine and on a socket instead of a port."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.lab.guests import agent
from isthmus.lab.packets import decode

RUN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("agent", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
it = module.Agent(int(sys.argv[2]))
while True:
    it.turn()
"""


class Port:
    """The hypervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        self._stream = end.makefile("rwb")

    def raw(self, line: bytes) -> bytes:
        self._stream.write(line)
        self._stream.flush()
        return self._stream.readline()

    def call(self, command: str, **arguments: Any) -> Any:
        answer = json.loads(self.raw(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"))
        if "error" in answer:
            raise LookupError(answer["error"]["desc"])
        return answer["return"]

    def run(self, *argv: str, **options: Any) -> tuple[int, str, str]:
        pid = self.call("guest-exec", path=argv[0], arg=list(argv[1:]), **options)["pid"]
        while not (status := self.call("guest-exec-status", pid=pid, wait=5000))["exited"]:
            pass
        return status["exitcode"], b64decode(status["out-data"]).decode(), b64decode(status["err-data"]).decode()


@pytest.fixture
def port() -> Iterator[Port]:
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-I", "-S", "-c", RUN, agent.__file__, str(theirs.fileno())]
    process = subprocess.Popen(argv, pass_fds=[theirs.fileno()])
    theirs.close()
    with ours:
        yield Port(ours)
        process.kill()
        process.wait()


def test_a_command_says_its_code_and_what_it_wrote(port):
    assert port.run("sh", "-c", "echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")


def test_a_command_that_is_waited_for_needs_one_request(port):
    status = port.call("guest-exec", path="echo", arg=["hi"], wait=5000)
    assert (status["exitcode"], b64decode(status["out-data"])) == (0, b"hi\n")


def test_commands_follow_each_other(port):
    assert [port.run("echo", str(n))[1] for n in range(5)] == [f"{n}\n" for n in range(5)]


def test_a_command_reads_all_of_its_input_and_nothing_is_lost_of_its_output(port):
    text = "line\n" * 100_000
    code, out, _ = port.run("cat", **{"input-data": b64encode(text.encode()).decode()})
    assert (code, out == text) == (0, True)


def test_a_command_that_reads_no_input_ends_all_the_same(port):
    assert port.run("true", **{"input-data": b64encode(bytes(1 << 20)).decode()})[0] == 0


def test_a_child_that_stays_in_the_background_does_not_hold_its_parent(port):
    begin = time.monotonic()
    assert port.run("sh", "-c", "sleep 30 & echo done; kill $!")[1] == "done\n"
    assert time.monotonic() - begin < 20


def test_a_command_that_still_runs_says_so_and_others_run_meanwhile(port):
    pid = port.call("guest-exec", path="cat", **{"input-data": ""})["pid"]
    slow = port.call("guest-exec", path="sleep", arg=["30"])["pid"]
    assert port.call("guest-exec-status", pid=slow, wait=1) == {"pid": slow, "exited": False}
    assert port.call("guest-exec-status", pid=pid, wait=5000)["exited"]
    port.run("kill", str(slow))
    assert port.call("guest-exec-status", pid=slow, wait=5000)["signal"] == 15


@pytest.mark.parametrize("command, said", [("guest-exec", "nonesuch"), ("guest-nonesuch", "guest-nonesuch")])
def test_what_cannot_be_done_is_an_error_and_not_the_end(port, command, said):
    with pytest.raises(LookupError, match=said):
        port.call(command, path="nonesuch")
    assert port.call("guest-ping") == {}


@pytest.mark.parametrize("line", [b"{\n", b"__import__('os')\n", b'{"execute": 3}\n'])
def test_what_is_no_request_is_answered_with_an_error(port, line):
    assert "error" in json.loads(port.raw(line))


def test_both_ways_to_synchronise(port):
    assert port.call("guest-sync", id=7) == 7
    assert port.raw(b'\xff{"execute": "guest-sync-delimited", "arguments": {"id": 8}}\n') == b'\xff{"return": 8}\n'


def test_packets_carry_the_lab_s_mark_and_are_told_with_their_times(port):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
    ):
        ear.bind(("127.0.0.1", 0))
        other.bind(("::1", ear.getsockname()[1]))
        ear.settimeout(10)
        other.settimeout(10)
        begin = time.time_ns()
        clock = port.call(
            "isthmus-send",
            run=77,
            port=ear.getsockname()[1],
            size=0,
            targets=[[1, 2, "127.0.0.1"], [1, 3, "::1"]],
            interval=0.01,
            count=2,
            protocol="udp",
        )["clock"]
        assert begin <= clock <= time.time_ns()
        heard = [decode(each.recv(100)) for each in (ear, ear, other, other)]
    status = port.call("isthmus-sent", run=77, stop=True)
    assert not status["running"]
    assert [(m.run, m.source, m.target, m.sequence) for m in heard if m] == [
        (77, 1, 2, 0),
        (77, 1, 2, 1),
        (77, 1, 3, 0),
        (77, 1, 3, 1),
    ]
    assert [m.sent for m in heard if m] == [at for packets in status["sent"] for _, at in packets]
    assert all(begin <= at <= time.time_ns() for packets in status["sent"] for _, at in packets)


def test_a_stream_goes_on_until_it_is_stopped(port):
    arguments = {"run": 5, "port": 9, "size": 0, "targets": [[0, 1, "127.0.0.1"]], "interval": 0.005}
    port.call("isthmus-send", count=None, protocol="udp", **arguments)
    while len(port.call("isthmus-sent", run=5)["sent"][0]) < 3:
        pass
    assert port.call("isthmus-sent", run=5, stop=True)["sent"]
    with pytest.raises(LookupError):
        port.call("isthmus-sent", run=5)


def test_the_agent_needs_nothing_that_is_not_built_into_the_guest_s_interpreter():
    script = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv[1])
import agent
specs = [sys.modules[name].__spec__ for name in set(sys.modules) - before - {"agent"}]
print([spec.name for spec in specs if spec and spec.origin not in ("built-in", "frozen")])
"""
    argv = ["/usr/bin/python3", "-I", "-S", "-c", script, str(Path(agent.__file__).parent)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == "[]"
