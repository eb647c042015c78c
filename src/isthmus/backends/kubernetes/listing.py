"""Vpcs and Subnets of a cluster as its API server has them, read once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx2
from lightkube.core.exceptions import ApiError

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.connect import connect
from isthmus.backends.kubernetes.reflector import PAGE, refusal
from isthmus.errors import Problem
from isthmus.model.intent import Site

KINDS: tuple[type[res.Vpc | res.Subnet], ...] = (res.Vpc, res.Subnet)


async def networks(site: Site, timeout: float) -> list[res.Vpc | res.Subnet] | Problem:
    """All of them, or why there is no answer within `timeout` seconds."""
    client = connect(site.kubeconfig, site.context)
    if isinstance(client, Problem):
        return _of(site, client)
    kind: Any = None
    try:
        async with asyncio.timeout(timeout):
            return [each for kind in KINDS async for each in client.list(cast("Any", kind), chunk_size=PAGE)]
    except ApiError as error:
        return _of(site, refusal(error, kind))
    except (httpx2.HTTPError, OSError) as error:
        said = f"its API server: {error or type(error).__name__}"
        return _of(site, Problem("Unreachable", said, remedy="see that it runs, and that the kubeconfig is current"))
    finally:
        await client.close()


def _of(site: Site, problem: Problem) -> Problem:
    said = f"site {site.name!r}: {problem.message}"
    return Problem(problem.code, said, site.origin.file, site.origin.document, "", problem.remedy)
