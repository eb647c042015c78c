"""Why a rule of ours does not let in what it should: the row of Neutron's that lacks it, or has it wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import collapse_addresses

from isthmus.model.intent import Prefix
from isthmus.verify import neutron
from isthmus.verify.classes import named_sets
from isthmus.verify.columns import interfaces, text, texts
from isthmus.verify.opening import Opening
from isthmus.verify.path import RowRef
from isthmus.verify.zone import SwitchPort, Zone

Interval = tuple[int, int]


def culprit(
    zone: Zone, ports: Iterable[SwitchPort], groups: Iterable[str], peers: str, opening: Opening
) -> tuple[RowRef, str]:
    """The row to look at, and what is wrong with it.

    ports   of one kind
    groups  ids of the security groups that an Attachment lists
    peers   id of its address group
    """
    names = {p.name for p in ports}
    for uuid, record in zone.table("Port_Group").items():
        if neutron.group_of(record) not in set(groups):
            continue
        row = zone.ref("Port_Group", uuid)
        if not names <= set(zone.sets.get(f"@{row.name}", ())):
            return row, "it lacks ports that Neutron gave the security group"
        rules = [zone.table("ACL").get(a, {}) for a in texts(record.get("acls"))]
        named = {name for r in rules for name in named_sets(text(r.get("match")))}
        for version in opening.closed:
            if not peers or neutron.address_set(peers, version) not in named:
                return row, f"it has no rule that lets in IPv{version} from our address group {peers or '(none)'}"
    assert opening.row is not None
    return opening.row, "it decides before our rule does"


def set_differences(zone: Zone, peers: str, away: tuple[Prefix, ...] | None) -> Iterator[tuple[str, RowRef, str]]:
    """What the address sets of an address group lack, or hold too much, where an ACL uses them: kind, row, reason."""
    if not peers or away is None:
        return
    used = {name for r in zone.table("ACL").values() for name in named_sets(text(r.get("match")))}
    rows = {text(r.get("name")): uuid for uuid, r in zone.table("Address_Set").items()}
    for version in (4, 6):
        name = neutron.address_set(peers, version)
        wanted = [p for p in away if p.version == version]
        if name not in used:
            continue
        there = zone.sets.get(name, frozenset())
        row = zone.ref("Address_Set", rows[name]) if name in rows else RowRef(zone.site, "Address_Set", "", name)
        has = [i.network for i in interfaces(tuple(there)) if i.version == version]
        for kind, one, other, verb in (("narrowed", wanted, has, "lacks"), ("widened", has, wanted, "also holds")):
            if rest := _without(one, other):
                yield kind, row, f"it {verb} {', '.join(map(str, rest))}"


def _without(one: Iterable[Prefix], other: Iterable[Prefix]) -> list[Prefix]:
    """Prefixes of `one` that `other` does not cover whole, collapsed."""
    covers = _collapsed(other)
    return [p for p in _collapsed(one) if not any(p.subnet_of(c) for c in covers)]  # type: ignore[arg-type]


def _collapsed(prefixes: Iterable[Prefix]) -> list[Prefix]:
    return list(collapse_addresses(prefixes))  # type: ignore[type-var]
