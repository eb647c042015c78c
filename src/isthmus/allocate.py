"""Numbers given once: the lowest free one. Pure; the rows are the memory (ADR 0004)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network

from isthmus.compile.view import link_capacity, link_interfaces
from isthmus.errors import Problem, WorldError
from isthmus.model.intent import Pools, Prefix

METADATA = ip_address("169.254.169.254")
"""Clouds answer machines here; no link may hold it."""

NEUTRON_HA = ip_network("169.254.192.0/18")
"""Neutron's HA routers use it (neutron.conf, `l3_ha_net_cidr`)."""

LAST_TAG = 4094


def lowest(taken: Collection[int], first: int, last: int, what: str) -> int:
    """The lowest number from `first` to `last` that is not taken. Raises WorldError when there is none."""
    for number in range(first, last + 1):
        if number not in taken:
            return number
    raise WorldError(
        Problem("Exhausted", f"no {what} is free from {first} to {last}", remedy="enlarge the address pools")
    )


def keep(known: Mapping[str, int], order: Iterable[str], first: int, last: int, what: str) -> dict[str, int]:
    """Numbers for the names in `order`: known ones stay; of two equal ones the first by name.

    Those of names that are not in `order` any more are not given again: what has them may stand until it is reached.
    """
    given: dict[str, int] = {}
    names = sorted(order)
    for name in names:
        if name in known and known[name] not in given.values():
            given[name] = known[name]
    for name in names:
        if name not in given:
            given[name] = lowest({*given.values(), *known.values()}, first, last, what)
    return given


def link(pools: Pools, taken: Collection[int], foreign: Iterable[Prefix]) -> int:
    """A link number that is free on every VPC router that will know the link.

    taken    link numbers known on those routers
    foreign  connected networks and routes of those routers
    """
    busy = [*foreign, NEUTRON_HA]
    for number in range(link_capacity(pools)):
        if number in taken:
            continue
        networks = [i.network for i in link_interfaces(pools, number, 1)]
        if any(METADATA in n for n in networks):
            continue
        if not any(n.version == b.version and n.overlaps(b) for n in networks for b in busy if b.prefixlen):
            return number
    raise WorldError(Problem("Exhausted", "no link range is free on these routers", remedy="enlarge addressPools.link"))
