"""What a person should know of a plan although nothing is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile.view import Side
from isthmus.controller.planner import Planner
from isthmus.model.facts import Role

BFD = "bfd-min-rx"
"""Option of NB_Global without which OVN's own timers hold (ovn-nb(5))."""


def notes(planner: Planner) -> list[str]:
    """Sentences, each once, in a stable order."""
    found: list[str] = []
    for entry in planner.entries.values():
        for side in entry.joined.sides if entry.joined else ():
            found += _of_side(planner, side)
    if found:
        found.append(
            "OVN authenticates no tunnel: every gateway chassis is trusted by every zone it has a tunnel to; "
            "see docs/security.md"
        )
    return list(dict.fromkeys(found))


def _of_side(planner: Planner, side: Side) -> Iterator[str]:
    site = planner.world.sites[side.site]
    yield from _gateways(site, side)
    if any(p.role is Role.EXTERNAL for p in side.vpc.ports):
        yield (
            f"router {side.vpc.name!r} of site {side.site!r} has an external network: a neighbour there could forge a "
            "listed source; a policy of ours drops what did not enter by a listed subnet"
        )
    there = {p.switch_name for p in side.vpc.ports}
    for name in (n for n in side.exclude if n not in there):
        yield (
            f"site {side.site!r}: router {side.vpc.name!r} has no subnet {name!r} any more, which except leaves out; "
            "one that comes by that name will not be connected"
        )
    for option in ("ic-route-adv", "ic-route-learn"):
        if site.nb_global["options"].get(option) == "true":
            yield (
                f"site {side.site!r} has NB_Global options:{option}=true: ovn-ic exchanges routes beside ours, also of "
                "external networks; turn it off unless something else needs it (docs/route-learning.md)"
            )
    if planner.world.fabric.trouble is None and site.site.zone not in planner.world.fabric.zones:
        if site.nb_global["name"]:
            yield f"zone {site.site.zone!r} has not registered in the interconnect database: start ovn-ic for it"
        else:
            yield (
                f"site {side.site!r} has no name in NB_Global: apply writes {site.site.zone!r} there, under which its "
                "ovn-ic registers the zone"
            )


def _gateways(site: OvnSite, side: Side) -> Iterator[str]:
    chassis = site.chassis()
    if len(chassis) == 2 and len(side.gateways) == 2:
        yield (
            f"site {side.site!r} has two chassis: neither takes over from the other, because OVN believes a chassis "
            "without any tunnel to have lost its own network; add a third that carries a part of the router"
        )
    for away in (g for g in side.gateways if g not in chassis):
        yield f"site {side.site!r}: gateway {away!r} is not registered now: it is away, or was taken out for good"
    if len(side.gateways) == 1:
        yield f"site {side.site!r} has one gateway chassis for router {side.vpc.name!r}: there is no failover"
    elif site.site.type == "openstack" and BFD not in site.nb_global["options"]:
        yield (
            f"site {side.site!r}: OVN's own BFD timers take some three seconds to notice a dead gateway; for less set "
            "bfd_min_rx, bfd_min_tx and bfd_mult in [ovn] of Neutron's configuration (28 and later), which owns them"
        )
