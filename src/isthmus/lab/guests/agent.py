"""Runs in a guest: answers the QEMU guest agent's protocol on its virtio port, and sends marked packets.

Of QEMU's protocol: guest-sync, guest-sync-delimited, guest-ping, guest-shutdown, guest-exec, guest-exec-status. Of our
own: isthmus-listen, isthmus-send, isthmus-sent. A request is one line of JSON, and so is its answer.

Under emulation each import costs tenths of a second: only modules that are built into the interpreter are used, and
the little JSON that is needed is read as the Python it almost is.
"""
# pathlib would be such an import
# ruff: noqa: PTH123, PTH208

import _socket
import _struct
import binascii
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # as mypy sees it
    from typing import Any

PORT_NAME = "org.qemu.guest_agent.0"
DISCARD = 9
MARK = "!12sIHHIQ"
MAGIC = b"isthmus-lab\0"
LARGEST = 4 << 20
"""Bytes of a command's output that are kept."""
NAMES = {"true": True, "false": False, "null": None}
POWER = {"powerdown": "poweroff", "halt": "poweroff", "reboot": "reboot"}


def text(value: "Any") -> str:
    """A value as JSON; strings are ASCII without quotes, backslashes and control characters.

    >>> text({"a": [True, None, -1, "b"]})
    '{"a": [true, null, -1, "b"]}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(key)}: {text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


class Child:
    """A command that was started, and what it has said so far."""

    def __init__(self, arguments: "dict[str, Any]") -> None:
        argv = [arguments["path"], *arguments.get("arg", [])]
        environment = dict(os.environ)
        environment.update(each.split("=", 1) for each in arguments.get("env", []))
        pipes = [os.pipe() for _ in range(3)]
        ends = [pipes[0][0], pipes[1][1], pipes[2][1]]
        actions = [(os.POSIX_SPAWN_DUP2, end, fd) for fd, end in enumerate(ends)]
        try:
            self.pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions, setsid=True)
        finally:
            for end in ends:
                os.close(end)
        self.process = os.pidfd_open(self.pid)
        self.input = memoryview(binascii.a2b_base64(arguments.get("input-data", "")))
        self.stdin = pipes[0][1]
        self.outputs = {pipes[1][0]: bytearray(), pipes[2][0]: bytearray()}
        self.said = list(self.outputs.values())
        self.code: int | None = None
        for fd in (self.stdin, *self.outputs):
            os.set_blocking(fd, False)
        self.feed()

    def feed(self) -> bool:
        """Write what its stdin takes; False when that is all."""
        try:
            while self.input:
                self.input = self.input[os.write(self.stdin, self.input) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self.input = memoryview(b"")
        os.close(self.stdin)
        return False

    def read(self, fd: int) -> bool:
        """Take what came on one of its outputs; False at the end."""
        try:
            while data := os.read(fd, 65536):
                kept = self.outputs[fd]
                kept += data[: LARGEST - len(kept)]
        except BlockingIOError:
            return True
        os.close(fd)
        del self.outputs[fd]
        return False

    def reap(self) -> None:
        """It has ended: keep its code, and what it said last."""
        for fd in list(self.outputs):
            if self.read(fd):  # a child of its own holds the pipe
                os.close(fd)
                del self.outputs[fd]
        if self.input:
            os.close(self.stdin)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.process)

    def status(self) -> "dict[str, Any]":
        if self.code is None:
            return {"pid": self.pid, "exited": False}
        how = {"exitcode": self.code} if self.code >= 0 else {"signal": -self.code}
        out, err = (binascii.b2a_base64(bytes(said), newline=False).decode() for said in self.said)
        return {"pid": self.pid, "exited": True, **how, "out-data": out, "err-data": err}


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    data += bytes(len(data) % 2)
    total: int = sum(_struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


class Stream:
    """Marked packets to several targets, `interval` seconds apart: `count` of each, or until stopped.

    targets  [source, target, address]: two numbers for the mark, and where to send
    """

    def __init__(self, arguments: "dict[str, Any]") -> None:
        self.run, self.port, self.size = arguments["run"], arguments["port"], arguments["size"]
        self.targets, self.interval, self.count = arguments["targets"], arguments["interval"], arguments["count"]
        self.echo = arguments["protocol"] == "icmp"
        self.sent: list[list[tuple[int, int]]] = [[] for _ in self.targets]
        self.sequence, self.due = 0, time.monotonic()
        self.sockets: dict[int, _socket.socket] = {}

    @property
    def running(self) -> bool:
        return self.count is None or self.sequence < self.count

    def round(self) -> None:
        """One packet to each target."""
        for at, (source, target, address) in enumerate(self.targets):
            now = time.time_ns()
            mark = _struct.pack(MARK, MAGIC, self.run, source, target, self.sequence, now)
            try:
                self._send(address, mark.ljust(self.size, b"\0"))
            except OSError:
                continue  # no way to it; it does not count as sent
            self.sent[at].append((self.sequence, now))
        self.sequence += 1
        self.due += self.interval
        if not self.running:
            self.stop()

    def _send(self, address: str, payload: bytes) -> None:
        version = 6 if ":" in address else 4
        if version not in self.sockets:
            family = _socket.AF_INET6 if version == 6 else _socket.AF_INET
            if self.echo:
                kind, protocol = _socket.SOCK_RAW, 58 if version == 6 else 1
            else:
                kind, protocol = _socket.SOCK_DGRAM, 0
            self.sockets[version] = _socket.socket(family, kind, protocol)
            self.sockets[version].setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, 1)
        if self.echo:
            head, rest = (
                bytes([128 if version == 6 else 8, 0]),
                _struct.pack("!HH", self.run & 0xFFFF, self.sequence & 0xFFFF),
            )
            payload = head + _struct.pack("!H", checksum(head + b"\0\0" + rest + payload)) + rest + payload
        self.sockets[version].sendto(payload, (address, 0 if self.echo else self.port))

    def stop(self) -> None:
        self.count = self.sequence
        for each in self.sockets.values():
            each.close()
        self.sockets = {}

    def status(self) -> "dict[str, Any]":
        return {"running": self.running, "sent": self.sent}


class Agent:
    """Serves one port. `serve` does not return while the port exists."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.line = b""
        self.children: dict[int, Child] = {}
        self.streams: dict[int, Stream] = {}
        self.awaited: tuple[Child, float] | None = None
        self.sinks: dict[tuple[int, int], _socket.socket] = {}
        self.poll = select.poll()
        self.poll.register(port, select.POLLIN)
        self.owners: dict[int, Child] = {}

    # Requests.

    def answer(self, line: bytes) -> None:
        """Carry out one request and reply, now or when what it waits for is there."""
        delimited = line.startswith(b"\xff")
        try:
            request = eval(line.lstrip(b"\xff"), {"__builtins__": {}, **NAMES})  # who asks owns us
            method = getattr(self, "do_" + request["execute"].replace("-", "_"), None)
            if method is None:
                raise KeyError(request["execute"])
            reply = method(request.get("arguments", {}))
        except Exception as error:  # noqa: BLE001  # a bad request must not end the agent
            what = f"{type(error).__name__}: {error}"
            said = "".join(c for c in what if c.isascii() and c.isprintable() and c not in '"\\')
            self.reply({"error": {"class": "GenericError", "desc": said}})
            return
        if reply is not None:
            self.reply({"return": reply}, delimited)

    def reply(self, value: "Any", delimited: bool = False) -> None:
        data = (b"\xff" if delimited else b"") + text(value).encode() + b"\n"
        while data:
            data = data[os.write(self.port, data) :]

    def do_guest_sync(self, arguments: "dict[str, Any]") -> "Any":
        return arguments["id"]

    do_guest_sync_delimited = do_guest_sync

    def do_guest_ping(self, arguments: "dict[str, Any]") -> "Any":
        return {}

    def do_guest_shutdown(self, arguments: "dict[str, Any]") -> None:
        """There is nothing to be saved; QEMU's own agent does not answer this one either."""
        command = POWER[arguments.get("mode", "powerdown")]
        os.posix_spawnp(command, [command, "-f"], os.environ)

    def do_guest_exec(self, arguments: "dict[str, Any]") -> "Any":
        child = Child(arguments)
        self.children[child.pid] = child
        for fd in (child.process, *child.outputs):
            self.watch(fd, child, select.POLLIN)
        if child.input:
            self.watch(child.stdin, child, select.POLLOUT)
        if arguments.get("wait"):
            self.awaited = child, time.monotonic() + arguments["wait"] / 1000
            return None
        return {"pid": child.pid}

    def do_guest_exec_status(self, arguments: "dict[str, Any]") -> "Any":
        """With `wait`, in milliseconds, here and with guest-exec: when it has ended, or that much later."""
        child = self.children[arguments["pid"]]
        if child.code is None and arguments.get("wait"):
            self.awaited = child, time.monotonic() + arguments["wait"] / 1000
            return None
        return self.status(child)

    def status(self, child: Child) -> "Any":
        if child.code is not None:
            del self.children[child.pid]
        return child.status()

    def do_isthmus_listen(self, arguments: "dict[str, Any]") -> "Any":
        """Something that listens at a UDP port, so that our kernel answers no error."""
        version, port = arguments["version"], arguments["port"]
        if (version, port) not in self.sinks:
            sink = _socket.socket(_socket.AF_INET6 if version == 6 else _socket.AF_INET, _socket.SOCK_DGRAM)
            sink.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, 1)
            if version == 6:
                sink.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
            sink.bind(("", port))
            self.sinks[version, port] = sink
        return {}

    def do_isthmus_send(self, arguments: "dict[str, Any]") -> "Any":
        """Returns what the guest's clock says."""
        self.streams[arguments["run"]] = Stream(arguments)
        return {"clock": time.time_ns()}

    def do_isthmus_sent(self, arguments: "dict[str, Any]") -> "Any":
        """What a stream has sent; with `stop` it ends and is forgotten."""
        stream = self.streams[arguments["run"]]
        if arguments.get("stop"):
            stream.stop()
            del self.streams[arguments["run"]]
        return stream.status()

    # The loop.

    def watch(self, fd: int, child: Child, event: int) -> None:
        self.owners[fd] = child
        self.poll.register(fd, event)

    def forget(self, fd: int) -> None:
        self.poll.unregister(fd)
        del self.owners[fd]

    def serve(self) -> None:
        for version in (4, 6):
            self.do_isthmus_listen({"version": version, "port": DISCARD})
        while True:
            self.turn()

    def turn(self) -> None:
        """Wait for the next thing to happen and see to it."""
        for fd, _ in self.poll.poll(self.patience()):
            if fd == self.port:
                self.hear()
            elif fd in self.owners:  # else it went with its child just now
                self.tend(fd, self.owners[fd])
        now = time.monotonic()
        for stream in list(self.streams.values()):
            while stream.running and stream.due <= now:
                stream.round()
        if self.awaited and (self.awaited[0].code is not None or self.awaited[1] <= now):
            child, self.awaited = self.awaited[0], None
            self.reply({"return": self.status(child)})

    def patience(self) -> float | None:
        """Milliseconds until something is due."""
        times = [stream.due for stream in self.streams.values() if stream.running]
        if self.awaited:
            times.append(self.awaited[1])
        return max(0.0, (min(times) - time.monotonic()) * 1000) if times else None

    def hear(self) -> None:
        data = os.read(self.port, 65536)
        if not data:  # nobody is at the other end
            time.sleep(0.05)
            return
        *lines, self.line = (self.line + data).split(b"\n")
        for line in lines:
            if line.strip():
                self.awaited = None  # who asks again has given up
                self.answer(line)

    def tend(self, fd: int, child: Child) -> None:
        """Something happened to a child."""
        if fd == child.process:
            for each in (fd, *child.outputs, *((child.stdin,) if child.input else ())):
                self.forget(each)
            child.reap()
        elif fd == child.stdin:
            if not child.feed():
                self.forget(fd)
        else:
            self.poll.unregister(fd)
            if child.read(fd):
                self.poll.register(fd, select.POLLIN)
            else:
                del self.owners[fd]


def find_port() -> str:
    """The device of our port."""
    for name in os.listdir("/sys/class/virtio-ports"):
        with open(f"/sys/class/virtio-ports/{name}/name") as file:
            if file.read().strip() == PORT_NAME:
                return "/dev/" + name
    raise LookupError("no virtio port is called " + PORT_NAME)


if __name__ == "__main__":
    sys.stdout.write("isthmus guest: agent\n")
    Agent(os.open(find_port(), os.O_RDWR)).serve()
