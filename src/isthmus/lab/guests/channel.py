"""The way into a guest that is not its network: QEMU's guest agent protocol, through libvirt on the guest's host."""

from __future__ import annotations

import json
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.errors import Problem, WorldError
from isthmus.lab.processes import enter_light, environment
from isthmus.lab.state import State

TURN = 0.2
"""Seconds for which the guest may withhold an answer: libvirt lets nothing else through meanwhile."""
LARGEST = 120_000
"""Bytes of one request: it is one argument of a program."""
NOT_FOUND = 127
"""Exit code where the guest has no such program, as a shell says it."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A way into one guest.

    host    the node whose libvirtd runs it
    domain  its name or UUID there
    """

    state: State
    host: str
    domain: str

    def call(self, command: str, *, timeout: float = 10.0, **arguments: Any) -> Any:
        """One request to the agent and what it returns; `timeout` in seconds. Raises WorldError in libvirt's words."""
        request = json.dumps({"execute": command, "arguments": arguments})
        if len(request) > LARGEST:
            raise WorldError(
                Problem("TooLong", f"{len(request)} bytes for a guest", remedy="send it in smaller pieces")
            )
        argv = ["virsh", "--quiet", "qemu-agent-command", "--timeout", str(max(1, round(timeout)))]
        done = subprocess.run(
            enter_light(self.state, self.host, [*argv, self.domain, request]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        if done.returncode:
            raise WorldError(
                Problem(
                    "GuestSilent",
                    f"the agent in {self.domain} on {self.host}: {done.stderr.strip().removeprefix('error: ')}",
                    remedy="wait until it has booted; `isthmus lab logs` shows its console",
                )
            )
        return json.loads(done.stdout)["return"]

    def listens(self) -> bool:
        """Whether its agent answers."""
        try:
            return bool(self.call("guest-ping") == {})
        except WorldError:
            return False

    def run(
        self, argv: Sequence[str], *, input: str | None = None, timeout: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest to its end. Raises WorldError, subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        words: dict[str, Any] = {"path": argv[0], "arg": list(argv[1:]), "capture-output": True}
        words["input-data"] = b64encode((input or "").encode()).decode()
        try:
            status = self.call("guest-exec", wait=round(TURN * 1000), **words)
        except WorldError as error:
            if "FileNotFoundError" not in str(error):
                raise
            return subprocess.CompletedProcess(list(argv), NOT_FOUND, "", f"{argv[0]}: not found in the guest\n")
        pid = status["pid"]
        while not status.get("exited"):
            if deadline is not None and time.monotonic() > deadline:
                self.call("guest-exec", path="kill", arg=["-9", f"-{pid}"])
                raise subprocess.TimeoutExpired(list(argv), timeout or 0.0)
            status = self.call("guest-exec-status", pid=pid, wait=round(TURN * 1000))
        said = (b64decode(status[key]).decode(errors="replace") for key in ("out-data", "err-data"))
        return subprocess.CompletedProcess(list(argv), status.get("exitcode", -status.get("signal", 0)), *said)
