"""Round trip and TCP throughput across, against VPC routers on the transit switch itself; and a gateway that fails."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial

import yaml

from bench import direct, inlab
from bench.echo import ECHOES, round_trip
from bench.joining import order
from bench.report import Aim, Row, compared, progress, single
from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Stream

TCP_SECONDS = 2
GATEWAYS = {"cloud": ("cloud-1", "cloud-2"), "cluster": ("cluster-1", "cluster-2")}
WAY = {"ours": ("cloud-a-web-2", "cluster-a-pods-2"), "theirs": ("cloud-b-web-2", "cluster-b-pods-2")}
"""Endpoints on hosts that are no gateways, so that both ways cross four hosts."""

PEER = "VPC routers directly on a transit switch, same gateways"


def crossing(rounds: int) -> Iterator[Row]:
    with inlab.lab(name="crossing", tenants=2) as lab:
        _same_gateways(lab)
        inlab.operator(lab, "apply", "--wait", "programmed")
        routes = {"cloud": ["10.2.1.0/24", "10.2.2.0/24"], "cluster": ["10.1.1.0/24", "10.1.2.0/24"]}
        direct.join(lab, "b", GATEWAYS, routes)
        for source, target in WAY.values():
            with Stream(lab, source, target) as stream:
                stream.wait(timeout=20)
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(rounds):
            for way in order(number):
                times[way].append(_round_trip(lab, *WAY[way]))
            for way in order(number):
                rates[way].append(_throughput(lab, *WAY[way]))
            said = ", ".join(f"{w}: {times[w][-1]:.0f} us {rates[w][-1]:.0f} Mbit/s" for w in times)
            progress(f"  crossing {number + 1}/{rounds}: {said}")
    note = "two sites, endpoints beside the gateways: four hosts on the way"
    yield compared(
        "round-trip", "us", times["ours"], times["theirs"], command=f"median of {ECHOES} ICMP echoes", peer=PEER,
        aim=Aim("<=", 1.05, "x"), note=note,
    )  # fmt: skip
    yield compared(
        "tcp-throughput", "Mbit/s", rates["ours"], rates["theirs"], command=f"iperf3 -t {TCP_SECONDS}", peer=PEER,
        aim=Aim(">=", 0.97, "x"), note=note,
    )  # fmt: skip


def _same_gateways(lab: Lab) -> None:
    """Tenant a alone by Isthmus, on the gateways that the peer has as well."""
    path = lab.paths.config / "interconnects.yaml"
    wanted = [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d["metadata"]["name"] == "tenant-a"]
    for attachment in wanted[0]["spec"]["attachments"]:
        attachment["gateways"] = list(GATEWAYS[attachment["site"]])
    path.write_text(yaml.safe_dump_all(wanted), encoding="utf-8")


def _round_trip(lab: Lab, source: str, target: str) -> float:
    return round_trip(lab.state.path(source), _address(lab, target))


def _throughput(lab: Lab, source: str, target: str) -> float:
    def run(where: str, argv: list[str]) -> subprocess.Popen[str]:
        return lab.popen(where, argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    return throughput(partial(run, source), partial(run, target), _address(lab, target))


def _address(lab: Lab, name: str) -> str:
    return next(str(a.ip) for a in lab.machine(name).addresses if a.version == 4)


Run = Callable[[list[str]], "subprocess.Popen[str]"]
"""Starts a command somewhere, its output in a pipe."""


def throughput(source: Run, target: Run, address: str) -> float:
    """Megabits per second that a TCP flow brings to its receiver."""
    server = target(["iperf3", "-s", "-1"])
    try:
        time.sleep(0.3)
        said, _ = source(["iperf3", "-c", address, "-t", str(TCP_SECONDS), "-J"]).communicate(timeout=30)
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e6
    finally:
        server.terminate()
        server.wait()


# -- a gateway that fails ---------------------------------------------------------------------------------

INTERVAL = 0.01
TIMERS = ("bfd-min-rx", "bfd-min-tx", "bfd-mult")


def failover(rounds: int) -> Iterator[Row]:
    """The uplink of the gateway that carries the site's end is cut."""
    with inlab.lab(name="failover") as lab:
        _with_timers(lab)
        _same_gateways(lab)
        inlab.operator(lab, "apply", "--wait", "programmed")
        ours, theirs = [], []
        for number in range(rounds):
            for way in order(number):
                _timers(lab, spec=way == "ours")
                (ours if way == "ours" else theirs).append(_outage(lab))
            progress(f"  failover {number + 1}/{rounds}: {ours[-1]:.2f} s, default timers {theirs[-1]:.2f} s")
    note = "packets lost x 10 ms; two gateways of three hosts, userspace datapath"
    command = "spec.bfd 100 ms x 3"
    yield single("gateway-cut-lost", "s", ours, command=command, aim=Aim("<=", 0.3), note=note)
    yield compared(
        "gateway-cut-lost-against-default", "s", ours, theirs, command=command, peer="OVN's default timers", note=note
    )


def _with_timers(lab: Lab) -> None:
    path = lab.paths.config / "fabric.yaml"
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for document in documents:
        if document["kind"] == "Site":
            document["spec"]["bfd"] = {"minRx": 100, "minTx": 100, "mult": 3}
    path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")


def _timers(lab: Lab, *, spec: bool) -> None:
    if spec:
        inlab.operator(lab, "apply", "--wait", "programmed")
    else:
        for site in lab.sites:
            site.nbctl("remove", "NB_Global", ".", "options", *TIMERS)
    # sessions of the tunnels take the new timers, and come up again
    time.sleep(4.0)


def _outage(lab: Lab) -> float:
    port = "isthmus-default.tenant-a.cloud.transit"
    preferred, second = GATEWAYS["cloud"]
    direct.wait_carried(lab, "cloud", port, preferred)
    with Stream(lab, *WAY["ours"], interval=INTERVAL) as stream:
        stream.wait()
        time.sleep(0.5)
        lab.host(preferred).cut()
        direct.wait_carried(lab, "cloud", port, second)
        time.sleep(1.5)
        report = stream.report()
    lab.host(preferred).heal()
    direct.wait_carried(lab, "cloud", port, preferred)
    if not report.arrivals or report.arrivals.keys().isdisjoint(range(report.sent - 50, report.sent)):
        raise RuntimeError("the path did not come back")
    return len(report.lost) * INTERVAL
