"""What rows that Neutron wrote say of themselves (ML2/OVN): which of its objects they are, and whose.

Neutron marks its rows with `neutron:*` in external_ids and names them after its ids: `neutron-ID` for networks and
routers, a port's id for switch ports, `lrp-ID` for router ports, `pg_ID` and `ag_ID_ip4` with underscores for security
groups and address groups. Of projects, rows know ids alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.model.rows import Record

DROP = "neutron_pg_drop"
"""The port group of every port that has port security: what no security group lets pass is dropped there."""

_MARK = "neutron:"
_WORDS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "ACL": (("security_group_rule_id", "security group rule"),),
    "Address_Set": (("address_group_id", "address group"),),
    "DHCP_Options": (("network_id", "DHCP of network"),),
    "Logical_Router": (("router_name", "router"),),
    "Logical_Switch": (("network_name", "network"),),
    "Logical_Switch_Port": (("port_name", "port"),),
    "NAT": (("fip_id", "floating IP"),),
    "Port_Group": (("security_group_id", "security group"),),
}
"""Table -> the first of these marks that is there and not empty, and what it names."""


def ids(record: Record) -> Mapping[str, str]:
    """Its `external_ids`."""
    found = record.get("external_ids")
    return found if isinstance(found, Mapping) else {}


def mark(record: Record, name: str) -> str:
    """`neutron:NAME` of the row, or ""."""
    return ids(record).get(_MARK + name, "")


def maker(table: str, record: Record) -> str:
    """`Neutron`, and which object of its own the row is; "" for a row that Neutron did not make.

    >>> maker("Logical_Router", {"external_ids": {"neutron:router_name": "r"}})
    'Neutron router r'
    """
    if table == "ACL" and f"@{DROP} " in str(record.get("match", "")):
        return "Neutron: no security group rule lets it pass"
    for name, what in _WORDS.get(table, ()):
        if found := mark(record, name):
            return f"Neutron {what} {plain(found)}"
    if table == "Logical_Router_Static_Route" and mark(record, "is_static_route"):
        return "Neutron extra route"
    return "Neutron" if any(key.startswith(_MARK) for key in ids(record)) or record.get("name") == DROP else ""


def plain(text: str) -> str:
    """A name that a tenant chose, for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def names(record: Record) -> tuple[str, ...]:
    """What people call the object: its display name, where it has one."""
    found = (mark(record, n) for n in ("network_name", "router_name", "port_name"))
    return tuple(n for n in found if n)


def group_of(record: Record) -> str:
    """Id of the security group that a Port_Group stands for, or ""."""
    return mark(record, "security_group_id")


def groups_of(record: Record) -> tuple[str, ...]:
    """Ids of the security groups that Neutron gave a Logical_Switch_Port."""
    return tuple(sorted(mark(record, "security_group_ids").split()))


def address_set(group: str, version: int) -> str:
    """Name of the Address_Set of an address group.

    >>> address_set("a5ca1ffa-67b7-4251-abb3-25215c8c452b", 4)
    'ag_a5ca1ffa_67b7_4251_abb3_25215c8c452b_ip4'
    """
    return f"ag_{group.replace('-', '_')}_ip{version}"
