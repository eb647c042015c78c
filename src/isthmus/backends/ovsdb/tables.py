"""Which tables and columns Isthmus reads, and what a row of ours holds where the compiler says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.backends.ovsdb.schema import EMPTY_MAP, EMPTY_SET
from isthmus.model.rows import OWNER, Value

NORTHBOUND = {
    "NB_Global": ("name", "nb_cfg", "options"),
    "Logical_Router": ("name", "ports", "static_routes", "policies", "enabled", "options", "external_ids"),
    "Logical_Router_Port": (
        "name", "mac", "networks", "gateway_chassis", "ha_chassis_group", "enabled", "options", "peer",
        "ipv6_ra_configs", "external_ids",
    ),
    "Logical_Router_Static_Route": (
        "ip_prefix", "nexthop", "policy", "output_port", "route_table", "bfd", "options", "external_ids",
    ),
    "Logical_Router_Policy": ("priority", "match", "action", "nexthop", "nexthops", "options", "external_ids"),
    "Logical_Switch": ("name", "ports", "other_config", "external_ids"),
    "Logical_Switch_Port": (
        "name", "type", "options", "addresses", "port_security", "parent_name", "tag", "enabled", "external_ids",
    ),
    "Gateway_Chassis": ("name", "chassis_name", "priority", "options", "external_ids"),
    "Static_MAC_Binding": ("logical_port", "ip", "mac", "override_dynamic_mac"),
}  # fmt: skip

SOUTHBOUND = {
    "SB_Global": ("external_ids",),
    "Chassis": ("name", "hostname", "other_config"),
    "Chassis_Private": ("name", "nb_cfg", "external_ids"),
    "Port_Binding": ("logical_port", "type", "chassis", "external_ids"),
}

IC_NORTHBOUND = {
    "IC_NB_Global": ("external_ids",),
    "Transit_Switch": ("name", "other_config", "external_ids"),
}

IC_SOUTHBOUND = {"Availability_Zone": ("name",)}


SINCE_22_06 = frozenset({"Static_MAC_Binding"})
"""Tables that OVN 22.03, the oldest that we work with, does not have: rows of them are left out there."""

SINGLE_ROW = {"OVN_Northbound": "NB_Global", "OVN_Southbound": "SB_Global"}
"""What every database that OVN has begun to use holds. Without it a listing is not a deployment without routers, but a
database that was lost and not restored yet: what it lacks must not be taken for removed. An interconnect database may
be empty: we fill it."""


def northbound_where(owner: str) -> Mapping[str, list[Any]]:
    """Monitor conditions: of a cloud's switch ports we need only routers', localnets', metadata agents' and our own."""
    return {
        "Logical_Switch_Port": [
            ["type", "==", "router"],
            ["type", "==", "localnet"],
            ["type", "==", "l2gateway"],
            ["type", "==", "localport"],
            ["external_ids", "includes", ["map", [[OWNER, owner]]]],
        ]
    }


def southbound_where(owner: str) -> Mapping[str, list[Any]]:
    """Monitor conditions: gateway ports, other zones' ports, and our probes."""
    return {
        "Port_Binding": [
            ["type", "==", "chassisredirect"],
            ["type", "==", "remote"],
            ["external_ids", "includes", ["map", [[OWNER, owner]]]],
        ]
    }


PARENTS = {
    ("Logical_Router", "ports"): "Logical_Router_Port",
    ("Logical_Router", "static_routes"): "Logical_Router_Static_Route",
    ("Logical_Router", "policies"): "Logical_Router_Policy",
    ("Logical_Switch", "ports"): "Logical_Switch_Port",
    ("Logical_Router_Port", "gateway_chassis"): "Gateway_Chassis",
}
"""(parent table, set column) -> child table. Children live by this reference alone: they are not root tables."""

DEFAULTS: Mapping[str, Mapping[str, Value]] = {
    "Logical_Router": {"enabled": None, "options": EMPTY_MAP},
    "Logical_Router_Port": {
        "enabled": None, "options": EMPTY_MAP, "peer": None, "ipv6_ra_configs": EMPTY_MAP, "ha_chassis_group": None,
    },
    "Logical_Router_Static_Route": {
        "policy": None, "output_port": None, "route_table": "", "bfd": None, "options": EMPTY_MAP,
    },
    "Logical_Router_Policy": {"nexthop": None, "nexthops": EMPTY_SET, "options": EMPTY_MAP},
    "Logical_Switch": {"other_config": EMPTY_MAP},
    "Logical_Switch_Port": {
        "type": "", "options": EMPTY_MAP, "port_security": EMPTY_SET, "parent_name": None, "tag": None, "enabled": None,
    },
    "Gateway_Chassis": {"options": EMPTY_MAP},
    "Transit_Switch": {"other_config": EMPTY_MAP},
}  # fmt: skip
"""What a column of ours must hold when the compiler does not name it, so that drift there is seen as well."""

TOLERATED: Mapping[str, Mapping[str, frozenset[str]]] = {
    "Logical_Switch_Port": {"options": frozenset({"requested-tnl-key"})},
}
"""Table -> map column -> keys that OVN itself adds to our rows (ovn-ic(8) keeps port keys of zones equal)."""
