"""What the documents want of one Fabric, refused ones included: `serve` and `status` go on all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.api import Listing
from isthmus.errors import Problem
from isthmus.model.intent import Fabric, Interconnect


@dataclass(frozen=True, slots=True)
class Wanted:
    """interconnects  by name, refused ones whose attachments can be told included
    invalid        what is wrong with the text of those: they may only lose reach
    unreadable     names of which not even that can be told, and why: what stands of them is left alone
    """

    interconnects: Mapping[str, Interconnect]
    invalid: Mapping[str, tuple[Problem, ...]]
    unreadable: Mapping[str, tuple[Problem, ...]]


def wanted(listing: Listing, fabric: Fabric) -> Wanted:
    found = {i.name: i for i in listing.configuration.interconnects if i.fabric == fabric.name}
    invalid: dict[str, tuple[Problem, ...]] = {}
    unreadable: dict[str, tuple[Problem, ...]] = {}
    others = {f.name for f in listing.configuration.fabrics} - {fabric.name}
    for refused in listing.refused:
        if refused.fabric in others:
            found.pop(refused.name, None)
        elif refused.attachments is None:
            unreadable[refused.name] = refused.problems
            found.pop(refused.name, None)
        else:
            found[refused.name] = Interconnect(refused.name, fabric.name, refused.attachments)
            invalid[refused.name] = refused.problems
    return Wanted(found, invalid, unreadable)
