"""Networks of clusters for `status`: what whoever keeps them has said of them. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, cast

from isthmus.backends.kubernetes import listing
from isthmus.controller.conditions import Condition
from isthmus.errors import Problem
from isthmus.model.intent import Site

NOT_YET = Condition("Ready", "Unknown", "NotKept", "no `isthmus serve` has looked at it yet", 0)


async def networks(sites: Iterable[Site], timeout: float) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Objects of the contract, called SITE/NAME, and which API servers do not answer within `timeout` seconds."""
    clusters = [site for site in sites if site.keeps_networks]
    answers = await asyncio.gather(*(listing.networks(site, timeout) for site in clusters))
    objects, problems = [], []
    for site, answer in zip(clusters, answers, strict=True):
        if isinstance(answer, Problem):
            problems.append(answer)
            continue
        for found in answer:
            conditions = list(_conditions(found.status)) or [NOT_YET]
            name = f"{site.name}/{found.metadata.name}"
            told = [each.fields() for each in conditions]
            objects.append({"kind": type(found).__name__, "name": name, "conditions": told})
    return objects, problems


def _conditions(status: Any) -> Iterator[Condition]:
    for each in status.get("conditions") or ():
        kind, state, reason, message = (str(each.get(f, "")) for f in ("type", "status", "reason", "message"))
        yield Condition(kind, cast("Any", state), reason, message, int(each.get("observedGeneration", 0)))
