"""Makes Pods as fast as an API server takes them: `python -m bench.podmaker KEYS URL COUNT NODES`.

Prints when it sent the first one, in nanoseconds since the epoch, and how many seconds all answers took.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

AT_ONCE = 16


def pod(number: int, nodes: int) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "imagePullPolicy": "Never"}
    spec = {"nodeName": f"hollow-{number % nodes}", "containers": [container], "tolerations": [{"operator": "Exists"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": spec}


async def make(keys: Path, url: str, count: int, nodes: int) -> None:
    tls = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    tls.load_cert_chain(keys / "admin.pem", keys / "admin-key.pem")
    numbers = iter(range(count))

    async def worker(client: httpx2.AsyncClient) -> None:
        for number in numbers:
            answer = await client.post("/api/v1/namespaces/default/pods", json=pod(number, nodes))
            answer.raise_for_status()

    async with httpx2.AsyncClient(base_url=url, verify=tls, timeout=60.0, trust_env=False) as client:
        (await client.get("/version")).raise_for_status()
        begin = time.time_ns()
        await asyncio.gather(*(worker(client) for _ in range(AT_ONCE)))
        print(json.dumps({"begin": begin, "seconds": (time.time_ns() - begin) / 1e9}))


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
