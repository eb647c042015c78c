"""OVN's watch over the tunnels of a site, by BFD, and who carries a site's end by it.

It begins with the first gateway list that names two chassis, and a session takes a second or two to come up: control
packets of a session that is down are a second apart at least (RFC 5880, 6.8.3). Until then hosts may send to neither
gateway, and both gateways may carry the port; then the preferred one claims it, and other sites hear of that. Who
counts lost packets waits for all of it first.
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
    """Wait until every session that OVN wants is up at both ends, every port is where it is preferred, and all know.

    Raises TimeoutError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    for site in lab.sites:
        # What northd knows of HA groups is in the southbound database then.
        site.nbctl("--wait=sb", "sync")
        while missing := wanted(site) - up(site):
            if time.monotonic() > deadline:
                raise TimeoutError(f"BFD is not up after {timeout} s: {sorted(missing)}")
            time.sleep(0.02)
    while astray := _astray(lab):
        if time.monotonic() > deadline:
            raise TimeoutError(f"gateway ports are not where they belong after {timeout} s: {sorted(astray)}")
        time.sleep(0.02)
    for site in lab.sites:
        site.nbctl("--wait=hv", "sync")


def _astray(lab: Lab) -> set[str]:
    """Gateway ports that another chassis than the first of their group carries, or other sites believe elsewhere."""
    carried: dict[str, str] = {}
    believed: list[tuple[str, str]] = []
    found: set[str] = set()
    for site in lab.sites:
        bindings, groups, members, chassis = (
            r["rows"]
            for r in rpc.transact(
                site.sb_unix,
                "OVN_Southbound",
                _select("Port_Binding", "logical_port", "type", "chassis", "ha_chassis_group"),
                _select("HA_Chassis_Group", "_uuid", "ha_chassis"),
                _select("HA_Chassis", "_uuid", "chassis", "priority"),
                _select("Chassis", "_uuid", "name"),
            )
        )
        names = {row["_uuid"][1]: row["name"] for row in chassis}
        rank = {r["_uuid"][1]: (r["priority"], next(_uuids(r["chassis"]), "")) for r in members}
        first = {g["_uuid"][1]: max(rank[m] for m in _uuids(g["ha_chassis"]))[1] for g in groups}
        for row in bindings:
            port, here = row["logical_port"], next(_uuids(row["chassis"]), "")
            if row["type"] == "chassisredirect":
                carried[port] = names.get(here, "")
                if any(first[g] != here for g in _uuids(row["ha_chassis_group"])):
                    found.add(f"{site.name} {port}")
            elif row["type"] == "remote":
                believed.append((port, names.get(here, "")))
    # The transit switch's port is named after the router's: `….transit-port` is the end of `….transit`.
    found |= {f"elsewhere {p}" for p, at in believed if carried.get(f"cr-{p.removesuffix('-port')}", at) != at}
    return found


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
