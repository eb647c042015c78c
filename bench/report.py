"""What a benchmark says: one row per number, as text and in `bench/results/latest.json`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results" / "latest.json"
CONFIDENCE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Aim:
    """`sign` is `<=` or `>=`; `unit` "x" means the ratio to the reference, "" the value itself."""

    sign: str
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g} {self.unit}".strip()

    def met(self, interval: Interval) -> bool:
        """The interval reaches the aim."""
        return interval[0] <= self.limit if self.sign == "<=" else interval[1] >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One number. Intervals hold the median with 95 % confidence, by order statistics: no assumption of a shape.

    value, reference  medians of the samples, in `unit`
    ratio             median of the ratios of the pairs, where they were taken in pairs; else of the medians
    samples           how many were taken of each
    """

    figure: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    samples: int
    command: str
    aim: str | None
    met: bool | None
    interval: Interval
    ratio_interval: Interval | None = None
    peer: str = ""
    note: str = ""
    values: Sequence[float] = ()
    reference_values: Sequence[float] = ()
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    at: str = ""


def interval(values: Sequence[float]) -> Interval:
    """Where the median lies with 95 % confidence; all that was seen where there are fewer than six samples."""
    ordered = sorted(values)
    n = len(ordered)
    low = 0
    while low + 1 < n / 2 and _outside(n, low + 1) <= 1 - CONFIDENCE:
        low += 1
    return ordered[low], ordered[n - 1 - low]


def _outside(n: int, k: int) -> float:
    """Chance that the median lies outside the k-th smallest and k-th largest of n samples, both 0-based."""
    return float(2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)


def compared(
    figure: str,
    unit: str,
    values: Sequence[float],
    references: Sequence[float],
    *,
    command: str,
    peer: str,
    aim: Aim | None = None,
    note: str = "",
) -> Row:
    """A figure and its reference; sample i of both belongs to one pair where there are equally many."""
    if len(values) == len(references):
        ratios = [v / r for v, r in zip(values, references, strict=True)]
        ratio, between = median(ratios), interval(ratios)
    else:
        ratio = median(values) / median(references)
        low, high = interval(values), interval(references)
        between = (low[0] / high[1], low[1] / high[0])
    return _row(figure, unit, values, command, aim, note, references, ratio, between, peer)


def single(
    figure: str, unit: str, values: Sequence[float], *, command: str, aim: Aim | None = None, note: str = ""
) -> Row:
    """A figure that is judged by itself."""
    return _row(figure, unit, values, command, aim, note, (), None, None, "")


def _row(
    figure: str,
    unit: str,
    values: Sequence[float],
    command: str,
    aim: Aim | None,
    note: str,
    references: Sequence[float],
    ratio: float | None,
    between: Interval | None,
    peer: str,
) -> Row:
    own = interval(values)
    judged = between if aim is not None and aim.unit == "x" else own
    return Row(
        figure=figure,
        value=_round(median(values)),
        unit=unit,
        reference=_round(median(references)) if references else None,
        ratio=_round(ratio) if ratio is not None else None,
        samples=len(values),
        command=command,
        aim=str(aim) if aim else None,
        met=aim.met(judged) if aim and judged else None,
        interval=(_round(own[0]), _round(own[1])),
        ratio_interval=(_round(between[0]), _round(between[1])) if between else None,
        peer=peer,
        note=note,
        values=[_round(v) for v in values],
        reference_values=[_round(v) for v in references],
        versions=versions(),
        machine=machine(),
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _round(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def text(row: Row) -> str:
    """A row for people."""
    parts = [f"{row.figure:<44} {row.value:>9g} {row.unit:<8}"]
    parts.append(f"[{row.interval[0]:g} to {row.interval[1]:g}]")
    if row.reference is not None:
        parts.append(f"reference {row.reference:g}, {row.ratio:g} x")
        if row.ratio_interval:
            parts.append(f"[{row.ratio_interval[0]:g} to {row.ratio_interval[1]:g}]")
    if row.aim:
        parts.append(f"aim {row.aim}: {'met' if row.met else 'MISSED'}")
    parts.append(f"n={row.samples}")
    lines = [" ".join(parts)]
    if row.note:
        lines.append(f"    {row.note}")
    return "\n".join(lines)


def write(rows: Iterable[Row], path: Path = RESULTS) -> None:
    """Put rows into the file; rows of figures that were not measured now stay as they were."""
    new = [asdict(row) for row in rows]
    measured = {row["figure"] for row in new}
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [row for row in old if row["figure"] not in measured]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*kept, *new], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# -- where it ran -----------------------------------------------------------------------------------------


@cache
def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "datapath": "kernel" if Path("/sys/module/openvswitch").exists() else "userspace",
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@cache
def versions() -> dict[str, str]:
    return {
        "isthmus": _said(["git", "describe", "--always", "--dirty"], lambda s: s.strip()),
        "python": platform.python_version(),
        "ovn": _said(["ovn-nbctl", "--version"], _first_version),
        "ovs": _said(["ovs-vswitchd", "--version"], _first_version),
    }


def _first_version(said: str) -> str:
    return said.splitlines()[0].rpartition(" ")[2]


def _said(argv: Sequence[str], pick: Callable[[str], str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return pick(done.stdout)


def progress(words: str) -> None:
    """What is done now, on stderr."""
    print(words, file=sys.stderr, flush=True)


def load() -> float:
    """Processes that want to run, over CPUs: a figure taken on a busy machine says so."""
    return os.getloadavg()[0] / len(os.sched_getaffinity(0))
