"""The metrics, and who gets them."""

from __future__ import annotations

import asyncio
import ssl
from ipaddress import ip_address

import pytest

from isthmus.agent import serve
from isthmus.agent.probe import Probe, Prober, Target
from isthmus.errors import WorldError


def prober() -> Prober:
    made = Prober()
    target = Target('odd "name"', ip_address("10.2.0.1"))
    made.configure({"p1": Probe("p1", "g", (target,))}, 0.0)
    [request] = made.due(0.0)
    made.answered("p1", target.address, request.sequence, request.cookie, 0.25)
    return made


def test_counts_round_trips_and_state_are_in_the_text() -> None:
    text = serve.metrics_text(prober()).decode()
    labels = '{address="10.2.0.1",probe="p1",subnet="odd \\"name\\""}'
    assert 'isthmus_probe_up{probe="p1"} 1.0' in text
    assert f"isthmus_probe_sent_total{labels} 1.0" in text
    assert f"isthmus_probe_lost_total{labels} 0.0" in text
    assert f"isthmus_probe_rtt_seconds_count{labels} 1.0" in text
    assert f"isthmus_probe_rtt_seconds_sum{labels} 0.25" in text
    assert f"isthmus_probe_rtt_last_seconds{labels} 0.25" in text


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
def test_only_metrics_are_served(head: bytes, status: bytes) -> None:
    answer = serve.respond(head, lambda: b"text")
    assert answer.split(b" ", 2)[1] == status
    body = answer.partition(b"\r\n\r\n")[2]
    assert f"Content-Length: {len(body)}\r\n".encode() in answer


@pytest.mark.parametrize("text", ["", "9476", ":9476", "host:", "host:0", "host:65536", "host:http"])
def test_what_is_no_address_with_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        serve.parse_listen(text)


def test_an_address_that_is_not_ours_is_a_problem_of_the_world() -> None:
    with pytest.raises(WorldError, match=r"cannot serve metrics on 192\.0\.2\.1:9476"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        asyncio.run(serve.start_server("192.0.2.1:9476", context, lambda: b""))
