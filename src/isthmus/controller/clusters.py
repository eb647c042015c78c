"""Networks of clusters as their API servers have them, for `status`: what whoever keeps them has said. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, cast

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.connect import connect
from isthmus.backends.kubernetes.reflector import PAGE, refusal
from isthmus.controller.conditions import Condition
from isthmus.errors import Problem
from isthmus.model.intent import Site

KINDS: tuple[type[res.Vpc | res.Subnet], ...] = (res.Vpc, res.Subnet)
NOT_YET = Condition("Ready", "Unknown", "NotKept", "no `isthmus serve` has looked at it yet", 0)


async def networks(sites: Iterable[Site], timeout: float) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Objects of the contract, called SITE/NAME, and which API servers do not answer within `timeout` seconds."""
    clusters = [site for site in sites if site.type == "kubernetes" and site.plugin == "isthmus"]
    answers = await asyncio.gather(*(_read(site, timeout) for site in clusters))
    objects = [each for answer in answers if not isinstance(answer, Problem) for each in answer]
    return objects, [answer for answer in answers if isinstance(answer, Problem)]


async def _read(site: Site, timeout: float) -> list[dict[str, Any]] | Problem:
    assert site.kubeconfig is not None
    client = connect(site.kubeconfig, site.context)
    if isinstance(client, Problem):
        return _of(site, client)
    kind: Any = None
    try:
        async with asyncio.timeout(timeout):
            found = []
            for kind in KINDS:
                found += [each async for each in _objects(site, client, kind)]
            return found
    except ApiError as error:
        return _of(site, refusal(error, kind))
    except (httpx2.HTTPError, OSError) as error:
        said = f"its API server: {error or type(error).__name__}"
        return _of(site, Problem("Unreachable", said, remedy="see that it runs, and that the kubeconfig is current"))
    finally:
        await client.close()


async def _objects(site: Site, client: AsyncClient, kind: type[res.Vpc | res.Subnet]) -> Any:
    async for found in client.list(cast("Any", kind), chunk_size=PAGE):
        conditions = list(_conditions(found.status)) or [NOT_YET]
        name = f"{site.name}/{found.metadata.name}"
        yield {"kind": kind.__name__, "name": name, "conditions": [c.fields() for c in conditions]}


def _conditions(status: Any) -> Iterator[Condition]:
    for each in status.get("conditions") or ():
        kind, state, reason, message = (str(each.get(f, "")) for f in ("type", "status", "reason", "message"))
        yield Condition(kind, cast("Any", state), reason, message, int(each.get("observedGeneration", 0)))


def _of(site: Site, problem: Problem) -> Problem:
    said = f"site {site.name!r}: {problem.message}"
    return Problem(problem.code, said, site.origin.file, site.origin.document, "", problem.remedy)
