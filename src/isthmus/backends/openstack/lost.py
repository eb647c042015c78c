"""Routes that Neutron has and OVN has not: they are made anew.

Of two changes of one router at the same moment, ours and the tenant's say, Neutron writes to OVN what the one brings
that comes first, and leaves the other out where its revision is the older one: the API shows both, and packets go by
one. Neutron's own maintenance may see that minutes later. Our own changes of a router are sent one after another
(`Turns`); what others do at the same moment is seen here (docs/decisions/0020).
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from isthmus.backends.changes import Change
from isthmus.backends.openstack.owned import compared
from isthmus.backends.ovsdb.index import Index
from isthmus.model.rows import Row, Value

GRACE, LONGEST = 2.0, 300.0
"""Seconds that OVN may lack a route before it is made anew, doubling with each time it was in vain."""

Route = tuple[str, str, str]
"""Router's id, destination, next hop."""


class Turns:
    """One change of a router at a time; used from many threads."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def of(self, path: str) -> Iterator[None]:
        """Wait for one's turn, where the path of a call is a router's."""
        words = path.split("/")
        if words[1] != "routers" or len(words) < 3:
            yield
            return
        with self._locks[words[2]]:
            yield


class Lost:
    """Of one site; asked again when the router's rows change, or `wake` was called."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]], index: Index, wake: Callable[[], None]) -> None:
        self._rows, self._index, self._wake = rows, index, wake
        self._missed: dict[Route, tuple[float, int]] = {}
        """Until when OVN may lack it, and how often it was made anew."""
        self._known: dict[str, tuple[int, frozenset[tuple[str, str]]]] = {}
        self.ripe = 0
        """Raised whenever a wait for OVN is over."""

    def changes(self, wanted: Iterable[Row], *, busy: bool) -> list[Change]:
        """What makes routes anew that Neutron has: deferred as long as OVN may still get them by itself.

        wanted  rows of routes that are in Neutron
        busy    calls are under way that may be about them
        """
        found: list[Change] = []
        for row in wanted:
            assert row.parent is not None and row.parent.uuid is not None
            route = row.parent.uuid, *_ends(row.columns)
            if not self._uuids(route[0]) or route[1:] in self._routes(route[0]):
                # A router that is gone from OVN is gone, and its routes with it: the next listing says so.
                self._missed.pop(route, None)
                continue
            waits = busy or not self._due(route)
            id_ = "/".join(route)
            found.append(Change("remove", row.table, row.key, id_, row.columns, row.parent, deferred=waits))
            found.append(Change("add", row.table, row.key, None, row.columns, row.parent, deferred=waits))
        return found

    def version(self, routers: Iterable[str]) -> object:
        """Differs from before where the answer may."""
        return self.ripe, tuple((r, self._index.version.get(u, 0)) for r in sorted(routers) for u in self._uuids(r))

    def _due(self, route: Route) -> bool:
        if route not in self._missed:
            self._wait(route, 0)
        until, _ = self._missed[route]
        return asyncio.get_running_loop().time() >= until

    def begun(self, changes: Iterable[Change]) -> None:
        """Calls are made for some of them."""
        for change in changes:
            if change.op == "add" and change.parent is not None and change.table == "extra_route":
                route = str(change.parent.uuid), *_ends(change.columns)
                if route in self._missed:
                    self._wait(route, self._missed[route][1] + 1)

    def _wait(self, route: Route, times: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + min(GRACE * 2**times, LONGEST)
        self._missed[route] = until, times
        loop.call_at(until, self._over)

    def _over(self) -> None:
        self.ripe += 1
        self._wake()

    def _uuids(self, router: str) -> set[str]:
        return self._index.named.get(("Logical_Router", f"neutron-{router}"), set())

    def _routes(self, router: str) -> frozenset[tuple[str, str]]:
        """What OVN's router has."""
        version = sum(self._index.version.get(uuid, 0) for uuid in self._uuids(router))
        if self._known.get(router, (-1,))[0] != version:
            uuids = {u for r in self._uuids(router) for u in self._rows["Logical_Router"][r]["static_routes"]}
            table = self._rows["Logical_Router_Static_Route"]
            there = (table[u] for u in uuids if u in table)
            routes = frozenset(compared({"destination": r["ip_prefix"], "nexthop": r["nexthop"]}) for r in there)
            self._known[router] = version, routes
        return self._known[router][1]


def _ends(columns: Mapping[str, Value]) -> tuple[str, str]:
    """Destination and next hop of an extra route, as they are compared."""
    return compared({c: str(columns[c]) for c in ("destination", "nexthop")})
