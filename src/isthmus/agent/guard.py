"""Removes the agent's ports when the agent dies or hangs: `python -m isthmus.agent.guard REMOTE RUN`.

The agent's TAP devices vanish with it, and a kernel datapath then drops their ports, by which ovn-controller releases
the probe ports: whoever reads the southbound database knows that nobody probes. The userspace datapath does not notice
(ADR 0007), so a small process of its own waits for the end of the agent, on a pipe that is its standard input.

Bytes on the pipe: any, at least every `HANG` seconds, for a sign of life; `q` at the end for a clean exit.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys

from isthmus.agent import vswitch
from isthmus.errors import WorldError

HANG = 10.0
"""Seconds without a sign of life after which the agent counts as hanging."""

PATIENCE = 30.0
"""Seconds to wait for the local database at most."""

QUIT = b"q"


async def remove_ports(remote: str, run: str) -> None:
    """Remove the ports that one run of the agent made. Raises WorldError, TimeoutError."""
    synced = asyncio.Event()
    client = vswitch.open_client(remote, None, lambda: synced.set() if client.synced else None)
    client.start()
    try:
        async with asyncio.timeout(PATIENCE):
            await synced.wait()
            if operations := vswitch.unplug(client, lambda ids: ids.get(vswitch.RUN) == run):
                await client.transact(operations, "isthmus agent: it died or hangs")
    finally:
        await client.stop()


def main(remote: str, run: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    patience: float | None = HANG
    while True:
        ready, _, _ = select.select([0], [], [], patience)
        data = os.read(0, 4096) if ready else b""
        if data.endswith(QUIT):
            return 0
        if data:
            patience = HANG
            continue
        try:
            asyncio.run(remove_ports(remote, run))
        except (WorldError, TimeoutError) as error:
            print(f"isthmus agent guard: ports remain: {error}", file=sys.stderr)  # noqa: T201
        if ready:
            return 0
        patience = None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
