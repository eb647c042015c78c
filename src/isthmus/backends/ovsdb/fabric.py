"""The Fabric: the interconnect databases, and our claim on the owner's name in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from isthmus.backends.changes import Change
from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.store import Store, lock_name
from isthmus.backends.ovsdb.tables import IC_NORTHBOUND, IC_SOUTHBOUND
from isthmus.model.intent import Fabric


class FabricStore(Store):
    """IC-NB, and IC-SB to see which zones have an ovn-ic."""

    def __init__(self, fabric: Fabric, wake: Callable[[], None], *, writes: bool) -> None:
        self.fabric = fabric
        index = Index(fabric.owner)
        lock = lock_name(fabric.owner) if writes else None
        nb = Client(fabric.northbound, "OVN_IC_Northbound", IC_NORTHBOUND, lock=lock, changed=index.changed, wake=wake)
        sb = Client(fabric.southbound, "OVN_IC_Southbound", IC_SOUTHBOUND, wake=wake)
        super().__init__(f"fabric {fabric.name!r}", fabric.origin, nb, sb, index)

    @property
    def claim_key(self) -> str:
        return f"isthmus:claim:{self.fabric.owner}"

    @property
    def claim(self) -> str | None:
        """The installation that owns our rows, or None where nobody claimed the owner's name."""
        row = next(iter(self.client.rows["IC_NB_Global"].values()), None)
        return row["external_ids"].get(self.claim_key) if row else None

    @property
    def holder(self) -> str:
        """Who said last that it serves (`isthmus:holder:<owner>`), for messages."""
        row = next(iter(self.client.rows["IC_NB_Global"].values()), None)
        return str(row["external_ids"].get(f"isthmus:holder:{self.fabric.owner}", "")) if row else ""

    @property
    def zones(self) -> frozenset[str]:
        """Zones whose ovn-ic has registered."""
        return frozenset(r["name"] for r in self.sb.rows["Availability_Zone"].values())

    async def write(self, changes: Iterable[tuple[str, Change]], claim: str, comment: str) -> None:
        """One transaction; the first one claims the owner's name."""
        ops = self._operations(changes)
        if self.claim is None:
            ops = [*self._claim(claim), *ops]
        await self.client.transact(ops, comment)

    def _claim(self, claim: str) -> Iterator[dict[str, Any]]:
        """Set our key if nobody has: `wait` holds while the map is as we saw it."""
        pair = ["map", [[self.claim_key, claim]]]
        rows = self.client.rows["IC_NB_Global"]
        if not rows:
            # A new IC-NB has no row until somebody makes it; the schema allows one.
            yield {"op": "insert", "table": "IC_NB_Global", "row": {"external_ids": pair}}
            return
        yield {
            "op": "wait", "table": "IC_NB_Global", "where": [], "columns": ["external_ids"], "until": "==",
            "rows": [{"external_ids": ["map", [list(i) for i in r["external_ids"].items()]]} for r in rows.values()],
            "timeout": 0,
        }  # fmt: skip
        yield {
            "op": "mutate", "table": "IC_NB_Global", "where": [],
            "mutations": [["external_ids", "insert", pair]],
        }  # fmt: skip

    async def hold(self, holder: str) -> None:
        """Leave word of who serves, beside our claim; "" takes it away. Writes only a change."""
        if self.holder == holder:
            return
        key = f"isthmus:holder:{self.fabric.owner}"
        mutations: list[Any] = [["external_ids", "delete", ["set", [key]]]]
        if holder:
            mutations.append(["external_ids", "insert", ["map", [[key, holder]]]])
        work = [{"op": "mutate", "table": "IC_NB_Global", "where": [], "mutations": mutations}]
        await self.client.transact(work, "isthmus")
