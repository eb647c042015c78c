#!/usr/bin/python3 -IS
"""The CNI plugin: hands what a container runtime says to the node's agent, and its answer back.

One file that needs nothing but the standard library of the node's Python, 3.8 or newer, installed as
`/opt/cni/bin/isthmus`. It knows the protocol (CNI specification 1.1.0) as far as an agent that does not answer makes
necessary; everything else is the agent's. Every Pod waits for it twice, so it imports next to nothing: JSON is read
where there is nobody else to read it.

A question to the agent is `AGAIN LENGTH`, a line, and LENGTH bytes: the values of NAMES and the configuration, with a
zero byte between two of them. AGAIN is 1 where an agent hung up on the same question before. The answer is `CODE
LENGTH`, a line, and what to print: the plugin ends with CODE.
"""

import os
import sys
import time

# Who imports `socket` imports `enum` and `selectors`: longer than all the rest takes.
from _socket import AF_UNIX, SOCK_STREAM, socket, timeout

VERSIONS = ["0.4.0", "1.0.0", "1.1.0"]
SOCKET = "/run/isthmus/cni.sock"
NAMES = ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH")
DECODING, TRY_AGAIN, UNAVAILABLE = 6, 11, 50
"""Error codes of the specification: content cannot be decoded; try again later; STATUS: ADD cannot be served."""
UNREADABLE = "the network configuration is not a mapping in JSON"
PATIENCE = 95.0
"""Seconds that the agent may take for an answer: longer than its own patience."""
RESTART, PAUSE = 20.0, 0.1
"""Seconds that an agent may take to come back, and between two looks: a runtime gives up after two minutes, and what it
is refused it asks for again 10 s later, or never where that was a DEL."""


def main() -> int:
    config = sys.stdin.buffer.read()
    words = [os.environb.get(b"CNI_" + name.encode(), b"") for name in NAMES]
    if words[0] == b"VERSION":
        return say(config, {"supportedVersions": VERSIONS})
    path = SOCKET if b'"socket"' not in config else str((parsed(config) or {}).get("socket") or SOCKET)
    status = words[0] == b"STATUS"
    try:
        code, answer = wait(path, b"\0".join([*words, config]), 0.0 if status else RESTART)
    except (OSError, ValueError) as error:
        why = {"msg": "the agent of this node does not answer at " + path, "details": str(error)}
        return say(config, {"code": UNAVAILABLE if status else TRY_AGAIN, **why})
    sys.stdout.buffer.write(answer)
    return code


def wait(path: str, question: bytes, left: float) -> "tuple[int, bytes]":
    """Ask, and ask again of an agent that hung up or is not there just now: it is told where a part may be done."""
    again = False
    while True:
        try:
            return ask(path, b"%d %d\n" % (again, len(question)) + question)
        except (OSError, ValueError) as error:
            hangs = isinstance(error, timeout)
            # Without the folder there was none since the machine started.
            if left <= 0 or hangs or not os.path.isdir(os.path.dirname(path)):  # noqa: PTH112, PTH120
                raise
            again = again or not isinstance(error, (ConnectionRefusedError, FileNotFoundError))
        time.sleep(PAUSE)
        left -= PAUSE


def ask(path: str, question: bytes) -> "tuple[int, bytes]":
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(question)
        said = b""
        while more := connection.recv(65536):
            said += more
    finally:
        connection.close()
    head, _, answer = said.partition(b"\n")
    code, length = map(int, head.split())
    if len(answer) != length:
        raise OSError("it hung up")
    return code, answer


# -- what the plugin does itself only where no agent answers; the agent calls the same ---------------------------------


def parsed(config: bytes) -> "dict[str, object] | None":
    """The configuration; None where it is none."""
    import json  # noqa: PLC0415

    try:
        found = json.loads(config) if config.strip() else {}
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def version_of(config: "dict[str, object] | None") -> str:
    """That answers to it are in."""
    return VERSIONS[-1] if config is None else str(config.get("cniVersion") or VERSIONS[0])


def say(config: bytes, answer: "dict[str, object]") -> int:
    """Print an answer of our own; the plugin's exit code."""
    import json  # noqa: PLC0415

    read = parsed(config)
    if read is None:
        answer = {"code": DECODING, "msg": UNREADABLE, "details": ""}
    sys.stdout.write(json.dumps({"cniVersion": version_of(read), **answer}) + "\n")
    return int("code" in answer)


if __name__ == "__main__":
    sys.exit(main())
