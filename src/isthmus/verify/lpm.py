"""The forwarding table of one router as northd orders it (23.03: `build_route_match`).

Priority is prefix length * 3, plus 2 for connected, 1 for static, 0 for source routes. So a longer prefix wins
over everything, and among equal lengths connected beats static, and static beats source routes. Connected and source
routes
of the main table apply whatever the route table of the port; static ones only in their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.verify.path import RowRef

SOURCE, STATIC, CONNECTED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Member:
    """One way out. `port` None: northd made no flow for it, packets that hash to it are lost."""

    row: RowRef
    port: str | None
    nexthop: int | None = None
    """None: the destination itself."""


@dataclass(frozen=True, slots=True)
class Route:
    """One flow of the routing stage; several `members` are ECMP; none is `discard`.

    table   route table it is bound to, or None for any
    inport  only for packets from this port (IPv6 link-local networks), or None
    """

    family: int
    network: int
    length: int
    rank: int
    members: tuple[Member, ...]
    row: RowRef
    table: str | None = None
    inport: str | None = None

    @property
    def priority(self) -> int:
        return self.length * 3 + self.rank


_WIDTH = {4: 32, 6: 128}


class Table:
    """Routes of one router, found by longest prefix."""

    def __init__(self, routes: Iterable[Route]) -> None:
        levels: dict[tuple[int, int, int], dict[int, list[Route]]] = {}
        for route in routes:
            shift = _WIDTH[route.family] - route.length
            level = levels.setdefault((route.family, route.priority, shift), {})
            level.setdefault(route.network >> shift, []).append(route)
        self._levels = {
            family: [
                (priority % 3 == SOURCE, shift, level)
                for (f, priority, shift), level in sorted(levels.items(), key=lambda i: -i[0][1])
                if f == family
            ]
            for family in _WIDTH
        }

    def lookup(self, family: int, src: int, dst: int, inport: str, table: str) -> tuple[Route, ...]:
        """The routes of the highest priority that match: none, one, or several whose winner OVN does not define."""
        for by_source, shift, level in self._levels[family]:
            candidates = level.get((src if by_source else dst) >> shift)
            if not candidates:
                continue
            found = tuple(r for r in candidates if _applies(r, inport, table))
            if found:
                return found
        return ()


def _applies(route: Route, inport: str, table: str) -> bool:
    return (route.table is None or route.table == table) and (route.inport is None or route.inport == inport)
