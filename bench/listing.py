"""A subnet is added: until its first packet; under `serve`, and where ovn-ic advertises and learns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import direct, inlab
from bench.crossing import GATEWAYS
from bench.joining import order
from bench.report import Row, compared, progress
from isthmus.lab.lab import Lab
from isthmus.lab.layout import mac
from isthmus.lab.traffic import Streams

PAIRS = [("cloud-a-db-1", "cluster-a-pods-1"), ("cluster-a-pods-1", "cloud-a-db-1")]
INTERVAL = 0.005


def subnet(rounds: int) -> Iterator[Row]:
    with inlab.lab(name="subnet") as lab, inlab.lab(name="learn") as plain:
        documents = lab.paths.config / "interconnects.yaml"
        whole = documents.read_text(encoding="utf-8")
        without = whole.replace("[a-web, a-db]", "[a-web]")
        _replace(documents, without)
        inlab.operator(lab, "apply", "--wait", "programmed")
        direct.learn(plain)
        direct.join(plain, "a", GATEWAYS, {})
        _unplug(plain)
        ours, theirs = [], []
        with inlab.serving(lab, 3.0):
            for number in range(rounds):
                for way in order(number):
                    if way == "ours":
                        ours.append(_first(lab, lambda: _replace(documents, whole)))
                        _replace(documents, without)
                    else:
                        theirs.append(_first(plain, lambda: _plug(plain)))
                        _unplug(plain)
                time.sleep(1.0)
                progress(f"  subnet {number + 1}/{rounds}: {ours[-1]:.3f} s, learnt {theirs[-1]:.3f} s")
    yield compared(
        "subnet-first-packet", "s", ours, theirs, command="isthmus serve; a subnet is added to a document",
        peer="ovn-ic advertises and learns; the subnet's router port is added with ovn-nbctl",
        note="until a packet has crossed in both directions; packets every 5 ms",
    )  # fmt: skip


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _first(lab: Lab, add: Callable[[], None]) -> float:
    with Streams(lab, PAIRS, interval=INTERVAL) as streams:
        time.sleep(0.3)
        begin = time.time_ns()
        add()
        return (max(streams.wait(pair, timeout=20.0) for pair in PAIRS) - begin) / 1e9


def _plug(lab: Lab) -> None:
    lab.site("cloud").nbctl("lrp-add", "a", "a-a-db", mac("cloud", "a-db", "router"), "10.1.2.1/24")


def _unplug(lab: Lab) -> None:
    lab.site("cloud").nbctl("lrp-del", "a-a-db")
    time.sleep(0.5)
