"""What a lab file may say of a site of type `kubernetes`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.lab.spec import Site

Found = tuple[str, str, str]
"""Message, field in the site, remedy."""


def of_kubernetes(site: Site) -> Iterator[Found]:
    """What a cluster does not offer."""
    for part, things in site.parts:
        for what in ("routers", "switches"):
            if getattr(things, what):
                remedy = "leave them out: a cluster's networks are made through its API"
                yield f"the lab makes no {what} in a cluster", f"{part}{what}", remedy
