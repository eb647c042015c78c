"""What the agent tells Prometheus, and to whom: those who hold a certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from isthmus.agent.probe import Prober
from isthmus.backends.http import Page


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


class StepCollector(Collector):
    """Where the time of ADDs went, by step: see `pods.Pods.spent`."""

    def __init__(self, spent: Mapping[str, tuple[int, float]]) -> None:
        self._spent = spent

    def collect(self) -> Iterator[Metric]:
        steps = SummaryMetricFamily("isthmus_cni_add_seconds", "Steps of giving a Pod its interface.", labels=["step"])
        for step, (count, seconds) in self._spent.items():
            steps.add_metric([step], count_value=count, sum_value=seconds)
        yield steps


def page(prober: Prober, spent: Mapping[str, tuple[int, float]] | None = None) -> Page:
    """Prometheus' text format; `spent` of an agent that serves Pods."""
    registry = CollectorRegistry()
    registry.register(ProbeCollector(prober))
    if spent is not None:
        registry.register(StepCollector(spent))
    return Page("200 OK", CONTENT_TYPE_LATEST, generate_latest(registry))


def tls_context(cert: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """Ours, and a client's certificate signed by `client_ca` required."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(cert), str(key))
    return context
