"""A unix socket between Isthmus and an ovsdb-server: hears every message, and may count, stop or spoil them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

Message = dict[str, Any]
Spoil = Literal["late", "empty", "half"]

NO_SUCH_TXN = "00000000-0000-0000-0000-000000000000"


class Turnstile:
    """Shared by the proxies of all databases: lets one transaction through at a time and counts what was committed.

    committed   database and parameters of each `transact` that the server accepted, in order
    on_commit   called with their number after each, before the client hears of it; False: the client never does
    """

    def __init__(self) -> None:
        self.committed: list[tuple[str, list[Any]]] = []
        self.on_commit: Callable[[int], bool] = lambda _: True
        self.generation = 0
        self._turn = threading.Semaphore()

    def enter(self, generation: int) -> None:
        """Wait for one's turn. Raises ConnectionResetError for what was sent by who is dead by now."""
        self._turn.acquire()
        if generation != self.generation:
            self._turn.release()
            raise ConnectionResetError

    def leave(self) -> None:
        self._turn.release()

    def commit(self, database: str, params: list[Any]) -> bool:
        self.committed.append((database, params))
        goes_on = self.on_commit(len(self.committed))
        if not goes_on:
            self.generation += 1
        return goes_on


class Proxy:
    """Listens on `path` and forwards to `upstream` until `stop`.

    spoiled  what is done to listings (replies to `monitor_cond_since`) from now on:
             late   held back until `mend`
             empty  an empty database instead; `mend` closes the connection, so that the next one lists the truth
             half   half of the bytes, then the connection closes
    """

    def __init__(self, database: str, upstream: Path, path: Path, turnstile: Turnstile) -> None:
        self.database, self.upstream, self.path, self.turnstile = database, upstream, path, turnstile
        self.spoiled: Spoil | None = None
        self.listings = 0
        """How many listings were asked for."""
        self._mended = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(16)
        self._open: set[_Pipe] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self._open.add(_Pipe(self, client))

    def spoil(self, how: Spoil) -> None:
        """Spoil listings from now on and end the connections that there are, so that everybody lists again."""
        self._mended.clear()
        self.spoiled = how
        self.drop()

    def mend(self) -> None:
        self.spoiled = None
        self._mended.set()

    def wait_mended(self, seconds: float = 30.0) -> None:
        self._mended.wait(seconds)

    def drop(self) -> None:
        """End every connection."""
        for pipe in list(self._open):
            pipe.close()

    def forget(self, pipe: _Pipe) -> None:
        self._open.discard(pipe)

    def stop(self) -> None:
        self.mend()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop()
        self.path.unlink(missing_ok=True)


class _Pipe:
    """One client's connection."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy, self._client = proxy, client
        self._asked: dict[int, Message] = {}
        self._generation = proxy.turnstile.generation
        self._server = socket.socket(socket.AF_UNIX)
        try:
            self._server.connect(str(proxy.upstream))
        except OSError:
            self.close()
            return
        for work in (self._up, self._down):
            threading.Thread(target=self._guard, args=(work,), daemon=True).start()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            with contextlib.suppress(OSError):
                work()
        finally:
            self.close()

    def close(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._proxy.forget(self)
        for number in list(self._asked):
            self._answered(number)

    def _answered(self, number: int) -> Message | None:
        asked = self._asked.pop(number, None)
        if asked is not None and _writes(asked):
            self._proxy.turnstile.leave()
        return asked

    def _up(self) -> None:
        for message, raw in _messages(self._client):
            if message.get("method") in ("transact", "monitor_cond_since"):
                if _writes(message):
                    self._proxy.turnstile.enter(self._generation)
                self._asked[message["id"]] = message
            self._server.sendall(raw)

    def _down(self) -> None:
        for message, raw in _messages(self._server):
            asked = self._asked.get(message.get("id", -1)) if "result" in message else None
            if asked is None:
                self._client.sendall(raw)
            elif asked["method"] == "transact":
                written = _writes(asked) and _accepted(message)
                if written and not self._proxy.turnstile.commit(self._proxy.database, asked["params"]):
                    return
                self._answered(message["id"])
                self._client.sendall(raw)
            else:
                self._answered(message["id"])
                self._list(message, raw)

    def _list(self, message: Message, raw: bytes) -> None:
        """Forward a listing, spoiled as it was asked for."""
        proxy, how = self._proxy, self._proxy.spoiled
        proxy.listings += 1
        if how == "half":
            self._client.sendall(raw[: len(raw) // 2])
            raise ConnectionResetError
        if how == "late":
            proxy.wait_mended()
        if how == "empty":
            self._client.sendall(json.dumps(message | {"result": [False, NO_SUCH_TXN, {}]}).encode())
            proxy.wait_mended()
            raise ConnectionResetError
        self._client.sendall(raw)


def _messages(source: socket.socket) -> Iterator[tuple[Message, bytes]]:
    """JSON values as they come, each with its bytes."""
    decoder, buffer = json.JSONDecoder(), ""
    while data := source.recv(1 << 20):
        while data[-1] & 0x80:
            data += source.recv(1)
        buffer += data.decode()
        while buffer:
            try:
                message, end = decoder.raw_decode(buffer)
            except json.JSONDecodeError:
                break
            yield message, buffer[:end].encode()
            buffer = buffer[end:].lstrip()


def _writes(message: Message) -> bool:
    return message["method"] == "transact" and any(
        isinstance(op, dict) and op["op"] in ("insert", "update", "mutate", "delete") for op in message["params"]
    )


def _accepted(reply: Message) -> bool:
    results = reply["result"]
    return reply["error"] is None and not any(isinstance(r, dict) and r.get("error") for r in results)
