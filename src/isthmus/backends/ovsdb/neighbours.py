"""Rows of Static_MAC_Binding, which have no place for marks (ovn-nb(5)): whose they are is told by their MAC.

The MAC of an edge router's port is made from our names and nobody else's, so a row that tells it belongs to what that
port belongs to, for as long as the port is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from isthmus.model.rows import LINK_EDGE, LINK_NEIGHBOUR, Record


class Neighbours:
    """`own` is called with uuid, key and +1 or -1 when a row becomes ours, or is ours no more."""

    def __init__(self, own: Callable[[str, str, int], None]) -> None:
        self._own = own
        self._edges: dict[str, str] = {}
        """MAC of an edge's port on a link -> its key."""
        self._rows: dict[str, dict[str, Record]] = defaultdict(dict)
        """MAC -> uuid -> row."""
        self._about: dict[tuple[str, str], str] = {}
        """(router port, address) -> uuid: the table has one row for each."""

    def key(self, record: Record) -> str | None:
        """The key of a row of ours, else None."""
        edge = self._edges.get(str(record["mac"]))
        if edge is None:
            return None
        version = 6 if ":" in str(record["ip"]) else 4
        return f"{edge.removesuffix(LINK_EDGE)}{LINK_NEIGHBOUR}/{version}"

    def about(self, columns: Record) -> str | None:
        """UUID of the row that tells the MAC of an address at a router port, whoever wrote it, or None."""
        return self._about.get(_about(columns))

    def add(self, uuid: str, record: Record) -> None:
        self._rows[str(record["mac"])][uuid] = record
        self._about[_about(record)] = uuid
        if key := self.key(record):
            self._own(uuid, key, +1)

    def drop(self, uuid: str, record: Record) -> None:
        if key := self.key(record):
            self._own(uuid, key, -1)
        mac = str(record["mac"])
        del self._rows[mac][uuid]
        if not self._rows[mac]:
            del self._rows[mac]
        if self._about.get(_about(record)) == uuid:
            del self._about[_about(record)]

    def edge(self, table: str, key: str, record: Record, sign: int) -> None:
        """A row of ours came (+1) or went (-1); that of an edge's port decides about others."""
        if table != "Logical_Router_Port" or not key.endswith(f"/{LINK_EDGE}"):
            return
        mac = str(record["mac"])
        if sign > 0:
            self._edges[mac] = key
        for uuid, row in self._rows.get(mac, {}).items():
            if owned := self.key(row):
                self._own(uuid, owned, sign)
        if sign < 0:
            self._edges.pop(mac, None)


def _about(columns: Record) -> tuple[str, str]:
    return str(columns["logical_port"]), str(columns["ip"])
