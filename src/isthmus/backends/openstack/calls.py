"""Changes -> calls, in an order in which nothing that stays is without its way for a moment.

What closes comes first (rules, and what has to make room); then what is new, routes last, so that old and new routes
overlap in time; then what has become needless. Every call may have happened before: what is gone already is no error.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

from isthmus.backends.changes import Change, is_subnet
from isthmus.backends.openstack.api import Api, Refused
from isthmus.backends.openstack.diff import RESOURCE
from isthmus.backends.openstack.listing import Listing, path_of
from isthmus.backends.openstack.lost import Turns
from isthmus.backends.openstack.owned import Place, compared
from isthmus.errors import Bug, Conflict, Problem

log = logging.getLogger(__name__)

ADD = ("network", "subnet", "router_interface", "extra_route", "address_group", "security_group_rule")
REMOVE = ("security_group_rule", "extra_route", "router_interface", "subnet", "network", "address_group")
"""A group that a rule of the tenant's own still names is refused, and is the last."""

CHANGED, TRIES = 412, 8
"""HTTP's answer where a router has changed since it was read, and how often it is read again."""


class Calls:
    """The calls of one Interconnect.

    known  (table, key) -> id of what stands already
    may    asked before every call: whether we still hold the lock of the site's database
    turns  of the site: one change of a router at a time
    left   ids of strays that were refused
    """

    def __init__(
        self, api: Api, listing: Listing, known: Mapping[Place, str], may: Callable[[], bool], turns: Turns
    ) -> None:
        self._api, self._listing, self._may, self._turns = api, listing, may, turns
        self._ids = dict(known)
        self._tags: dict[str, list[str]] = {}
        self._refused: Refused | None = None
        """The first removal that was refused."""
        self.left: set[str] = set()

    def run(self, changes: Iterable[Change]) -> None:
        """Raises WorldError where a call is refused; what was done stays done.

        Of additions none follows one that is refused; removals do not wait for each other.
        """
        by: dict[tuple[str, str], list[Change]] = defaultdict(list)
        strays: list[Change] = []
        for change in changes:
            (strays if change.stray else by[change.op, change.table]).append(change)
        new = {(c.table, c.key) for (op, _), found in by.items() if op == "add" for c in found}
        replaced = {c.key for c in by["remove", "router_interface"] if (c.table, c.key) in new}
        for table in REMOVE:
            here = by["remove", table]
            closing = [c for c in here if table == "security_group_rule" or (c.table, c.key) in new]
            if table == "extra_route":
                # Old and new routes overlap in time, but for those over a port that is made anew.
                closing = [c for c in here if any(key.startswith(f"{_side(c)}/link") for key in replaced)]
            self._all_gone(table, closing)
            by["remove", table] = [c for c in here if c not in closing]
        for table in ADD if self._refused is None else ():
            self._all_new(table, by["add", table])
            for change in by["change", table]:
                self._change(change)
        # Neutron removes a network's subnets with it.
        whole = tuple(f"{c.key}/" for c in by["remove", "network"])
        by["remove", "subnet"] = [c for c in by["remove", "subnet"] if not c.key.startswith(whole)]
        for path, tags in self._tags.items():
            self._send("PUT", path, {"tags": tags})
        for table in REMOVE:
            self._all_gone(table, by["remove", table])
        self._away(strays)
        if self._refused is not None:
            raise self._refused

    def _away(self, strays: Iterable[Change]) -> None:
        """Last, for each may be refused by the will of whoever put it there."""
        for change in sorted(strays, key=lambda c: REMOVE.index(c.table)):
            try:
                with _gone_already():
                    self._gone(change)
            except Refused as error:
                self.left.add(str(change.uuid))
                log.warning("%s %s bears our mark in a project where it is not wanted, and stays: %s", change.table,
                            change.uuid, error)  # fmt: skip

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None, revision: int | None = None) -> Any:
        if not self._may():
            raise Conflict(Problem("Conflict", f"{method} {path}: not sent: we are stopping, or lost the lock"))
        with self._turns.of(path):
            return self._api.send(method, path, body, revision)

    # -- adding ---------------------------------------------------------------------------------------------

    def _all_new(self, table: str, changes: list[Change]) -> None:
        if table == "extra_route":
            for router, routes in _by_router(changes).items():
                self._routes("add", router, routes)
            return
        for change in changes:
            self._ids[table, change.key] = _MAKE[table](self, change)

    def _made(self, resource: str, body: Mapping[str, Any], change: Change) -> str:
        """Make it. Tags take a call of their own: the next pass misses them, and sends them after the routes.

        Of a subnet that we defined it misses nothing: its words are its project's to change.
        """
        given = dict(body)
        tags, path = sorted(given.pop("tags", ())), path_of(resource)
        made = str(self._send("POST", path, {resource: given})[resource]["id"])
        if tags and is_subnet(change.key):
            self._tags[f"{path}/{made}/tags"] = tags
        return made

    def _network(self, change: Change) -> str:
        words = _words(change)
        if (project := change.columns["project"]) != self._listing.project:
            words["project_id"] = project
        return self._made("network", words, change)

    def _subnet(self, change: Change) -> str:
        columns = change.columns
        network, pool = self._parent(change), columns["pool"]
        cidr = ip_network(str(columns["cidr"]))
        body = _words(change) | {
            "network_id": network,
            "ip_version": cidr.version,
            "cidr": str(cidr),
            "gateway_ip": columns["gateway_ip"] or None,
            "enable_dhcp": not pool,
        }
        if pool:
            body["allocation_pools"] = [{"start": pool, "end": pool}]
        elif cidr.version == 6:
            mode = "slaac" if cidr.prefixlen == 64 else "dhcpv6-stateful"
            body |= {"ipv6_ra_mode": mode, "ipv6_address_mode": mode}
        return self._made("subnet", body | self._project_of(network, change), change)

    def _project_of(self, network: str, change: Change) -> dict[str, Any]:
        """Of a subnet of a network that is its project's own."""
        if not is_subnet(change.key):
            return {}
        found = self._listing.tables["network"].get(network)
        project = (
            found["project_id"] if found else self._api.get("network", f"/networks/{network}")["network"]["project_id"]
        )
        return {"project_id": project}

    def _interface(self, change: Change) -> str:
        """A port of ours with the MAC that probes count on; or, on a subnet that we defined, whatever Neutron makes."""
        router = change.columns["router"]
        if is_subnet(change.key):
            network, version = change.key.split("/gateway/")
            subnet = self._ids["subnet", f"{network}/{version}"]
            answer = self._send("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})
            return str(answer["port_id"])
        addresses = change.columns["fixed_ips"]
        assert isinstance(addresses, frozenset)
        body = _words(change) | {
            "network_id": self._parent(change),
            "mac_address": change.columns["mac_address"],
            "fixed_ips": [{"ip_address": a} for a in sorted(map(str, addresses))],
        }
        port = self._made("port", body, change)
        self._send("PUT", f"/routers/{router}/add_router_interface", {"port_id": port})
        return port

    def _group(self, change: Change) -> str:
        columns = change.columns
        addresses = columns["addresses"]
        assert isinstance(addresses, frozenset)
        body = _words(change) | {"addresses": sorted(map(str, addresses)), "project_id": columns["project"]}
        return self._made("address_group", body, change)

    def _rule(self, change: Change) -> str:
        assert change.parent is not None
        body = {
            "security_group_id": change.parent.uuid,
            "direction": "ingress",
            "ethertype": change.columns["ethertype"],
            "remote_address_group_id": self._ids["address_group", str(change.columns["remote_address_group"])],
            "description": change.columns["description"],
        }
        return self._made("security_group_rule", body, change)

    def _parent(self, change: Change) -> str:
        assert change.parent is not None and change.parent.key is not None
        return self._ids["network", change.parent.key]

    def _routes(self, action: str, router: str, routes: list[dict[str, Any]]) -> None:
        """Add or remove these and no others, whatever somebody else does to the list meanwhile."""
        path = f"/routers/{router}"
        if self._listing.atomic_routes:
            self._send("PUT", f"{path}/{action}_extraroutes", {"router": {"routes": routes}})
        else:
            self._whole_list(path, routes if action == "add" else [], {compared(r) for r in routes})

    def _whole_list(self, path: str, wanted: list[dict[str, Any]], ours: set[tuple[str, str]]) -> None:
        """Set `wanted` in the place of `ours`, beside what else is there; read again where that has changed."""
        for left in reversed(range(TRIES)):
            router = self._api.get("network", path, fields=("routes", "revision_number"))["router"]
            now = router["routes"]
            new = [r for r in now if compared(r) not in ours] + wanted
            if set(map(compared, new)) == set(map(compared, now)):
                return
            try:
                self._send("PUT", path, {"router": {"routes": new}}, router["revision_number"])
                return
            except Refused as error:
                if error.status != CHANGED or not left:
                    raise

    # -- changing -------------------------------------------------------------------------------------------

    def _change(self, change: Change) -> None:
        resource = RESOURCE.get(change.table, change.table)
        path = f"{path_of(resource)}/{change.uuid}"
        columns = dict(change.columns)
        tags, addresses, router = (columns.pop(c, None) for c in ("tags", "addresses", "router"))
        if columns:
            self._send("PUT", path, {resource: columns})
        if router:
            self._send("PUT", f"/routers/{router}/add_router_interface", {"port_id": change.uuid})
        if isinstance(tags, frozenset):
            self._tags[f"{path}/tags"] = sorted(map(str, tags))
        if isinstance(addresses, frozenset):
            self._addresses(path, str(change.uuid), frozenset(map(str, addresses)))

    def _addresses(self, path: str, group: str, wanted: frozenset[str]) -> None:
        """New ones first: rules that name the group do not close for a moment."""
        now = {str(ip_network(a)): a for a in self._listing.tables["address_group"][group]["addresses"]}
        for action, these in (("add", wanted - now.keys()), ("remove", {now[a] for a in now.keys() - wanted})):
            if these:
                self._send("PUT", f"{path}/{action}_addresses", {"addresses": sorted(these)})

    # -- removing -------------------------------------------------------------------------------------------

    def _all_gone(self, table: str, changes: list[Change]) -> None:
        if table == "extra_route":
            for router, routes in _by_router(changes).items():
                with self._kept(), _gone_already():
                    self._routes("remove", router, routes)
            return
        for change in changes:
            with self._kept(), _gone_already():
                self._gone(change)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """A refusal is raised when all else that goes has gone."""
        try:
            yield
        except Refused as error:
            self._refused = self._refused or error

    def _gone(self, change: Change) -> None:
        if change.uuid is None:
            raise Bug(Problem("NoId", f"{change.table} {change.key} cannot be removed without its id"))
        if change.table != "router_interface":
            self._send("DELETE", f"{path_of(change.table)}/{change.uuid}")
        elif change.parent is None:
            self._send("DELETE", f"/ports/{change.uuid}")
        else:
            path = f"/routers/{change.parent.uuid}/remove_router_interface"
            self._send("PUT", path, {"port_id": change.uuid})


@contextmanager
def _gone_already() -> Iterator[None]:
    """Whoever removed it before us is right."""
    try:
        yield
    except Refused as error:
        if error.status != 404:
            raise


def _by_router(changes: Iterable[Change]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for change in changes:
        assert change.parent is not None and change.parent.uuid is not None
        route = {"destination": change.columns["destination"], "nexthop": change.columns["nexthop"]}
        found[change.parent.uuid].append(route)
    return found


def _side(change: Change) -> str:
    """Interconnect and attachment."""
    return "/".join(change.key.split("/")[:2])


def _words(change: Change) -> dict[str, Any]:
    return {c: change.columns[c] for c in ("name", "description", "tags") if c in change.columns}


_MAKE: Mapping[str, Callable[[Calls, Change], str]] = {
    "network": Calls._network,
    "subnet": Calls._subnet,
    "router_interface": Calls._interface,
    "address_group": Calls._group,
    "security_group_rule": Calls._rule,
}
