"""JSON-RPC to an ovsdb-server over `unix:`, `ssl:` or `tcp:` (RFC 7047 §4), one connection.

Why not the `ovs` library: ADR 0003.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from functools import lru_cache
from ssl import SSLContext
from typing import Any

from isthmus.errors import Problem, Unreachable
from isthmus.model.intent import Tls

Notify = Callable[[str, list[Any]], None]

CONNECT_TIMEOUT = 5.0
"""Seconds for one attempt, TLS handshake included."""


class Rejected(Exception):
    """The server answered a request with an error object."""


class Wire(asyncio.Protocol):
    """One open connection: requests by `call`, notifications to `notify`, `closed` when it is over."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self._buffer: list[bytes] = []
        self._decoder = json.JSONDecoder()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self.heard = asyncio.get_running_loop().time()
        self.answered = False
        """The server has said anything yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(exc or ConnectionResetError("the server closed the connection"))
                # Of several requests under way only one may be awaited: the others' end is no news.
                future.exception()
        self._waiting.clear()
        if not self.closed.done():
            self.closed.set_result(exc)

    def data_received(self, data: bytes) -> None:
        self.heard = asyncio.get_running_loop().time()
        self.answered = True
        self._buffer.append(data)
        # Messages are not delimited, but every one ends in a brace: parsing is tried only there, so a message
        # of many chunks costs few vain attempts.
        if data[-1:] != b"}":
            return
        text = b"".join(self._buffer).decode("utf-8", "replace")
        position = 0
        self._buffer.clear()
        while position < len(text):
            try:
                message, position = self._decoder.raw_decode(text, position)
            except json.JSONDecodeError:
                self._buffer.append(text[position:].encode())
                return
            self._message(message)

    def _message(self, message: dict[str, Any]) -> None:
        if "method" not in message or message["method"] is None:
            future = self._waiting.pop(message["id"], None)
            if future is None or future.done():
                return
            if message.get("error") is not None:
                future.set_exception(Rejected(json.dumps(message["error"])))
            else:
                future.set_result(message.get("result"))
        elif message["method"] == "echo":
            self._send({"id": message.get("id"), "result": message["params"], "error": None})
        else:
            self._notify(message["method"], message["params"])

    def _send(self, message: dict[str, Any]) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._transport.write(json.dumps(message, separators=(",", ":")).encode())

    def call(self, method: str, *params: Any) -> asyncio.Future[Any]:
        """Send a request now; the future holds the result, or `Rejected`, or the reason the connection broke."""
        self._next += 1
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send({"method": method, "params": list(params), "id": self._next})
        self._waiting[self._next] = future
        return future

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@lru_cache(maxsize=256)
def _context(tls: Tls) -> SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(tls.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(str(tls.cert_file), str(tls.key_file))
    return context


async def open_wire(remote: str, tls: Tls | None, notify: Notify) -> Wire:
    """Connect to one remote, e.g. `ssl:[2001:db8::1]:6641` or `unix:/run/ovn/ovnnb_db.sock`.

    The server's certificate must name the remote's host or `tls.server_name`. Raises Unreachable.
    """
    loop = asyncio.get_running_loop()
    kind, _, rest = remote.partition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            if kind == "unix":
                return (await loop.create_unix_connection(lambda: Wire(notify), rest))[1]
            host, _, port = rest.rpartition(":")
            host = host.strip("[]")
            if kind == "tcp":
                return (await loop.create_connection(lambda: Wire(notify), host, int(port)))[1]
            assert tls is not None, "the API demands tls for ssl:"
            name = tls.server_name or host
            return (
                await loop.create_connection(
                    lambda: Wire(notify), host, int(port), ssl=_context(tls), server_hostname=name
                )
            )[1]
    except (OSError, ssl.SSLError, TimeoutError) as error:
        raise Unreachable(why_unreachable(remote, error)) from error


def refused_us(remote: str) -> Problem:
    """In TLS 1.3 a server judges our certificate after our side is done: then it just hangs up, before any answer."""
    return _tls_failed(remote, "the server closed the connection as soon as it saw our certificate")


def _tls_failed(remote: str, said: str) -> Problem:
    return Problem(
        "TlsFailed",
        f"{remote}: TLS failed: {said}",
        remedy="check that spec.tls.certFile is valid, not expired, and signed by a CA that the server trusts",
    )


def why_unreachable(remote: str, error: BaseException) -> Problem:
    """A sentence and a remedy for what the operating system or TLS said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Problem(
            "CertificateRefused",
            f"{remote}: the server's certificate is refused: {error.verify_message}",
            remedy="check spec.tls.caFile, the certificate's expiry and names, or set spec.tls.serverName",
        )
    if isinstance(error, ssl.SSLError):
        return _tls_failed(remote, str(error.reason or error))
    if isinstance(error, TimeoutError):
        reason = f"no answer within {CONNECT_TIMEOUT:g} s"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return Problem(
        "Unreachable", f"{remote}: {reason}", remedy="check that the ovsdb-server runs and the address is right"
    )
