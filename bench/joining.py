"""`apply` start to first packet, `disconnect` start to last packet; against prepared scripts of OVN's own tools."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench import inlab, prepared
from bench.report import Aim, Row, compared, progress, single
from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Streams

INTERVAL = 0.005
"""Seconds between two packets."""

PAIRS = [("cloud-a-web-1", "cluster-a-pods-1"), ("cluster-a-pods-1", "cloud-a-web-1")]

APPLY = "isthmus apply"
DISCONNECT = "isthmus disconnect tenant-a"


def apply(rounds: int) -> Iterator[Row]:
    """Start of the command, interpreter included, until a packet has crossed in both directions."""
    with inlab.lab(name="apply") as lab:
        site = _Joining(lab)
        ours, theirs = [], []
        for number in range(rounds):
            for way in order(number):
                argv = ["isthmus", "apply"] if way == "ours" else ["sh", "-c", site.script]
                (ours if way == "ours" else theirs).append(site.join(argv))
            progress(f"  apply {number + 1}/{rounds}: {ours[-1]:.3f} s, reference {theirs[-1]:.3f} s")
    yield compared(
        "apply-first-packet", "s", ours, theirs, command=APPLY, peer="the same rows by ovn-ic-nbctl and ovn-nbctl",
        aim=Aim("<=", 1.2, "x"), note="two sites, one tenant, over ssl:; packets every 5 ms in both directions",
    )  # fmt: skip


def disconnect(rounds: int) -> Iterator[Row]:
    """Start of the command until the last packet of either direction has arrived."""
    with inlab.lab(name="cut") as lab:
        site = _Joining(lab)
        ours, theirs = [], []
        for number in range(rounds):
            for way in order(number):
                inlab.operator(lab, "apply", "--wait", "programmed")
                time.sleep(0.3)
                argv = ["isthmus", "disconnect", "tenant-a"]
                if way != "ours":
                    argv = ["sh", "-c", prepared.cut_script(lab, site.bare)]
                (ours if way == "ours" else theirs).append(site.cut(argv))
            progress(f"  disconnect {number + 1}/{rounds}: {ours[-1]:.3f} s, reference {theirs[-1]:.3f} s")
    note = "two sites, one tenant, over ssl:; packets every 5 ms in both directions"
    peer = "the same rows removed by ovn-nbctl"
    yield single("disconnect-last-packet", "s", ours, command=DISCONNECT, aim=Aim("<=", 1.0), note=note)
    yield compared(
        "disconnect-last-packet-against-tools", "s", ours, theirs, command=DISCONNECT, peer=peer,
        aim=Aim("<=", 1.2, "x"), note=note,
    )  # fmt: skip


def order(number: int) -> tuple[str, str]:
    return ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours")


class _Joining:
    """A lab that is joined and cut again and again."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.bare = inlab.bare(lab)
        self._documents = lab.paths.config / "interconnects.yaml"
        self._text = self._documents.read_text(encoding="utf-8")
        # The first write ever claims the owner's name; from then on every plan is the same.
        inlab.operator(lab, "apply", "--wait", "programmed")
        self._clean()
        self.script = prepared.join_script(lab, lab.paths.config)

    def _clean(self) -> None:
        inlab.operator(self.lab, "apply", "--prune", "-f", str(self.bare))
        Path(self._documents).write_text(self._text, encoding="utf-8")
        time.sleep(0.5)

    def join(self, argv: list[str]) -> float:
        """Seconds from start to the first packet of the slower direction."""
        gate = inlab.Gate(self.lab, argv)
        with Streams(self.lab, PAIRS, interval=INTERVAL) as streams:
            time.sleep(0.2)
            at = gate.open()
            first = max(streams.wait(pair, timeout=20.0) for pair in PAIRS)
            gate.end()
        self._clean()
        return (first - at) / 1e9

    def cut(self, argv: list[str]) -> float:
        """Seconds from start to the last packet of the slower direction."""
        gate = inlab.Gate(self.lab, argv)
        with Streams(self.lab, PAIRS, interval=INTERVAL) as streams:
            for pair in PAIRS:
                streams.wait(pair)
            time.sleep(0.2)
            at = gate.open()
            gate.end()
            time.sleep(0.3)
            reports = streams.stop(settle=0.2)
        last = max(r.last or 0 for r in reports.values())
        still = [pair for pair, r in reports.items() if r.last and r.last > time.time_ns() - 200_000_000]
        if still:
            raise RuntimeError(f"packets of {still} still arrive")
        self._clean()
        return (last - at) / 1e9
