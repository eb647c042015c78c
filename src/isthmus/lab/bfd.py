"""OVN's watch over the tunnels of a site, by BFD.

It begins with the first gateway list that names two chassis, and a session takes a second or two to come up: control
packets of a session that is down are a second apart at least (RFC 5880, 6.8.3). Until then hosts may send to neither
gateway, and both gateways may carry the port. Who counts lost packets waits for that first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.lab import rpc

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab, SiteHandle

Way = tuple[str, str]
"""One end of a session: the host that watches, and the host that it watches."""


def settle(lab: Lab, timeout: float = 20.0) -> None:
    """Wait until every session that OVN wants is up at both ends. Raises TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    for site in lab.sites:
        # What northd knows of HA groups is in the southbound database then.
        site.nbctl("--wait=sb", "sync")
        while missing := wanted(site) - up(site):
            if time.monotonic() > deadline:
                raise TimeoutError(f"BFD is not up after {timeout} s: {sorted(missing)}")
            time.sleep(0.02)


def wanted(site: SiteHandle) -> set[Way]:
    """Sessions between the chassis of each HA group of two or more, and with all that send to them."""
    rows = rpc.transact(
        site.sb_unix,
        "OVN_Southbound",
        _select("HA_Chassis_Group", "ha_chassis", "ref_chassis"),
        _select("HA_Chassis", "_uuid", "chassis"),
        _select("Chassis", "_uuid", "hostname"),
    )
    groups, members, chassis = (result["rows"] for result in rows)
    hosts = {row["_uuid"][1]: row["hostname"] for row in chassis}
    carried_by = {row["_uuid"][1]: next(_uuids(row["chassis"]), None) for row in members}
    own = {host.name for host in site.hosts}
    found = set()
    for group in groups:
        gateways = {hosts[c] for m in _uuids(group["ha_chassis"]) if (c := carried_by[m]) in hosts}
        everybody = gateways | {hosts[c] for c in _uuids(group["ref_chassis"]) if c in hosts}
        if len(gateways) > 1:
            found |= {way for g in gateways for h in everybody if g != h for way in ((g, h), (h, g))}
    return {(a, b) for a, b in found if {a, b} <= own}


def up(site: SiteHandle) -> set[Way]:
    """Sessions that are up, by what each host's Open vSwitch says."""
    names = {host.address: host.name for host in site.hosts}
    found = set()
    for host in site.hosts:
        (result,) = rpc.transact(host.ovs_unix, "Open_vSwitch", _select("Interface", "options", "bfd_status"))
        for row in result["rows"]:
            status, remote = rpc.mapping(row["bfd_status"]), rpc.mapping(row["options"]).get("remote_ip")
            if status.get("state") == "up" and remote in names:
                found.add((host.name, names[remote]))
    return found


def _select(table: str, *columns: str) -> dict[str, rpc.Json]:
    return {"op": "select", "table": table, "where": [], "columns": list(columns)}


def _uuids(value: rpc.Json) -> Iterator[str]:
    """Those of an OVSDB set of references, which may be written as the one that it holds."""
    kind, content = value
    if kind == "uuid":
        yield content
    else:
        for each in content:
            yield from _uuids(each)
