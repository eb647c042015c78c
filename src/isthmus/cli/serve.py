"""`isthmus serve`: keep the databases as the documents say, with metrics and health."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from isthmus.backends.http import Page, start_server
from isthmus.cli.common import config_path, listen_address
from isthmus.cli.output import Output
from isthmus.controller.serve import Report, Serve
from isthmus.errors import EXIT_OK

STALE = 10.0
"""Seconds without a pass after which /healthz says no."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="IP:PORT", type=listen_address, help="serve /metrics, /healthz and /readyz there"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request
    path = config_path(args)

    def started() -> None:
        where = f"metrics at http://{args.listen}/metrics" if args.listen else "no metrics: --listen is not given"
        out.note(f"isthmus serve: watches {path} and the databases that it names; {where}")

    asyncio.run(_serve(Serve(path), args.listen, started))
    out.result({"stopped": True})
    return EXIT_OK


async def _serve(serve: Serve, listen: str | None, started: Callable[[], None]) -> None:
    task = asyncio.create_task(serve.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    server = await start_server(listen, None, _pages(serve)) if listen else None
    started()
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        if server is not None:
            server.close()


def _pages(serve: Serve) -> dict[str, Callable[[], Page]]:
    registry = CollectorRegistry()
    registry.register(_Collector(serve))

    def health() -> Page:
        alive = time.monotonic() - serve.report.at < STALE
        return _text("200 OK", "ok") if alive else _text("503 Service Unavailable", "no pass lately")

    def ready() -> Page:
        report = serve.report
        if not report.listed:
            return _text("503 Service Unavailable", "the documents cannot be read as a whole")
        return _text("200 OK", "active" if report.active else "standing by")

    return {
        "/metrics": lambda: Page("200 OK", CONTENT_TYPE_LATEST, generate_latest(registry)),
        "/healthz": health,
        "/readyz": ready,
    }


def _text(status: str, text: str) -> Page:
    return Page(status, "text/plain", f"{text}\n".encode())


class _Collector(Collector):
    """Reads the last report when it is scraped."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def collect(self) -> Iterator[Metric]:
        report: Report = self._serve.report
        for name, text, value in (
            ("isthmus_active", "1 while this process holds every lock.", float(report.active)),
            ("isthmus_documents_listed", "1 while every document can be read.", float(report.listed)),
            ("isthmus_document_problems", "Problems of the documents.", float(len(report.problems))),
            ("isthmus_pass_seconds", "Duration of the last pass.", report.seconds),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        yield CounterMetricFamily("isthmus_passes", "Passes.", value=report.passes)
        yield CounterMetricFamily(
            "isthmus_transactions", "Transactions that a database accepted.", value=report.transactions
        )
        labels = ["interconnect", "condition", "reason"]
        condition = GaugeMetricFamily("isthmus_condition", "1 True, 0 False, -1 Unknown.", labels=labels)
        values = {"True": 1.0, "False": 0.0, "Unknown": -1.0}
        for name, found in report.conditions.items():
            for each in found:
                condition.add_metric([name, each.type, each.reason], values[each.status])
        yield condition
        trouble = GaugeMetricFamily("isthmus_unreachable", "1 for what cannot be worked on.", labels=["site", "reason"])
        for name, problem in report.troubles.items():
            trouble.add_metric([name or "(fabric)", problem.code], 1.0)
        yield trouble
