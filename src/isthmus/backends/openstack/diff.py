"""Desired objects against what Neutron holds: pure, one Interconnect at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

from isthmus.backends.changes import Change, Owner, is_subnet
from isthmus.backends.openstack.listing import Listing, Object
from isthmus.backends.openstack.marks import TAGGED, description, tags
from isthmus.backends.openstack.owned import Place, compared
from isthmus.model.rows import Parent, Row, Value

MUTABLE = frozenset({"name", "addresses", "description", "tags"})
"""Columns that a call can change. An object that differs in another one is removed and made anew.

A port that no router has yet may be given to one: somebody died, or was refused, between two calls.
"""

RESOURCE = {"router_interface": "port"}
"""Our table -> the resource that it is, where the two have different names."""


def diff(
    desired: Iterable[Row],
    owned: Mapping[Place, tuple[Object, ...]],
    listing: Listing,
    owner: Owner,
    in_use: Callable[[str], bool],
) -> tuple[list[Change], dict[Place, str]]:
    """Changes that make the owned objects of one Interconnect equal `desired`; and the ids of what may stay.

    in_use  whether somebody's ports are on a network: one that we defined stays while they are
    Address groups and rules are left out where the API does not know them.

    A tenant may write any mark onto objects of her own project: where the object is wanted, one in another project than
    it is meant for is nobody's business. Where nothing wants it, it goes: her own.
    """
    differ = _Differ(owned, listing, owner, in_use)
    return differ.run(desired), {place: str(one["id"]) for place, one in differ.chosen.items()}


class _Differ:
    def __init__(
        self,
        owned: Mapping[Place, tuple[Object, ...]],
        listing: Listing,
        owner: Owner,
        in_use: Callable[[str], bool],
    ) -> None:
        self._owned, self._listing, self._owner, self._in_use = owned, listing, owner, in_use
        self.chosen: dict[Place, Object] = {}
        """What is wanted and there, apart from what can be changed."""
        self._networks: dict[str, str] = {}
        """Id -> key, of the chosen ones."""
        self._groups: dict[str, str] = {}
        self._projects: dict[str, str] = {}
        """Key of a wanted network -> the project that it is meant for."""

    def run(self, desired: Iterable[Row]) -> list[Change]:
        wanted = {
            (row.table, row.key): row
            for row in desired
            if self._listing.admits or row.table not in ("address_group", "security_group_rule")
        }
        # Children are looked for in what is chosen of these.
        rows = sorted(wanted.values(), key=lambda row: row.table not in ("network", "address_group"))
        changes = [change for row in rows for change in self._one(row)]
        kept = {
            one["id"]
            for (table, key), ones in self._owned.items()
            if table == "network" and is_subnet(key) and (table, key) not in wanted
            for one in ones
            if self._in_use(one["id"])
        }
        homes = {str(self._columns(row)["project"]) for row in rows if "project" in row.columns}
        for (table, key), ones in self._owned.items():
            if (table, key) not in wanted:
                going = [one for one in ones if one["id"] not in kept and one.get("network_id") not in kept]
                changes += [replace(self._remove(table, key, one), stray=self._strays(one, homes)) for one in going]
        return [*changes, *self._rerouted(changes)]

    def _strays(self, one: Object, homes: Collection[str]) -> bool:
        """Neither in our own project nor in one where something is wanted; where nothing is, nobody can tell."""
        found = self._listing.tables["network"].get(one.get("network_id", ""), one)
        project = found.get("project_id", self._listing.project)
        return bool(homes) and project != self._listing.project and project not in homes

    def _one(self, row: Row) -> Iterator[Change]:
        columns = self._columns(row)
        if row.table == "network":
            self._projects[row.key] = str(columns["project"])
        ones = [one for one in self._owned.get((row.table, row.key), ()) if not self._is_elsewhere(row, columns, one)]
        right = [one for one in ones if self._is(row, columns, one)]
        yield from (self._remove(row.table, row.key, one) for one in ones if one not in right[:1])
        if not right:
            if row.table != "security_group_rule" or not self._is_there_anyway(row, columns):
                yield Change("add", row.table, row.key, None, columns, row.parent)
            return
        self.chosen[row.table, row.key] = right[0]
        if row.table in ("network", "address_group"):
            (self._networks if row.table == "network" else self._groups)[right[0]["id"]] = row.key
        now = self._read(row.table, right[0])
        changed: dict[str, Value] = {
            c: v for c, v in columns.items() if c in MUTABLE and now.get(c, v) != v and self._cares(row, c)
        }
        if now.get("router") == "":
            changed["router"] = columns["router"]
        if changed:
            yield Change("change", row.table, row.key, right[0]["id"], changed)

    def _is_elsewhere(self, row: Row, columns: Mapping[str, Value], one: Object) -> bool:
        """It bears the mark, but is where this object cannot be."""
        match row.table:
            case "network" | "address_group":
                return bool(one["project_id"] != columns["project"])
            case "subnet" | "router_interface":
                assert row.parent is not None and row.parent.key is not None
                network = self._listing.tables["network"].get(one["network_id"])
                if network is not None and network["project_id"] != self._projects.get(row.parent.key):
                    return True
                # Another router of the tenant's may be on a subnet that we defined.
                return row.table == "router_interface" and is_subnet(row.key) and one["device_id"] != columns["router"]
            case "security_group_rule":
                return row.parent is not None and one["security_group_id"] != row.parent.uuid
        return False

    def _is_there_anyway(self, row: Row, columns: Mapping[str, Value]) -> bool:
        """The tenant has made the same rule herself: Neutron takes none twice, whatever its description."""
        rules = self._listing.tables["security_group_rule"].values()
        return any(not self._is_elsewhere(row, columns, rule) and self._is(row, columns, rule) for rule in rules)

    def _rerouted(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Neutron takes no port from a router that routes lead over: of one that is made anew they go first.

        They are wanted and come back by the pass that sees the new port.
        """
        ops: dict[str, set[str]] = {}
        for change in changes:
            if change.table == "router_interface" and not is_subnet(change.key):
                ops.setdefault(change.key, set()).add(change.op)
        places = {key.rpartition("/")[0] for key, found in ops.items() if found >= {"remove", "add"}}
        going = {change.uuid for change in changes}
        for (table, key), ones in self._owned.items():
            if table == "extra_route" and key.split("/vpc/route/")[0] in places:
                yield from (self._remove(table, key, one) for one in ones if one["id"] not in going)

    def _columns(self, row: Row) -> dict[str, Value]:
        """With what every object of ours carries besides."""
        columns = dict(row.columns)
        if row.table == "network":
            columns["project"] = columns["project"] or self._listing.project
        if row.table == "extra_route" or (row.table == "router_interface" and is_subnet(row.key)):
            return columns  # Neutron makes these itself, by a call that takes no words of ours
        columns["description"] = description(self._owner.name, row.key)
        if RESOURCE.get(row.table, row.table) in TAGGED:
            columns["tags"] = tags(self._owner.name, row.key)
        return columns

    def _cares(self, row: Row, column: str) -> bool:
        """The words on a subnet that we defined are its project's to change; those of a rule cannot be changed."""
        return column not in ("description", "tags") or not (is_subnet(row.key) or row.table == "security_group_rule")

    def _is(self, row: Row, columns: Mapping[str, Value], one: Object) -> bool:
        """The object is this one, apart from what can be changed."""
        now = self._read(row.table, one)
        if now.get("router") == "":
            now["router"] = columns["router"]
        same = all(now[c] == v for c, v in columns.items() if c not in MUTABLE and self._compared(row, c))
        return same and self._holds(row.parent, one)

    def _compared(self, row: Row, column: str) -> bool:
        # The range that DHCP gives addresses from, and the gateway, are the project's own on a subnet of hers; on a
        # link nobody asks for either, and Neutron takes no subnet away that a router is on.
        return not (row.table == "subnet" and column in ("pool", "gateway_ip"))

    def _holds(self, parent: Parent | None, one: Object) -> bool:
        if parent is None:
            return True
        if parent.key is not None:
            return self._networks.get(one["network_id"]) == parent.key
        return parent.uuid == one.get("security_group_id" if parent.table == "security_group" else "router")

    def _read(self, table: str, one: Object) -> dict[str, Value]:
        """An object in the columns that the compiler writes."""
        words: dict[str, Value] = {k: one[k] for k in ("name", "description") if k in one}
        if "tags" in one:
            words["tags"] = frozenset(one["tags"])
        return words | _READ[table](self, one)

    def _network(self, one: Object) -> dict[str, Value]:
        return {"project": one["project_id"]}

    def _subnet(self, one: Object) -> dict[str, Value]:
        pools = one["allocation_pools"]
        single = len(pools) == 1 and pools[0]["start"] == pools[0]["end"] and not one["enable_dhcp"]
        return {
            "cidr": str(ip_network(one["cidr"])),
            "gateway_ip": one["gateway_ip"] or "",
            "pool": str(ip_address(pools[0]["start"])) if single else "",
        }

    def _interface(self, one: Object) -> dict[str, Value]:
        addresses = frozenset(str(ip_address(f["ip_address"])) for f in one["fixed_ips"])
        return {"router": one["device_id"], "fixed_ips": addresses, "mac_address": one["mac_address"]}

    def _group(self, one: Object) -> dict[str, Value]:
        return {"addresses": frozenset(str(ip_network(a)) for a in one["addresses"]), "project": one["project_id"]}

    def _rule(self, one: Object) -> dict[str, Value]:
        """A rule that is narrower than ours, or faces the other way, is none of ours."""
        narrow = any(one[c] is not None for c in ("protocol", "port_range_min", "port_range_max"))
        ours = one["direction"] == "ingress" and not narrow
        return {
            "ethertype": one["ethertype"] if ours else "",
            "remote_address_group": self._groups.get(one["remote_address_group_id"], ""),
        }

    def _route(self, one: Object) -> dict[str, Value]:
        destination, nexthop = compared(one)
        return {"destination": destination, "nexthop": nexthop}

    def _remove(self, table: str, key: str, one: Object) -> Change:
        """`columns` and `parent` hold what the call takes where an id alone does not do."""
        if table == "extra_route":
            columns = {c: one[c] for c in ("destination", "nexthop")}
            return Change("remove", table, key, one["id"], columns, Parent("router", "routes", uuid=one["router"]))
        if table == "router_interface":
            parent = Parent("router", "ports", uuid=one["device_id"]) if one["device_id"] else None
            return Change("remove", table, key, one["id"], {}, parent)
        return Change("remove", table, key, one["id"], {})


_READ: Mapping[str, Callable[[_Differ, Object], dict[str, Value]]] = {
    "network": _Differ._network,
    "subnet": _Differ._subnet,
    "router_interface": _Differ._interface,
    "address_group": _Differ._group,
    "security_group_rule": _Differ._rule,
    "extra_route": _Differ._route,
}
