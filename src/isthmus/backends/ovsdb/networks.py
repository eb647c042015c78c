"""The networks of a cluster in its northbound database: what stands there of ours, and transactions on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from isthmus.backends.changes import Change
from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.store import Store
from isthmus.backends.ovsdb.tables import NORTHBOUND, SOUTHBOUND, southbound_where
from isthmus.backends.ovsdb.write import counted, operations
from isthmus.model.intent import Site
from isthmus.model.rows import KEY, OWNER, Record


def owner_of(site: str) -> str:
    """The mark of a cluster's own networks. No Fabric's owner holds a dot, so none prunes them."""
    return f"networks.{site}"


class NetworkStore(Store):
    """Keys of rows begin with the group that they are compared with: `vpc.NAME/`, `subnet.NAME/`, `pod.NS.NAME/`."""

    def __init__(self, site: Site, wake: Callable[[], None]) -> None:
        self.owner = owner_of(site.name)
        self._touched: set[str] = set()
        index = Index(self.owner)
        nb = Client(
            site.northbound,
            "OVN_Northbound",
            NORTHBOUND,
            where={"Logical_Switch_Port": [["external_ids", "includes", ["map", [[OWNER, self.owner]]]]]},
            # Capitals: no owner of a Fabric has any.
            lock=f"isthmus_Networks_{site.name.replace('-', '_')}",
            changed=self._changed,
            wake=wake,
        )
        sb = Client(site.southbound, "OVN_Southbound", SOUTHBOUND, where=southbound_where(self.owner), wake=wake)
        super().__init__(f"site {site.name!r}", site.origin, nb, sb, index)

    def _changed(self, table: str, uuid: str, old: Record | None, new: Record | None) -> None:
        self.index.changed(table, uuid, old, new)
        for record in (old, new):
            ids = record.get("external_ids") if record else None
            if isinstance(ids, dict) and ids.get(OWNER) == self.owner:
                self._touched.add(str(ids.get(KEY, "")).partition("/")[0])

    def take(self) -> set[str]:
        """Groups of which a row has changed since the last call, whoever wrote it."""
        taken, self._touched = self._touched, set()
        return taken

    def touch(self, groups: Iterable[str]) -> None:
        """Have them compared again."""
        self._touched.update(groups)

    async def write(self, changes: Iterable[Change], comment: str) -> None:
        """One transaction.

        Names of ports are unique in OVN's schema, so what adds nothing but ports cannot happen twice; anything else is
        guarded (`counted`).
        """
        changes = list(changes)
        assert self.client.schema is not None
        owned: dict[tuple[str, str], list[str]] = {}
        groups = {c.key.partition("/")[0] for c in changes}
        groups |= {c.parent.key.partition("/")[0] for c in changes if c.parent and c.parent.key}
        for group in groups:
            owned.update(self.owned(group))
        work: list[dict[str, Any]] = operations(changes, self.client.schema, owned)
        if any(c.table != "Logical_Switch_Port" for c in changes):
            (row,) = self.client.rows["NB_Global"].values()
            work = counted(work, int(row["nb_cfg"]))
        await self.client.transact(work, comment)
