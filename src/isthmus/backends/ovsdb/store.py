"""What a site's and a Fabric's databases have in common: start, stop, trouble, diff and operations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from isthmus.backends.changes import Change, Owner
from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.diff import Differ
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.tables import SINCE_22_06, SINGLE_ROW
from isthmus.backends.ovsdb.write import operations
from isthmus.errors import Problem
from isthmus.model.intent import Origin
from isthmus.model.rows import Record, Row


def lock_name(owner: str) -> str:
    """OVSDB lock ids are `[a-zA-Z_][a-zA-Z0-9_]*` (RFC 7047 §3.1); owners are DNS labels, so this is one to one."""
    return f"isthmus_{owner.replace('-', '_')}"


class Store:
    """A database that we write, with an index of what we own there, and the southbound one that answers it.

    what, origin  who it is, and where that was written: for messages
    """

    def __init__(self, what: str, origin: Origin, client: Client, sb: Client, index: Index) -> None:
        self._what, self._origin = what, origin
        self.client, self.sb, self.index = client, sb, index

    def start(self) -> None:
        self.client.start()
        self.sb.start()

    async def stop(self) -> None:
        await asyncio.gather(self.client.stop(), self.sb.stop())

    @property
    def trouble(self) -> Problem | None:
        """Why it cannot be worked on now, or None."""
        problem = unusable(self.client) or unusable(self.sb)
        if problem is None:
            return None
        message = f"{self._what}: {problem.message}"
        return Problem(problem.code, message, self._origin.file, self._origin.document, "", problem.remedy)

    def diff(self, interconnect: str, desired: Iterable[Row], owner: Owner) -> list[Change]:
        there = self.client.schema or {}
        wanted = (row for row in desired if row.table not in SINCE_22_06 or row.table in there)
        return Differ(self.client.rows, self.index, owner, self.switch_of).diff(interconnect, wanted)

    def switch_of(self, network: str) -> str | None:
        """UUID of the Logical_Switch that Neutron made of a network of ours, by the network's key."""
        return None

    def owned(self, interconnect: str) -> Mapping[tuple[str, str], list[str]]:
        return self.index.owned.get(interconnect, {})

    def owned_rows(self, interconnect: str, table: str) -> Iterator[tuple[str, Record]]:
        """(key, record) of our rows of a table."""
        for (name, key), uuids in self.owned(interconnect).items():
            if name == table:
                for uuid in uuids:
                    yield key, self.client.rows[table][uuid]

    def _operations(self, changes: Iterable[tuple[str, Change]]) -> list[dict[str, Any]]:
        assert self.client.schema is not None
        changes = list(changes)
        owned: dict[tuple[str, str], list[str]] = {}
        for interconnect in {name for name, _ in changes}:
            owned.update(self.owned(interconnect))
        return operations([change for _, change in changes], self.client.schema, owned)


def unusable(client: Client) -> Problem | None:
    """Why a database cannot be used now, or None."""
    remote = client.endpoint.remotes[0]
    if not client.synced:
        return client.failure or Problem("NotListed", f"{remote}: not listed yet")
    if missing := [each for each in client.missing if each.partition(".")[0] not in SINCE_22_06]:
        return Problem(
            "SchemaTooOld",
            f"{remote}: the schema lacks {', '.join(missing)}",
            remedy="upgrade OVN to 22.03 or later and convert the database",
        )
    table = SINGLE_ROW.get(client.database)
    if table and not client.rows[table]:
        return Problem(
            "EmptyDatabase",
            f"{remote}: the database is empty, it has no row in {table}",
            remedy="restore its contents, or start a new one: ovn-nbctl init, ovn-sbctl init",
        )
    return None
