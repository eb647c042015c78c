"""`./run bench [FIGURE…]`: measure, print, write `bench/results/latest.json`. Exit code 0 whatever the figures say.

`./run docs` puts what was measured into the pages that show it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from importlib import import_module

from bench import inlab
from bench.report import Row, load, progress, text, write

FIGURES: dict[str, tuple[str, str, int]] = {
    "apply": ("bench.joining", "apply", 15),
    "disconnect": ("bench.joining", "disconnect", 15),
    "subnet": ("bench.listing", "subnet", 12),
    "crossing": ("bench.crossing", "crossing", 12),
    "failover": ("bench.crossing", "failover", 10),
    "hundred": ("bench.scale", "hundred", 10),
    "thousand": ("bench.scale", "thousand", 10),
    "client": ("bench.client", "client", 10),
    "transactions": ("bench.scale", "transactions", 10),
    "mass": ("bench.mass", "mass", 3),
    "ready": ("bench.ready", "ready", 5),
    "cloud-connect": ("bench.cloud", "connect", 10),
    "cloud-many": ("bench.cloud", "many", 1),
    "cloud-thousand": ("bench.cloud", "thousand", 1),
    "cloud-idle": ("bench.cloud", "idle", 3),
    "cloud-change": ("bench.cloud", "change", 40),
    "pods": ("bench.pods", "rate", 10),
    "passes": ("bench.pods", "passes", 3),
    "attach": ("bench.attach", "attach", 100),
    "between": ("bench.between", "between", 10),
    "running": ("bench.running", "running", 10),
}
"""Name -> module, function, samples by default."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--samples", type=int, metavar="N", help="pairs of samples instead of each figure's own number")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results/latest.json alone")
    args = parser.parse_args()
    if unknown := [name for name in args.figures if name not in FIGURES]:
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    inlab.compile_bytecode()
    for name in args.figures or FIGURES:
        progress(f"{name} (load per CPU {load():.1f})")
        rows = list(_measure(name, args.samples))
        for row in rows:
            print(text(row), flush=True)
        if not args.no_write:
            write(rows)
    return 0


def _measure(name: str, samples: int | None) -> Iterator[Row]:
    module, function, default = FIGURES[name]
    measure: Callable[[int], Iterator[Row]] = getattr(import_module(module), function)
    return measure(samples or default)


if __name__ == "__main__":
    raise SystemExit(main())
