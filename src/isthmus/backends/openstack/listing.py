"""What Neutron and Keystone hold, listed whole: a few calls, however many tenants and attachments there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from isthmus.backends.openstack.api import Api, Refused
from isthmus.backends.openstack.marks import key_of
from isthmus.errors import Problem, WorldError

Object = Mapping[str, Any]
"""One resource as the Networking API shows it, cut down to `FIELDS`."""

Table = Mapping[str, Object]
"""id -> Object."""

INTERFACE = "network:router_interface"
ROUTER_PORTS = (INTERFACE, "network:router_gateway")
"""`device_owner` of a router's ports; ML2/OVN has no others."""

REVISION = "revision_number"
"""Of a security group: it goes up with every rule that comes or goes (Neutron's service plugin `revisions`)."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    "network": ("name", "project_id", "description", "router:external", "provider:physical_network", "tags"),
    "subnet": (
        "name", "project_id", "description", "network_id", "ip_version", "cidr", "gateway_ip", "enable_dhcp",
        "allocation_pools", "tags",
    ),
    "port": (
        "name", "project_id", "description", "network_id", "device_id", "device_owner", "mac_address", "fixed_ips",
        "tags",
    ),
    "router": ("name", "project_id", "routes"),
    "address_group": ("name", "project_id", "description", "addresses"),
    "security_group": ("name", "project_id", REVISION),
    "security_group_rule": (
        "project_id", "description", "security_group_id", "direction", "ethertype", "remote_address_group_id",
        "protocol", "port_range_min", "port_range_max",
    ),
}  # fmt: skip
"""Table -> what is asked for, besides the id."""

ATOMIC = "extraroute-atomic"
"""With ML2/OVN from Neutron 28 (2026.1) on. Older ones are given the whole list, guarded by the router's revision."""

NEEDED = {
    ("router",): "Neutron's L3 service",
    ("extraroute",): "Neutron's L3 service with extra routes",
    (ATOMIC, "revision-if-match"): "Neutron's plugin `revisions`, which is loaded unless somebody took it out",
}
"""Extensions of which one at least must be there, and who has them."""

GROUPS = 50
"""Address groups that one question names: their ids go into its address, which web servers take up to 4 KiB of."""

SHORT = 100
"""A page of projects that is shorter is the last: Keystone does not say, and no cloud allows fewer in one."""

ADDRESS_GROUPS = frozenset({"address-group", "security-groups-remote-address-group"})
"""Extensions (OpenStack Wallaby) without which no rule can name what the other sides list."""


@dataclass(frozen=True)
class Listing:
    """Everything at one moment, as far as one moment goes: several calls, none of which waits for another.

    project     id of our own project
    projects    id -> name; None where our user may not list them: projects are then named by their ids
    revisions   of security groups; they say whether rules have to be asked for again, and nothing else
    """

    project: str
    extensions: frozenset[str]
    tables: Mapping[str, Table]
    projects: Mapping[str, str] | None = field(default_factory=dict)
    revisions: Mapping[str, Object] = field(default_factory=dict, compare=False)

    @property
    def admits(self) -> bool:
        """Address groups can be made."""
        return self.extensions >= ADDRESS_GROUPS

    @property
    def atomic_routes(self) -> bool:
        """Routes are added and removed without saying what else is in the list."""
        return ATOMIC in self.extensions

    @cached_property
    def router_ports(self) -> Mapping[str, tuple[Object, ...]]:
        """Router -> its ports."""
        return _grouped((p for p in self.tables["port"].values() if p["device_owner"] in ROUTER_PORTS), "device_id")

    @cached_property
    def network_routers(self) -> Mapping[str, frozenset[str]]:
        """Network -> routers that have a port on it."""
        found: dict[str, set[str]] = {}
        for router, ports in self.router_ports.items():
            for port in ports:
                found.setdefault(port["network_id"], set()).add(router)
        return {network: frozenset(routers) for network, routers in found.items()}

    @cached_property
    def network_subnets(self) -> Mapping[str, tuple[Object, ...]]:
        """Network -> its subnets."""
        return _grouped(self.tables["subnet"].values(), "network_id")


def _grouped(objects: Iterable[Object], by: str) -> dict[str, tuple[Object, ...]]:
    found: dict[str, list[Object]] = {}
    for one in objects:
        found.setdefault(one[by], []).append(one)
    return {key: tuple(sorted(ones, key=lambda o: str(o["id"]))) for key, ones in found.items()}


def fetch(api: Api, owner: str, before: Listing | None = None) -> Listing:
    """Ask for everything that may differ from `before`. Raises WorldError: what is listed by half is not listed."""
    extensions = frozenset(e["alias"] for e in api.get("network", "/extensions", fields="alias")["extensions"])
    for aliases, who in NEEDED.items():
        if extensions.isdisjoint(aliases):
            text = f"cloud {api.cloud!r}: the Networking API lacks the extension {' or '.join(map(repr, aliases))}"
            raise WorldError(Problem("CloudTooOld", text, remedy=f"it takes {who}"))
    questions: dict[str, Callable[[], Table]] = {
        "network": lambda: _list(api, "network"),
        "subnet": lambda: _list(api, "subnet"),
        "router": lambda: _list(api, "router"),
        "security_group": lambda: _list(api, "security_group"),
        "port": lambda: {**_list(api, "port", device_owner=ROUTER_PORTS), **_list(api, "port", project_id=api.project)},
    }
    if extensions >= ADDRESS_GROUPS:
        questions["address_group"] = lambda: _list(api, "address_group")
    with ThreadPoolExecutor(3) as pool:
        projects = pool.submit(project_names, api)
        answers = {table: pool.submit(question) for table, question in questions.items()}
        try:
            tables: dict[str, Table] = {table: answer.result() for table, answer in answers.items()}
            known = projects.result()
        except BaseException:
            # What is not asked yet is not needed any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    tables.setdefault("address_group", {})
    revisions = tables["security_group"]
    tables["security_group"] = {
        i: {name: value for name, value in group.items() if name != REVISION} for i, group in revisions.items()
    }
    groups = {i: str(g["project_id"]) for i, g in tables["address_group"].items() if key_of(owner, g)}
    rules, doubtful = unchanged_rules(owner, groups, revisions, before)
    for n in range(0, len(doubtful), GROUPS):
        rules |= _list(api, "security_group_rule", remote_address_group_id=doubtful[n : n + GROUPS])
    tables["security_group_rule"] = {i: r for i, r in rules.items() if _is_at_home(r, groups, revisions)}
    return Listing(api.project, extensions, tables, known, revisions)


def _is_at_home(rule: Object, groups: Mapping[str, str], security_groups: Table) -> bool:
    """In a security group of the address group's own project. We make no others; and who shares it may make any."""
    found = security_groups.get(rule["security_group_id"])
    return found is not None and found["project_id"] == groups[rule["remote_address_group_id"]]


def unchanged_rules(
    owner: str, groups: Mapping[str, str], revisions: Table, before: Listing | None
) -> tuple[dict[str, Object], list[str]]:
    """Rules that cannot have changed, and the address groups of ours whose rules may have.

    Only so many groups are asked for by one question: with a thousand of them idling would be twenty more each time.

    groups  address groups of ours: id -> project
    """
    if before is None or any(REVISION not in group for group in revisions.values()):
        return {}, [*groups]
    either = {**before.revisions, **revisions}
    changed = {g["project_id"] for i, g in either.items() if revisions.get(i) != before.revisions.get(i)}
    old = before.tables["address_group"]
    sure = {i for i, p in groups.items() if i in old and key_of(owner, old[i]) and p not in changed}
    rules = before.tables["security_group_rule"]
    return {i: r for i, r in rules.items() if r["remote_address_group_id"] in sure}, [*(groups.keys() - sure)]


def path_of(resource: str) -> str:
    """Where the API has all of a kind.

    >>> path_of("security_group")
    '/security-groups'
    """
    return f"/{resource.replace('_', '-')}s"


def _list(api: Api, table: str, **query: Any) -> Table:
    """One kind of resource, page by page where the API gives pages."""
    collection, path = f"{table}s", path_of(table)
    wanted = {"fields": ("id", *FIELDS[table]), **query}
    found: dict[str, Object] = {}
    while True:
        body = api.get("network", path, **wanted)
        found |= {one["id"]: one for one in body[collection]}
        if not any(link.get("rel") == "next" for link in body.get(f"{collection}_links", ())):
            return found
        wanted["marker"] = body[collection][-1]["id"]


def project_names(api: Api) -> Mapping[str, str] | None:
    """Id -> name; None where our user may not list them. Raises WorldError.

    Keystone 28 and later cut the list off at `max_db_limit` (1000) without a word, and go on from a marker; older ones
    give all at once whatever is asked.
    """
    found: dict[str, str] = {}
    asked: dict[str, str] = {}
    while True:
        try:
            body = api.get("identity", "/projects", **asked)
        except Refused as error:
            if error.status == 403 and not found:
                return None
            raise
        before, page, cut = len(found), body["projects"], body.get("truncated", False)
        found |= {p["id"]: p["name"] for p in page}
        if len(found) == before and cut:
            text = f"cloud {api.cloud!r}: Keystone cuts its list of projects off after {before}"
            raise WorldError(Problem("ApiPartial", text, remedy="raise list_limit in keystone.conf"))
        if len(found) == before or (len(page) < SHORT and not cut):
            return found
        asked = {"marker": page[-1]["id"]}
