"""What our own rows tell of an Interconnect: numbers, subnets, gateways. The rows are the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from isthmus.backends.ovsdb.site import OvnSite, Store
from isthmus.model.intent import Prefix
from isthmus.model.rows import Record

MEMBERS = "isthmus:members"


@dataclass(frozen=True, slots=True)
class EdgeRecord:
    """What an edge router's row says of its Attachment; `link` copies the numbers, should one of both be lost."""

    site: str
    vpc: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    subnets: Mapping[str, tuple[Prefix, ...]] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()

    @property
    def prefixes(self) -> frozenset[Prefix]:
        return frozenset(p for prefixes in self.subnets.values() for p in prefixes)


def edges(interconnect: str, sites: Mapping[str, OvnSite]) -> dict[str, EdgeRecord]:
    """Attachment -> its record, of every site that is read."""
    found: dict[str, EdgeRecord] = {}
    for name, site in sorted(sites.items()):
        for attachment, ids in _records(interconnect, site):
            old = found.get(attachment)
            if old is None or not old.numbers:
                found[attachment] = EdgeRecord(
                    site=name,
                    vpc=ids.get("isthmus:vpc", ""),
                    numbers={str(k): int(v) for k, v in _json(ids, "isthmus:numbers", {}).items()},
                    subnets={k: tuple(map(ip_network, v)) for k, v in _json(ids, "isthmus:subnets", {}).items()},
                    gateways=tuple(_json(ids, "isthmus:gateways", [])),
                )
    return found


def _records(interconnect: str, site: OvnSite) -> Iterator[tuple[str, Mapping[str, str]]]:
    for table, what in (("Logical_Router", "edge"), ("Logical_Switch", "link")):
        for key, row in site.owned_rows(interconnect, table):
            _, attachment, kind = key.split("/", 2)
            if kind == what:
                yield attachment, _ids(row)


def tags(interconnect: str, site: OvnSite) -> dict[tuple[str, str], int]:
    """(attachment, chassis) -> VLAN tag of its probe."""
    found: dict[tuple[str, str], int] = {}
    for key, row in site.owned_rows(interconnect, "Logical_Switch_Port"):
        parts = key.split("/")
        if len(parts) == 4 and parts[2] == "probe" and isinstance(row["tag"], int):
            found[(parts[1], parts[3])] = row["tag"]
    return found


def members(interconnect: str, fabric: Store) -> dict[str, list[str]]:
    """Site -> gateway chassis that have, or may have, the transit switch's datapath."""
    for _, row in fabric.owned_rows(interconnect, "Transit_Switch"):
        return {str(k): list(v) for k, v in _json(_ids(row), MEMBERS, {}).items()}
    return {}


def _ids(row: Record) -> Mapping[str, str]:
    ids = row["external_ids"]
    assert isinstance(ids, Mapping)
    return ids


def _json(ids: Mapping[str, str], key: str, default: Any) -> Any:
    """A record that somebody garbled is as good as lost: the other copy, or a new number, replaces it."""
    try:
        value = json.loads(ids.get(key, ""))
    except ValueError:
        return default
    return value if isinstance(value, type(default)) else default
