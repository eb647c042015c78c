"""What our own rows tell of an Interconnect: its sides, tags of its probes, members of its transit switch."""

from __future__ import annotations

import json
from collections.abc import Mapping

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.backends.ovsdb.store import Store
from isthmus.compile.record import NUDGES, REFUSED, SIDES, SideRecord, parse
from isthmus.compile.transit import MEMBERS, NUMBERS
from isthmus.model.rows import Record


def edges(interconnect: str, sites: Mapping[str, OvnSite]) -> dict[str, SideRecord]:
    """Attachment -> its record. An edge's own word counts first; of a lost or unreadable edge the others' word."""
    own: dict[str, SideRecord] = {}
    heard: dict[str, SideRecord] = {}
    for _, site in sorted(sites.items()):
        for key, row in site.owned_rows(interconnect, "Logical_Router"):
            attachment = key.split("/")[1]
            for name, record in parse(_ids(row).get(SIDES, "")).items():
                if name == attachment:
                    own[name] = record
                else:
                    heard.setdefault(name, record)
    return heard | own


def tags(interconnect: str, site: OvnSite) -> dict[tuple[str, str], int]:
    """(attachment, chassis) -> VLAN tag of its probe."""
    found: dict[tuple[str, str], int] = {}
    for key, row in site.owned_rows(interconnect, "Logical_Switch_Port"):
        parts = key.split("/")
        if len(parts) == 4 and parts[2] == "probe" and isinstance(row["tag"], int):
            found[(parts[1], parts[3])] = row["tag"]
    return found


def port_key(interconnect: str, attachment: str, site: OvnSite) -> str:
    """What ovn-ic numbered an Attachment's port on the transit switch, or ""."""
    place = "Logical_Switch_Port", f"{interconnect}/{attachment}/transit-port"
    return _map_of(interconnect, place, "options", site).get("requested-tnl-key", "")


def nudges(interconnect: str, attachment: str, site: OvnSite) -> int:
    """How often an Attachment's port on the transit switch was nudged, as its row says."""
    place = "Logical_Router_Port", f"{interconnect}/{attachment}/transit"
    said = _map_of(interconnect, place, "external_ids", site).get(NUDGES, "")
    return int(said) if said.isdecimal() else 0


def refused(interconnect: str, site: OvnSite) -> str:
    """What a site's API refused last, as the site's first edge says it, or ""."""
    rows = (row for _, row in site.owned_rows(interconnect, "Logical_Router"))
    return next((ids[REFUSED] for row in rows if REFUSED in (ids := _ids(row))), "")


def members(interconnect: str, fabric: Store) -> dict[str, list[str]]:
    """Site -> gateway chassis that have, or may have, the transit switch's datapath."""
    for _, row in fabric.owned_rows(interconnect, "Transit_Switch"):
        try:
            return {str(site): list(map(str, chassis)) for site, chassis in json.loads(_ids(row)[MEMBERS]).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    return {}


def numbers(interconnect: str, fabric: Store) -> dict[str, int]:
    """Site -> the address that its port on the transit switch has, or may still have."""
    for _, row in fabric.owned_rows(interconnect, "Transit_Switch"):
        try:
            return {str(site): int(number) for site, number in json.loads(_ids(row)[NUMBERS]).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            break
    return {}


def _map_of(interconnect: str, place: tuple[str, str], column: str, site: OvnSite) -> Mapping[str, str]:
    """A map in our row of that table and key; empty where there is none."""
    for uuid in site.owned(interconnect).get(place, ()):
        found = site.client.rows[place[0]][uuid][column]
        assert isinstance(found, Mapping)
        return found
    return {}


def _ids(row: Record) -> Mapping[str, str]:
    ids = row["external_ids"]
    assert isinstance(ids, Mapping)
    return ids
