"""What happened when packets were lost: for the message of a test that failed, so that one failure is enough."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Pair, Report

AROUND = 0.5
"""Seconds before the first and after the last lost packet of which logs are shown."""


def around(lab: Lab, reports: Mapping[Pair, Report]) -> str:
    """Which packets of which pairs were lost and when, what daemons said then, and whose sockets overflowed."""
    lost = {pair: r.lost for pair, r in reports.items() if r.lost}
    if not lost:
        return ""
    times = [at / 1e9 for found in lost.values() for _, at in found]
    lines = [
        f"{a} > {b}: {len(f)} lost, {_clock(f[0][1] / 1e9)} to {_clock(f[-1][1] / 1e9)}" for (a, b), f in lost.items()
    ]
    lines += sorted(_said(lab, min(times) - AROUND, max(times) + AROUND))
    return "\n".join([*lines, *_overflows(lab)])


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S.%f")[:-3]


def _said(lab: Lab, begin: float, end: float) -> Iterator[str]:
    """Lines of Open vSwitch's and OVN's logs, which begin with the time in UTC."""
    for key in lab.state.daemons:
        log = lab.daemon(key).log
        for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
            if re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line):
                at = datetime.strptime(line[:23], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC).timestamp()
                if begin <= at <= end:
                    yield f"  {line[11:23]} {key}: {line[25:300]}"


def _overflows(lab: Lab) -> Iterator[str]:
    """Packet sockets, of the userspace datapath for instance, that had no room: `d` in what ss calls skmem."""
    for host in (h.name for site in lab.sites for h in site.hosts):
        for drops in re.findall(r"skmem:\([^)]*,d(\d+)\)", lab.exec(host, ["ss", "--packet", "--memory"]).stdout):
            if int(drops):
                yield f"  {host}: a packet socket dropped {drops}"
