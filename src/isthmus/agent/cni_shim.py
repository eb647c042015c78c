#!/usr/bin/python3 -IS
"""The CNI plugin: hands what a container runtime says to the node's agent, and its answer back.

One file that needs nothing but Python's standard library, installed as `/opt/cni/bin/isthmus`. It knows the protocol
(CNI specification 1.1.0) as far as an agent that does not answer makes necessary; everything else is the agent's.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` takes longer to import than all the rest
    from typing import Any

VERSIONS = ["0.4.0", "1.0.0", "1.1.0"]
SOCKET = "/run/isthmus/cni.sock"
NAMES = ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH")
DECODING, TRY_AGAIN, UNAVAILABLE = 6, 11, 50
"""Error codes of the specification: content cannot be decoded; try again later; STATUS: ADD cannot be served."""
PATIENCE = 95.0
"""Seconds that the agent may take for an answer: longer than its own patience."""
RESTART, PAUSE = 20.0, 0.1
"""Seconds that an agent may take to come back, and between two looks: a runtime gives up after two minutes, and what it
is refused it asks for again 10 s later, or never where that was a DEL."""


def main() -> int:
    text = sys.stdin.read()
    try:
        config = json.loads(text) if text.strip() else {}
        version = str(config.get("cniVersion") or VERSIONS[0])
    except (ValueError, AttributeError) as error:
        return fail(VERSIONS[-1], DECODING, "the network configuration is not JSON", str(error))
    words = {name: os.environ.get("CNI_" + name, "") for name in NAMES}
    if words["COMMAND"] == "VERSION":
        say({"cniVersion": version, "supportedVersions": VERSIONS})
        return 0
    path = str(config.get("socket") or SOCKET)
    try:
        answer = wait(path, {"config": config, "environment": words}, 0.0 if words["COMMAND"] == "STATUS" else RESTART)
    except (OSError, ValueError) as error:
        code = UNAVAILABLE if words["COMMAND"] == "STATUS" else TRY_AGAIN
        return fail(version, code, "the agent of this node does not answer at " + path, str(error))
    if "error" in answer:
        return fail(version, *answer["error"])
    if answer.get("result") is not None:
        say(answer["result"])
    return 0


def wait(path: str, request: dict[str, Any], left: float) -> dict[str, Any]:
    """Ask, and ask again of an agent that hung up or is not there just now: it is told where a part may be done."""
    while True:
        try:
            return ask(path, request)
        except (OSError, ValueError) as error:
            hangs = isinstance(error, TimeoutError)
            # Without the folder there was none since the machine started.
            if left <= 0 or hangs or not os.path.isdir(os.path.dirname(path)):  # noqa: PTH112, PTH120
                raise
            if not isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
                request["again"] = True
        time.sleep(PAUSE)
        left -= PAUSE


def ask(path: str, request: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise OSError("it hung up")
    return dict(json.loads(line))


def say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")


def fail(version: str, code: int, message: str, details: str = "") -> int:
    say({"cniVersion": version, "code": code, "msg": message, "details": details})
    return 1


if __name__ == "__main__":
    sys.exit(main())
