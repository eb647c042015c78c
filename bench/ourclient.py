"""Our client in a process of its own: `python -m bench.ourclient TIMES`, a request on stdin (bench/client.py)."""

import time

BEGIN = time.perf_counter()

import asyncio  # noqa: E402  # importing is part of what is measured
import gc  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from statistics import median  # noqa: E402
from typing import Any  # noqa: E402

from isthmus.backends.ovsdb.client import Client  # noqa: E402
from isthmus.model.intent import Endpoint  # noqa: E402

IMPORTED = time.perf_counter() - BEGIN

from bench.memory import rss  # noqa: E402
from isthmus.cli.main import COLLECT  # noqa: E402


async def measure(request: dict[str, Any], transactions: int) -> dict[str, float]:
    wanted = request["databases"][0]
    woken = asyncio.Event()
    client = Client(Endpoint((wanted["remote"],)), wanted["database"], wanted["tables"], wake=woken.set)
    begin = time.perf_counter()
    client.start()
    while not client.synced:
        woken.clear()
        await woken.wait()
    seconds, held = time.perf_counter() - begin, rss()
    times = []
    for number in range(transactions):
        begin = time.perf_counter()
        pair = ["map", [["bench", str(number)]]]
        mutations = [["options", "delete", ["set", ["bench"]]], ["options", "insert", pair]]
        await client.transact([{"op": "mutate", "table": "NB_Global", "where": [], "mutations": mutations}])
        times.append(time.perf_counter() - begin)
    await client.stop()
    return {"seconds": seconds, "rss": held, "import": IMPORTED, "transact": median(times)}


if __name__ == "__main__":
    gc.set_threshold(*COLLECT)
    print(json.dumps(asyncio.run(measure(json.load(sys.stdin), int(sys.argv[1])))))
