"""A replica of one OVSDB database, kept current, and transactions on it.

`Client` connects, finds the leader of a cluster, monitors the tables it was asked for and reconnects for ever. It
calls back on every changed row and knows nothing of what rows mean.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from isthmus.backends.ovsdb.schema import Schema, parse_schema
from isthmus.backends.ovsdb.wire import Rejected, Wire, open_wire, refused_us, why_unreachable
from isthmus.errors import Conflict, Problem, Unreachable, WorldError
from isthmus.model.intent import Endpoint
from isthmus.model.rows import Record

log = logging.getLogger(__name__)

Changed = Callable[[str, str, Record | None, Record | None], None]
"""Called with table, uuid, the record before and after; None where it did not, or does not, exist."""

Tables = Mapping[str, Sequence[str]]
"""Table -> columns to monitor; a table or column that the server's schema lacks is left out."""

PROBE_AFTER = 5.0
"""Seconds of silence after which we ask for an echo; as long again without one ends the connection."""

FIRST_RETRY, LAST_RETRY = 0.05, 2.0
"""Seconds between attempts, doubling."""

NO_SUCH_TXN = "00000000-0000-0000-0000-000000000000"


class Client:
    """One database of one server or cluster.

    rows       table -> uuid -> Record, current while `synced`
    schema     None until the first connection
    synced     everything asked for has been listed since the connection was made
    failure    why there is no connection, or None
    """

    def __init__(
        self,
        endpoint: Endpoint,
        database: str,
        tables: Tables,
        *,
        where: Mapping[str, list[Any]] | None = None,
        lock: str | None = None,
        changed: Changed | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.database = database
        self.rows: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in tables}
        self.schema: Schema | None = None
        self.missing: tuple[str, ...] = ()
        """`Table.column` that was asked for and that the server's schema lacks."""
        self.synced = False
        self.has_lock = False
        self.locks = 0
        """How often we have got it: what was seen before the last time may be another writer's past."""
        self.failure: Problem | None = None
        self._tables = tables
        self._where = dict(where or {})
        self._lock = lock
        self._asked = False
        self._changed = changed or (lambda *_: None)
        self._wake = wake or (lambda: None)
        self._wire: Wire | None = None
        self._last_txn = NO_SUCH_TXN
        self._early: list[tuple[str, list[Any]]] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def heard(self) -> float:
        """When the server of the present connection said something last, by the loop's clock; 0.0 if it never did."""
        return self._wire.heard if self._wire is not None and self._wire.answered else 0.0

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin connecting, in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"ovsdb {self.endpoint.remotes[0]}")

    async def stop(self) -> None:
        """Close; locks held are released by the server."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._lost(None)

    async def _run(self) -> None:
        delay = FIRST_RETRY
        turn = 0
        while True:
            remote = self.endpoint.remotes[turn % len(self.endpoint.remotes)]
            turn += 1
            try:
                await self._session(remote)
                delay = FIRST_RETRY
            except (Unreachable, WorldError) as error:
                self._lost(error.problems[0])
            except (OSError, Rejected) as error:
                self._lost(why_unreachable(remote, error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY)

    async def _session(self, remote: str) -> None:
        """One connection from open to loss; returns when an established one is lost."""
        self._early = []
        wire = await open_wire(remote, self.endpoint.tls, self._notified)
        self._wire = wire
        try:
            await self._greet(wire, remote)
            while not wire.closed.done():
                await self._watch(wire)
            error = wire.closed.result()
            self._lost(why_unreachable(remote, error or ConnectionResetError("the server closed the connection")))
        except ConnectionError as error:
            if remote.startswith("ssl:") and not wire.answered:
                raise Unreachable(refused_us(remote)) from error
            raise
        finally:
            wire.close()

    async def _greet(self, wire: Wire, remote: str) -> None:
        """Pipeline everything that a new connection needs: two round trips in all."""
        known = self.schema
        schema = wire.call("get_schema", self.database)
        server = wire.call(
            "monitor_cond", "_Server", ["server"], {"Database": [{"columns": ["name", "leader", "model"]}]}
        )
        self._asked = self._lock is not None
        lock = wire.call("lock", self._lock) if self._lock else None
        try:
            self.schema = parse_schema(await schema)
        except Rejected as error:
            raise WorldError(
                Problem(
                    "NoSuchDatabase",
                    f"{remote}: no database {self.database} ({error})",
                    remedy="check that the address is that of the right database",
                )
            ) from error
        if known is not None and known.keys() != self.schema.keys():
            self._last_txn = NO_SUCH_TXN
        self.missing = tuple(
            f"{table}.{column}"
            for table, columns in self._tables.items()
            for column in columns
            if column not in self.schema.get(table, {})
        )
        self._require_leader(await server, remote)
        found, self._last_txn, updates = await wire.call(
            "monitor_cond_since", self.database, ["data"], self._requests(), self._last_txn
        )
        if not found:
            self._forget_missing(updates)
        self._apply(updates)
        if lock is not None:
            self._hold(bool((await lock)["locked"]))
        early, self._early = self._early, None
        for method, params in early or ():
            self._handle(method, params)
        self.failure = None
        self.synced = True
        self._wake()

    async def _watch(self, wire: Wire) -> None:
        """Wait for the end of the connection, asking for an echo when the server is silent."""
        loop = asyncio.get_running_loop()
        await asyncio.wait([wire.closed], timeout=PROBE_AFTER)
        if wire.closed.done() or loop.time() - wire.heard < PROBE_AFTER:
            return
        with suppress(OSError, Rejected):
            wire.call("echo").add_done_callback(lambda f: f.cancelled() or f.exception())
        await asyncio.wait([wire.closed], timeout=PROBE_AFTER)
        if loop.time() - wire.heard >= 2 * PROBE_AFTER:
            wire.close()
            raise TimeoutError(f"silent for {2 * PROBE_AFTER:g} s")

    def _lost(self, why: Problem | None) -> None:
        was = self.synced, self.failure
        self.synced = self.has_lock = False
        self._wire = None
        self.failure = why or self.failure
        if was != (self.synced, self.failure):
            self._wake()

    def _require_leader(self, answer: Mapping[str, Any], remote: str) -> None:
        for update in answer.get("Database", {}).values():
            row = update.get("initial", {})
            if row.get("name") == self.database and row.get("model") == "clustered" and not row.get("leader"):
                raise Unreachable(
                    Problem("NotLeader", f"{remote}: a follower of the cluster", remedy="list every member's address")
                )

    # -- the lock -------------------------------------------------------------------------------------------

    def ask_for_lock(self) -> None:
        """Stand in line for the lock again after `yield_lock`; a new connection does so by itself."""
        if self._asked or self._wire is None or not self._lock:
            return
        self._asked = True
        self._wire.call("lock", self._lock).add_done_callback(partial(self._answered, self._wire))

    def _answered(self, wire: Wire, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled() or answer.exception() or wire is not self._wire or not self._asked:
            return
        if answer.result()["locked"]:
            self._hold(True)
            self._wake()

    def _hold(self, held: bool) -> None:
        self.locks += held and not self.has_lock
        self.has_lock = held

    def yield_lock(self) -> None:
        """Give the lock to who is next in line, or leave the line."""
        if not self._asked or self._wire is None or not self._lock:
            return
        self._asked = self.has_lock = False
        self._wire.call("unlock", self._lock).add_done_callback(lambda f: f.cancelled() or f.exception())

    # -- replica ------------------------------------------------------------------------------------------

    def _requests(self) -> dict[str, list[dict[str, Any]]]:
        assert self.schema is not None
        return {
            table: [
                {"columns": [c for c in columns if c in self.schema[table]]}
                | ({"where": self._where[table]} if table in self._where else {})
            ]
            for table, columns in self._tables.items()
            if table in self.schema
        }

    def _notified(self, method: str, params: list[Any]) -> None:
        if self._early is not None:
            self._early.append((method, params))
        else:
            self._handle(method, params)

    def _handle(self, method: str, params: list[Any]) -> None:
        if method == "update3":
            self._last_txn = params[1]
            self._apply(params[2])
            self._wake()
        elif method in ("locked", "stolen"):
            self._hold(method == "locked" and self._asked)
            self._wake()
        elif method == "update2" and params[0] == ["server"] and self._wire is not None:
            # Leadership or schema changed: begin again and let `_greet` judge.
            self._wire.close()

    def _forget_missing(self, updates: Mapping[str, Mapping[str, Any]]) -> None:
        """A fresh listing: rows that it does not hold are gone."""
        for table, rows in self.rows.items():
            for uuid in [u for u in rows if u not in updates.get(table, {})]:
                self._changed(table, uuid, rows.pop(uuid), None)

    def _apply(self, updates: Mapping[str, dict[str, Mapping[str, Any]]]) -> None:
        """Consumes `updates`: the replica of a large database grows into the memory that its message leaves."""
        for table, rows in updates.items():
            while rows:
                uuid, update = rows.popitem()
                self._row(table, sys.intern(uuid), update)

    def _row(self, table: str, uuid: str, update: Mapping[str, Any]) -> None:
        assert self.schema is not None
        types = self.schema[table]
        old = self.rows[table].get(uuid)
        if "delete" in update:
            if self.rows[table].pop(uuid, None) is not None:
                self._changed(table, uuid, old, None)
            return
        new: dict[str, Any] = {"_uuid": uuid}
        if "modify" in update and old is not None:
            new = dict(old)
            for column, data in update["modify"].items():
                new[column] = types[column].merge(old[column], data)
        else:
            given = update.get("initial") or update.get("insert") or {}
            for column in self._tables[table]:
                if column in types:
                    spec = types[column]
                    new[column] = spec.decode(given[column]) if column in given else spec.default()
        if new != old:
            self.rows[table][uuid] = new
            self._changed(table, uuid, old, new)

    # -- writing ------------------------------------------------------------------------------------------

    async def transact(self, operations: Iterable[Mapping[str, Any]], comment: str = "") -> list[Any]:
        """Run one transaction; with a lock, it is asserted. Returns the result of each operation given.

        Raises Conflict where a `wait` did not hold or the lock is not ours, WorldError for what the server refuses,
        Unreachable when the connection breaks (the transaction may or may not have happened).
        """
        if self._wire is None or not self.synced:
            raise Unreachable(self.failure or Problem("Unreachable", f"{self.endpoint.remotes[0]}: not connected"))
        ops = list(operations)
        if comment:
            ops.append({"op": "comment", "comment": comment})
        if self._lock:
            ops.insert(0, {"op": "assert", "lock": self._lock})
        try:
            results: list[Any] = await self._wire.call("transact", self.database, *ops)
        except Rejected as error:
            raise WorldError(Problem("TransactionRefused", f"{self.endpoint.remotes[0]}: {error}")) from error
        except OSError as error:
            raise Unreachable(why_unreachable(self.endpoint.remotes[0], error)) from error
        for number, result in enumerate(results):
            if isinstance(result, Mapping) and result.get("error"):
                self._refused(result, ops[number] if number < len(ops) else {})
        return results[1:] if self._lock else results

    def _refused(self, result: Mapping[str, Any], operation: Mapping[str, Any]) -> None:
        where = f"{self.endpoint.remotes[0]} {self.database}"
        if result["error"] in ("timed out", "not owner"):
            raise Conflict(Problem("Conflict", f"{where}: {operation.get('op')}: {result['error']}"))
        what = f"{operation.get('op', 'commit')} {operation.get('table', '')}".strip()
        raise WorldError(
            Problem("TransactionRefused", f"{where}: {what}: {result['error']}: {result.get('details', '')}")
        )
