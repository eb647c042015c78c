"""Pages over HTTP: metrics and health."""

from __future__ import annotations

import asyncio

import pytest

from isthmus.backends.http import Page, parse_listen, respond, start_server
from isthmus.errors import WorldError

PAGES = {"/metrics": lambda: Page("200 OK", "text/plain", b"text")}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200"),
        (b"GET /metrics?name[]=x HTTP/1.0\r\n\r\n", b"200"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"\r\n\r\n", b"404"),
        (b"\xff\xff\xff \x00\r\n\r\n", b"404"),
    ],
)
def test_only_the_pages_are_served(head: bytes, status: bytes) -> None:
    answer = respond(head, PAGES)
    assert answer.split(b" ", 2)[1] == status
    body = answer.partition(b"\r\n\r\n")[2]
    assert f"Content-Length: {len(body)}\r\n".encode() in answer


@pytest.mark.parametrize("text", ["", "9476", ":9476", "host:", "host:0", "host:65536", "host:http"])
def test_what_is_no_address_with_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


def test_an_address_that_is_not_ours_is_a_problem_of_the_world() -> None:
    with pytest.raises(WorldError, match=r"cannot listen on 192\.0\.2\.1:9476"):
        asyncio.run(start_server("192.0.2.1:9476", None, PAGES))
