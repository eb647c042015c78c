"""What every edge router's row records of its whole Interconnect (`isthmus:sides`, JSON).

Later passes, other machines, and passes that cannot reach one of the sites find here what text and facts no longer
tell: numbers given once, what was connected, which chassis carried it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_interface
from typing import Any

from isthmus.compile.view import Joined, Side
from isthmus.model.facts import Interface, Subnet, Vpc
from isthmus.model.intent import Attachment, Prefix

SIDES = "isthmus:sides"

NUDGES = "isthmus:nudges"
"""On an edge's port of the transit switch, from the first nudge on."""

REFUSED = "isthmus:refused"
"""On a site's first edge: how its API refused the last call of this Interconnect (a Problem, JSON).

Whoever asks for the state is another process than the one that was refused.
"""


@dataclass(frozen=True, slots=True)
class SideRecord:
    """One Attachment as it was programmed. `numbers` holds `transit`, `link` and, of a further edge, `inner`.

    subnets    name -> the router's addresses, of all switches that have the name
    ids        UUID -> name, of subnets that the text lists by `id`
    hostnames  hostname -> chassis, of gateways that the text names so
    exclude    what `except` named, each a subnet of the VPC when it was new
    """

    site: str
    vpc: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    subnets: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    ids: Mapping[str, str] = field(default_factory=dict)
    hostnames: Mapping[str, str] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    @property
    def prefixes(self) -> frozenset[Prefix]:
        return frozenset(a.network for addresses in self.subnets.values() for a in addresses)

    def side(self, attachment: Attachment) -> Side:
        """The side as far as others need it, of a site that cannot be read: what stood and is still listed."""
        listed = {s.name if s.id is None else self.ids.get(s.id) for s in attachment.subnets}
        uuids = {name: uuid for uuid, name in self.ids.items()}
        subnets = tuple(
            Subnet(name, tuple(sorted({a.network for a in addresses}, key=str)), addresses, (), uuids.get(name, ""))
            for name, addresses in sorted(self.subnets.items())
            if name in listed or (attachment.every and name not in attachment.exclude)
        )
        vpc = Vpc(self.site, self.vpc, str(attachment.vpc), ())
        exclude = tuple(name for name in self.exclude if name in attachment.exclude)
        return Side(attachment, vpc, subnets, (), self.gateways, self.probes, self.hostnames, exclude)


def of(joined: Joined) -> dict[str, SideRecord]:
    """Records of all sides, by attachment."""
    found: dict[str, SideRecord] = {}
    for side in joined.sides:
        given = joined.numbers[side.name]
        numbers = {"transit": given.transit, "link": given.link}
        if given.inner is not None:
            numbers["inner"] = given.inner
        subnets: dict[str, tuple[Interface, ...]] = {}
        for subnet in side.subnets:
            # OVN lets two switches of one router have the same name.
            subnets[subnet.name] = subnets.get(subnet.name, ()) + subnet.addresses
        listed = {s.id for s in side.attachment.subnets}
        ids = {s.id: s.name for s in side.subnets if s.id in listed}
        found[side.name] = SideRecord(
            side.site, side.vpc.uuid, numbers, subnets, side.gateways, side.probes, ids, side.hostnames, side.exclude
        )
    return found


def dump(records: Mapping[str, SideRecord]) -> str:
    body = {
        name: {
            "site": r.site,
            "vpc": r.vpc,
            "numbers": dict(r.numbers),
            "subnets": {subnet: [str(a) for a in addresses] for subnet, addresses in r.subnets.items()},
            "gateways": list(r.gateways),
            "probes": list(r.probes),
        }
        | ({"ids": dict(r.ids)} if r.ids else {})
        | ({"hostnames": dict(r.hostnames)} if r.hostnames else {})
        | ({"except": list(r.exclude)} if r.exclude else {})
        for name, r in records.items()
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=64)
def parse(text: str) -> Mapping[str, SideRecord]:
    """Inverse of `dump`. What somebody garbled is as good as lost, {}: another edge's copy replaces it.

    Cached: every edge of an Interconnect carries the same text.
    """
    try:
        return {name: _one(body) for name, body in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _one(body: Mapping[str, Any]) -> SideRecord:
    return SideRecord(
        site=str(body["site"]),
        vpc=str(body["vpc"]),
        numbers={str(k): int(v) for k, v in body["numbers"].items()},
        subnets={str(k): tuple(map(ip_interface, v)) for k, v in body["subnets"].items()},
        gateways=tuple(map(str, body["gateways"])),
        probes=tuple(map(str, body["probes"])),
        ids={str(k): str(v) for k, v in body.get("ids", {}).items()},
        hostnames={str(k): str(v) for k, v in body.get("hostnames", {}).items()},
        exclude=tuple(map(str, body.get("except", ()))),
    )
