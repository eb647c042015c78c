"""A few pages over HTTP or HTTPS: metrics and health. One request a connection, five seconds each.

A server of our own, because prometheus-client's cannot ask for a client's certificate with a context of ours, and
blocks a thread for each scrape.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from isthmus.errors import Problem, WorldError

DEADLINE = 5.0
"""Seconds for one connection, handshake included."""

LONGEST = 8192
"""Bytes of a request's head."""


class Page(NamedTuple):
    """`status` as in HTTP's first line, e.g. `200 OK`."""

    status: str
    kind: str
    body: bytes


Pages = Mapping[str, Callable[[], Page]]


def parse_listen(text: str) -> tuple[str, int]:
    """`IP:PORT` or `[IPv6]:PORT`. Raises ValueError.

    >>> parse_listen("[fd00::1]:9476")
    ('fd00::1', 9476)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"not IP:PORT: {text!r}")
    return host.strip("[]"), int(port)


async def start_server(listen: str, context: ssl.SSLContext | None, pages: Pages) -> asyncio.Server:
    """Serve the pages until the server is closed. Raises WorldError when the address cannot be listened on."""
    host, port = parse_listen(listen)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                writer.write(respond(await reader.readuntil(b"\r\n\r\n"), pages))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    handshake = {} if context is None else {"ssl_handshake_timeout": DEADLINE}
    try:
        return await asyncio.start_server(answer, host, port, ssl=context, limit=LONGEST, **handshake)
    except OSError as error:
        raise WorldError(
            Problem(
                "CannotListen",
                f"cannot listen on {listen}: {error.strerror or error}",
                remedy="give an address of this host and a free port with --listen",
            )
        ) from error


def respond(head: bytes, pages: Pages) -> bytes:
    """The whole answer to a request of which `head` came."""
    method, target, *_ = [*head.split(b"\r\n", 1)[0].split(b" "), b"", b""]
    page = pages.get(target.partition(b"?")[0].decode("ascii", "replace"))
    if page is None:
        return _message(Page("404 Not Found", "text/plain", f"there are {' '.join(pages)}\n".encode()))
    if method != b"GET":
        return _message(Page("405 Method Not Allowed", "text/plain", b"GET only\n"), ["Allow: GET"])
    return _message(page())


def _message(page: Page, more: Iterable[str] = ()) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + page.body
