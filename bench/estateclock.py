"""Times passes over a cluster's networks, inside the process that keeps them: `python -m bench.estateclock CONFIG`.

What the pages call a pass is `Networks.step`: read what changed, judge, compile, compare, write. Prints milliseconds of
the first pass over everything that stands, of ones that compare everything and of ones that compare one Pod, and what
the process holds, in bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from bench.memory import rss
from isthmus.backends.files import load
from isthmus.controller.networks import Networks

TIMES = 12


async def measure(path: Path) -> None:
    (site,) = (s for s in load(path).sites if s.keeps_networks)
    networks = Networks(site)
    networks.store.start()
    networks.cluster.start()
    try:
        begun = 0.0
        while not networks.active:
            await asyncio.wait_for(networks.woken.wait(), 60)
            networks.woken.clear()
            begun = await _timed(networks)
        while await networks.step():
            await asyncio.sleep(0.1)
        everything = list(networks.store.index.owned)
        pod = next(group for group in everything if group.startswith("pod.default."))
        all_of_it, one = [], []
        for _ in range(TIMES):
            networks.store.touch(everything)
            all_of_it.append(await _timed(networks))
            networks.store.touch([pod])
            one.append(await _timed(networks))
        print(json.dumps({"begin": begun, "all": all_of_it, "one": one, "rss": rss(), "groups": len(everything)}))
    finally:
        await asyncio.gather(networks.store.stop(), networks.cluster.stop())


async def _timed(networks: Networks) -> float:
    begin = time.perf_counter()
    await networks.step()
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    asyncio.run(measure(Path(sys.argv[1])))
