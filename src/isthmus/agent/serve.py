"""Metrics over TLS, for those who hold a certificate: `GET /metrics`, nothing else.

One request a connection, five seconds each. A server of our own, because the library's cannot ask for a client's
certificate with a context of ours, and blocks a thread for each scrape.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from isthmus.agent.probe import Prober
from isthmus.errors import Problem, WorldError

DEADLINE = 5.0
"""Seconds for one connection, handshake included."""

LONGEST = 8192
"""Bytes of a request's head."""


class ProbeCollector(Collector):
    """Reads the prober when it is scraped."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("isthmus_probe_up", "1 while every target of the probe port answers.", labels=["probe"])
        for name, verdict in self._prober.verdicts().items():
            up.add_metric([name], verdict.state == "up")
        labels = ["probe", "subnet", "address"]
        sent = CounterMetricFamily("isthmus_probe_sent", "Echo requests sent.", labels=labels)
        lost = CounterMetricFamily("isthmus_probe_lost", "Echo requests without a reply in time.", labels=labels)
        rtt = SummaryMetricFamily("isthmus_probe_rtt_seconds", "Round trips.", labels=labels)
        last = GaugeMetricFamily("isthmus_probe_rtt_last_seconds", "The latest round trip.", labels=labels)
        for name, target, counts in self._prober.counts():
            values = [name, target.subnet, str(target.address)]
            sent.add_metric(values, counts.sent)
            lost.add_metric(values, counts.lost)
            rtt.add_metric(values, count_value=counts.received, sum_value=counts.rtt_sum)
            if counts.rtt_last is not None:
                last.add_metric(values, counts.rtt_last)
        yield from (up, sent, lost, rtt, last)


def metrics_text(prober: Prober) -> bytes:
    """Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ProbeCollector(prober))
    return generate_latest(registry)


def tls_context(cert: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """Ours, and a client's certificate signed by `client_ca` required."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(cert), str(key))
    return context


def parse_listen(text: str) -> tuple[str, int]:
    """`IP:PORT` or `[IPv6]:PORT`. Raises ValueError.

    >>> parse_listen("[fd00::1]:9476")
    ('fd00::1', 9476)
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"not IP:PORT: {text!r}")
    return host.strip("[]"), int(port)


async def start_server(listen: str, context: ssl.SSLContext, text: Callable[[], bytes]) -> asyncio.Server:
    """Serve `text()` until the server is closed. Raises WorldError when the address cannot be listened on."""
    host, port = parse_listen(listen)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                writer.write(respond(await reader.readuntil(b"\r\n\r\n"), text))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    try:
        return await asyncio.start_server(
            answer, host, port, ssl=context, ssl_handshake_timeout=DEADLINE, limit=LONGEST
        )
    except OSError as error:
        raise WorldError(
            Problem(
                "CannotListen",
                f"cannot serve metrics on {listen}: {error.strerror or error}",
                remedy="give an address of this host and a free port with --listen",
            )
        ) from error


def respond(head: bytes, text: Callable[[], bytes]) -> bytes:
    """The whole answer to a request of which `head` came."""
    method, path, *_ = [*head.split(b"\r\n", 1)[0].split(b" "), b"", b""]
    if path.partition(b"?")[0] != b"/metrics":
        return _message("404 Not Found", "text/plain", b"metrics are at /metrics\n")
    if method != b"GET":
        return _message("405 Method Not Allowed", "text/plain", b"GET only\n", ["Allow: GET"])
    return _message("200 OK", CONTENT_TYPE_LATEST, text())


def _message(status: str, kind: str, body: bytes, more: Iterable[str] = ()) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
