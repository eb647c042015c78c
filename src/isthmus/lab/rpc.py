"""Just enough JSON-RPC for a lab: OVSDB transactions, watching rows, snapshots; and `appctl` of daemons."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = Any
Rows = dict[str, dict[str, Json]]
"""uuid -> column -> value in OVSDB's JSON."""


class RpcError(RuntimeError):
    """A server refused a request; the message is its own."""


def connect(path: str | Path, timeout: float) -> socket.socket:
    """Connect to a unix socket, by the directory's descriptor where the path is too long for the kernel."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(timeout)
    path = Path(path)
    try:
        if len(os.fsencode(path)) < 100:
            connection.connect(str(path))
        else:
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
    except OSError:
        connection.close()
        raise
    return connection


class Rpc:
    """A JSON-RPC connection to a unix socket."""

    def __init__(self, path: str | Path, timeout: float = 30.0) -> None:
        self._socket = connect(path, timeout)
        self._buffer = ""
        self._decoder = json.JSONDecoder()
        self._next = 0

    def __enter__(self) -> Rpc:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive(self) -> dict[str, Json]:
        """The next message that is not a keep-alive. Raises ConnectionError, TimeoutError."""
        pieces = [self._buffer]
        while True:
            if pieces[-1].rstrip().endswith("}") or self._buffer:
                text = "".join(pieces).lstrip()
                pieces = [text]
                try:
                    message, end = self._decoder.raw_decode(text)
                except ValueError:
                    self._buffer = ""
                else:
                    self._buffer = text[end:]
                    if message.get("method") == "echo":
                        self._send({"id": message["id"], "result": message["params"], "error": None})
                        pieces = [self._buffer]
                        continue
                    return dict(message)
            chunk = self._socket.recv(1 << 18)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            # Split only at ASCII borders: servers escape nothing, so a character may be cut.
            while chunk[-1] & 0x80:
                chunk += self._socket.recv(1)
            pieces.append(chunk.decode())

    def _send(self, message: Mapping[str, Json]) -> None:
        self._socket.sendall(json.dumps(message).encode())

    def call(self, method: str, *params: Json) -> Json:
        """One request and its result. Raises RpcError."""
        self._next += 1
        self._send({"id": self._next, "method": method, "params": list(params)})
        while True:
            answer = self.receive()
            if answer.get("id") == self._next:
                break
        if answer.get("error") is not None:
            raise RpcError(f"{method}: {answer['error']}")
        return answer["result"]

    def timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)


def transact(path: str | Path, database: str, *operations: Mapping[str, Json]) -> list[Json]:
    """One OVSDB transaction; its results. Raises RpcError if any operation failed."""
    with Rpc(path) as rpc:
        results = rpc.call("transact", database, *operations)
    for result in results:
        if result and "error" in result:
            raise RpcError(f"{database}: {result['error']}: {result.get('details', '')}")
    return list(results)


def wait_until(
    path: str | Path,
    database: str,
    tables: Mapping[str, Sequence[str]],
    ready: Callable[[dict[str, Rows]], bool],
    timeout: float,
) -> dict[str, Rows]:
    """Watch columns of tables until `ready(rows)`; the rows then. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    rows: dict[str, Rows] = {table: {} for table in tables}
    with Rpc(path, timeout) as rpc:
        requests = {table: [{"columns": list(columns)}] for table, columns in tables.items()}
        _merge(rows, rpc.call("monitor", database, None, requests))
        while not ready(rows):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{database}: not as awaited after {timeout} s")
            rpc.timeout(left)
            message = rpc.receive()
            if message.get("method") == "update":
                _merge(rows, message["params"][1])
    return rows


def _merge(rows: dict[str, Rows], updates: Mapping[str, Mapping[str, Mapping[str, Json]]]) -> None:
    for table, changes in updates.items():
        for uuid, change in changes.items():
            if "new" in change:
                rows[table].setdefault(uuid, {}).update(change["new"])
            else:
                rows[table].pop(uuid, None)


def snapshot(path: str | Path, database: str) -> dict[str, Rows]:
    """Every row of every table, all columns, as one consistent view: table -> uuid -> column -> value."""
    with Rpc(path) as rpc:
        tables = sorted(rpc.call("get_schema", database)["tables"])
        results = rpc.call("transact", database, *({"op": "select", "table": table, "where": []} for table in tables))
    return {
        table: {row["_uuid"][1]: row for row in result["rows"]} for table, result in zip(tables, results, strict=True)
    }


def appctl(path: str | Path, command: str, *arguments: str) -> str:
    """What `ovs-appctl -t PATH COMMAND ARGUMENTS…` prints. Raises RpcError."""
    with Rpc(path) as rpc:
        return str(rpc.call(command, *arguments) or "")


def mapping(value: Json) -> dict[str, str]:
    """An OVSDB map as a dict.

    >>> mapping(["map", [["a", "1"]]])
    {'a': '1'}
    """
    return dict(value[1])


def ovsdb_map(values: Mapping[str, str]) -> Json:
    return ["map", [[key, value] for key, value in values.items()]]
