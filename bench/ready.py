"""A lab, from the start of the command until it is ready, with everything that it needs in the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench import inlab
from bench.report import Aim, Row, progress, single

HERE = Path(__file__).parent
LABS: dict[str, tuple[str | Path, int | None, float | None]] = {
    "two-sites": ("two-sites", None, 5.0),
    "cloud-without-nova": (HERE / "cloud.yaml", 2, 30.0),
    "cloud-with-guests": (HERE / "guests.yaml", None, 60.0),
    "cluster": (HERE / "cluster.yaml", 0, 30.0),
    "cluster-to-cloud": ("cluster-to-cloud", None, None),
}
"""What -> lab file, tenants, and the seconds that it may take, if somebody said."""


def ready(rounds: int) -> Iterator[Row]:
    taken: dict[str, list[float]] = {what: [] for what in LABS}
    for number in range(rounds):
        for what, (file, tenants, _) in LABS.items():
            begin = time.monotonic()
            with inlab.lab(file, name="ready", tenants=tenants):
                taken[what].append(time.monotonic() - begin)
        progress(f"  ready {number + 1}/{rounds}: " + ", ".join(f"{w} {t[-1]:.1f} s" for w, t in taken.items()))
    for what, (file, _, limit) in LABS.items():
        command = f"isthmus lab up {file.name if isinstance(file, Path) else file}"
        aim = Aim("<=", limit) if limit else None
        yield single(f"lab-ready-{what}", "s", taken[what], command=command, aim=aim)
