"""The small world of `worlds`, joined by the real compiler instead of by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from uuid import NAMESPACE_URL, uuid5

from isthmus.compile import names
from isthmus.compile.rows import rows
from isthmus.compile.view import Joined, Numbers
from isthmus.compile.view import Side as Resolved
from isthmus.model.intent import Pools
from isthmus.model.rows import INSTALLATION, KEY, OWNER, PATH, Row, nb
from worlds import OWNER as US
from worlds import Made, Rows, Tenant, native, two_tenants

POOLS = Pools(
    link=(ip_network("169.254.128.0/18"), ip_network("fd69:7374::/32")),
    transit=(ip_network("169.254.64.0/18"), ip_network("fd69:7375::/32")),
)


def two_tenants_compiled() -> Made:
    """As `two_tenants`, with what ovn-ic would make of the transit switches; links are numbered alike."""
    made = two_tenants()
    databases = {site: Rows(site) for site in made.sites}
    for tenant in made.tenants:
        for side in tenant.sides:
            native(databases[side.site], side)
    for number, tenant in enumerate(made.tenants):
        for database in databases.values():
            name = names.transit_switch(US, tenant.name)
            database.switch(name, other_config={"interconn-ts": name})
        joined = _joined(made, tenant, number)
        for site, database in databases.items():
            add(database, (r for r in rows(joined) if r.database == nb(site)))
    return replace(made, sites={site: database.tables for site, database in databases.items()})


def _joined(made: Made, tenant: Tenant, number: int) -> Joined:
    intent = next(i for i in made.configuration.interconnects if i.name == tenant.name)
    sides = tuple(
        Resolved(a, made.vpcs[tenant.name, a.name], made.listed[tenant.name, a.name], (), ("gw1",), ())
        for a in intent.attachments
    )
    numbers = {s.name: Numbers(index + 1, number * 2 + index) for index, s in enumerate(sides)}
    return Joined(tenant.name, US, "installation", sides, numbers, POOLS, 1442)


def add(database: Rows, wanted: Iterable[Row], owner: str = US) -> None:
    """Insert rows into their parents, which may come later."""
    found = list(wanted)
    uuids = {(r.table, r.key): str(uuid5(NAMESPACE_URL, f"{database.site}/{r.table}/{r.key}")) for r in found}
    for row in found:
        marks = {OWNER: owner, KEY: row.key, PATH: row.path, INSTALLATION: "installation"}
        ids = dict(row.columns.get("external_ids", {})) | marks  # type: ignore[call-overload]
        made = dict(row.columns) | {"_uuid": uuids[row.table, row.key], "external_ids": ids}
        database.tables.setdefault(row.table, {})[uuids[row.table, row.key]] = made
    for row in found:
        if (parent := row.parent) is None:
            continue
        table = database.tables[parent.table]
        named = [u for u, r in table.items() if r["name"] == parent.name]
        owner = parent.uuid or (named[0] if parent.name else uuids[parent.table, parent.key or ""])
        column = table[owner].get(parent.column, frozenset())
        table[owner][parent.column] = column | {uuids[row.table, row.key]}
