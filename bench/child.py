"""Measured in a process of its own: `python -m bench.child MODE CONFIG [BATCH]` prints one JSON object.

sync   connect until everything is listed
apply  sync, then write everything (first apply, where nothing stands yet)
       BATCH: Interconnects in one transaction
noop   sync, then passes from scratch that find nothing to do
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from bench.memory import rss
from isthmus.backends.files import load
from isthmus.cli.main import COLLECT
from isthmus.controller import write
from isthmus.controller.once import Once, scope
from isthmus.controller.planner import Planner

Found = dict[str, float]


async def _sync(config: Path) -> tuple[Once, Found, object]:
    begin = time.perf_counter()
    configuration = load(config)
    read = time.perf_counter()
    fabric = configuration.fabrics[0]
    once = Once(configuration, fabric, writes=True, timeout=300)
    await once.__aenter__()
    if once.troubles:
        raise RuntimeError(str(once.troubles))
    done = time.perf_counter()
    return once, {"read": read - begin, "sync": done - read}, scope(configuration, fabric, prune=True)


async def sync(config: Path) -> Found:
    once, found, _ = await _sync(config)
    found["rss"] = rss()
    await once.__aexit__()
    return found


async def apply(config: Path) -> Found:
    once, found, what = await _sync(config)
    begin = time.perf_counter()
    await once.apply(what, "none", lambda _: None)  # type: ignore[arg-type]
    found["apply"] = time.perf_counter() - begin
    found["transactions"] = once.writer.transactions
    found["rss"] = rss()
    await once.__aexit__()
    return found


async def noop(config: Path) -> Found:
    once, found, what = await _sync(config)
    times = []
    for _ in range(5):
        once.planner = Planner(once.world)
        begin = time.perf_counter()
        once.plan(what)  # type: ignore[arg-type]
        times.append(time.perf_counter() - begin)
        if not all(e.clean for e in once.planner.entries.values()):
            raise RuntimeError("something is to be written")
    found["noop"] = median(times)
    begin = time.perf_counter()
    once.plan(what)  # type: ignore[arg-type]
    found["again"] = time.perf_counter() - begin
    found["rss"] = rss()
    await once.__aexit__()
    return found


def main() -> None:
    gc.set_threshold(*COLLECT)
    if len(sys.argv) > 3:
        write.BATCH = int(sys.argv[3])
    modes: dict[str, Callable[[Path], Awaitable[Found]]] = {"sync": sync, "apply": apply, "noop": noop}
    print(json.dumps(asyncio.run(modes[sys.argv[1]](Path(sys.argv[2])))))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
