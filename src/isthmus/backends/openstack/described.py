"""Objects of ours in Neutron, for `explain`: by the API's own words, with what shows and what removes each."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.backends.changes import is_subnet
from isthmus.backends.described import Described
from isthmus.backends.openstack.listing import Object
from isthmus.backends.openstack.owned import Owned

SHOW = {
    "network": "openstack network show {id}",
    "subnet": "openstack subnet show {id}",
    "router_interface": "openstack port show {id}",
    "extra_route": "openstack router show -c routes {router}",
    "address_group": "openstack address group show {id}",
    "security_group_rule": "openstack security group rule show {id}",
}
"""Table -> the command that shows the object."""


def described(owned: Owned) -> tuple[Described, ...]:
    """Everything of this owner at a site, by key."""
    return tuple(sorted(_all(owned), key=lambda d: (d.key, d.table, d.id)))


def _all(owned: Owned) -> Iterator[Described]:
    for places in owned.values():
        for (table, key), ones in places.items():
            for one in ones:
                show = SHOW[table].format(id=one["id"], router=one.get("router", ""))
                yield Described(table, key, str(one["id"]), _name(one), show, _removes(table, key))


def _name(one: Object) -> str:
    """A rule has none."""
    return f"{one['destination']} via {one['nexthop']}" if "nexthop" in one else str(one.get("name") or "")


def _removes(table: str, key: str) -> str:
    interconnect, attachment = key.split("/")[:2]
    whole = f"isthmus disconnect {interconnect} --site {attachment}"
    if table == "security_group_rule":
        return f"{whole}; or the group, taken out of securityGroups"
    if table == "address_group":
        return f"{whole}, when no rule of the project's own names it any more"
    if table == "extra_route":
        return f"{whole}; or the subnets that it leads to, taken out of the other attachments"
    if is_subnet(key):
        return f"{whole}; or the subnet, taken out of the attachment; when no machine is in it"
    return whole
