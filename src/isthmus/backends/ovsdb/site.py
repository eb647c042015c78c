"""A site of type `ovn`, and the Fabric: replicas of their databases, facts from them, transactions on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.diff import Change, Differ, Owner
from isthmus.backends.ovsdb.facts import NorthboundFacts
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.tables import (
    IC_NORTHBOUND,
    IC_SOUTHBOUND,
    NEEDED,
    NORTHBOUND,
    SOUTHBOUND,
    northbound_where,
    southbound_where,
)
from isthmus.backends.ovsdb.write import counted, operations
from isthmus.errors import Conflict, Problem, WorldError
from isthmus.model.facts import Chassis, Switch, Vpc
from isthmus.model.intent import Endpoint, Fabric, Site, VpcRef
from isthmus.model.rows import Record, Row

AGENT = "isthmus:agent"


def lock_name(owner: str) -> str:
    """OVSDB lock ids are `[a-zA-Z_][a-zA-Z0-9_]*` (RFC 7047 §3.1); owners are DNS labels, so this is one to one."""
    return f"isthmus_{owner.replace('-', '_')}"


class Store:
    """One database that we write: replica, index of what we own, and the one way to change it."""

    def __init__(self, client: Client, index: Index) -> None:
        self.client, self.index = client, index

    def diff(self, interconnect: str, desired: Iterable[Row], owner: Owner) -> list[Change]:
        return Differ(self.client.rows, self.index, owner).diff(interconnect, desired)

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

    @property
    def problem(self) -> Problem | None:
        """Why the database cannot be used now, or None."""
        if not self.client.synced:
            first = self.client.endpoint.remotes[0]
            return self.client.failure or Problem("NotListed", f"{first}: not listed yet")
        assert self.client.schema is not None
        missing = [
            f"{table}.{column}"
            for table, columns in NEEDED[self.client.database].items()
            for column in columns
            if column not in self.client.schema.get(table, {})
        ]
        if missing:
            return Problem(
                "SchemaTooOld",
                f"{self.client.endpoint.remotes[0]}: the schema lacks {', '.join(missing)}",
                remedy="upgrade OVN to 22.03 or later and convert the database",
            )
        return None


class OvnSite(Store):
    """NB and SB of one site; gives `model.facts.SiteFacts`."""

    def __init__(self, site: Site, owner: str, wake: Callable[[], None], *, writes: bool) -> None:
        self.site = site
        index = Index(owner)
        super().__init__(
            Client(
                site.northbound,
                "OVN_Northbound",
                NORTHBOUND,
                where=northbound_where(owner),
                lock=lock_name(owner) if writes else None,
                changed=index.changed,
                wake=wake,
            ),
            index,
        )
        self.sb = Client(
            site.southbound,
            "OVN_Southbound",
            SOUTHBOUND,
            where=southbound_where(owner),
            changed=self._sb_changed,
            wake=wake,
        )
        self.chassis_version = 0
        self._bindings: dict[str, str] = {}
        self._chassis: tuple[int, dict[str, Chassis]] = (-1, {})
        self._facts = NorthboundFacts(site.name, self.client.rows, index)

    # -- SiteFacts ----------------------------------------------------------------------------------------

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        return self._facts.vpcs(ref)

    def switches(self, name: str) -> tuple[Switch, ...]:
        return self._facts.switches(name)

    def chassis(self) -> Mapping[str, Chassis]:
        """By name; identity and marks only change `chassis_version`, counters do not."""
        if self._chassis[0] != self.chassis_version:
            private = {row["name"]: row for row in self.sb.rows["Chassis_Private"].values()}
            self._chassis = (
                self.chassis_version,
                {
                    row["name"]: Chassis(
                        name=row["name"],
                        hostname=row["hostname"],
                        interconnect=row["other_config"].get("is-interconn") == "true",
                        agent=AGENT in private.get(row["name"], {}).get("external_ids", {}),
                    )
                    for row in self.sb.rows["Chassis"].values()
                },
            )
        return self._chassis[1]

    # -- what the southbound database says of what we wrote --------------------------------------------------

    def private(self, chassis: str) -> Record | None:
        """The Chassis_Private row of a chassis, or None where it left."""
        return next((r for r in self.sb.rows["Chassis_Private"].values() if r["name"] == chassis), None)

    def chassis_cfg(self, chassis: str) -> int | None:
        """The `nb_cfg` that a chassis has worked off, or None where it left."""
        row = self.private(chassis)
        return None if row is None else cast("int", row["nb_cfg"])

    def bound_to(self, port: str) -> str | None:
        """Name of the chassis that a port is bound to, or None."""
        uuid = self._bindings.get(port)
        chassis = self.sb.rows["Port_Binding"][uuid]["chassis"] if uuid else None
        return self.sb.rows["Chassis"].get(chassis, {}).get("name") if chassis else None

    def _sb_changed(self, table: str, uuid: str, old: Record | None, new: Record | None) -> None:
        if table == "Port_Binding":
            if old is not None:
                self._bindings.pop(str(old["logical_port"]), None)
            if new is not None:
                self._bindings[str(new["logical_port"])] = uuid
        elif table == "Chassis" or _agent(old) != _agent(new):
            self.chassis_version += 1

    # -- NB_Global ------------------------------------------------------------------------------------------

    @property
    def nb_global(self) -> Mapping[str, Any]:
        return next(iter(self.client.rows["NB_Global"].values()), {"name": "", "nb_cfg": 0, "options": {}})

    @property
    def nb_cfg(self) -> int:
        return int(self.nb_global["nb_cfg"])

    def settings(self) -> dict[str, str]:
        """The few foreign keys that we set where they differ: an empty zone name, BFD timers that the Site asks for."""
        wanted: dict[str, str] = {}
        if not self.nb_global["name"]:
            wanted["name"] = self.site.zone
        if (bfd := self.site.bfd) is not None:
            timers = {"bfd-min-rx": bfd.min_rx, "bfd-min-tx": bfd.min_tx, "bfd-mult": bfd.mult}
            options = self.nb_global["options"]
            wanted |= {f"options:{k}": str(v) for k, v in timers.items() if options.get(k) != str(v)}
        return wanted

    def _settings_operations(self) -> Iterator[dict[str, Any]]:
        wanted = self.settings()
        if name := wanted.pop("name", None):
            yield {"op": "update", "table": "NB_Global", "where": [["name", "==", ""]], "row": {"name": name}}
        if wanted:
            pairs = [[key.partition(":")[2], value] for key, value in wanted.items()]
            mutations = [
                ["options", "delete", ["set", [key for key, _ in pairs]]],
                ["options", "insert", ["map", pairs]],
            ]
            yield {"op": "mutate", "table": "NB_Global", "where": [], "mutations": mutations}

    # -- writing --------------------------------------------------------------------------------------------

    async def write(self, changes: Iterable[tuple[str, Change]], comment: str) -> int:
        """One transaction of (Interconnect, change); returns the `nb_cfg` that it raised."""
        before = self.nb_cfg
        work = [*self._settings_operations(), *self._operations(changes)]
        await self.client.transact(counted(work, before), comment)
        return before + 1

    async def stop(self) -> None:
        await asyncio.gather(self.client.stop(), self.sb.stop())

    def start(self) -> None:
        self.client.start()
        self.sb.start()

    @property
    def trouble(self) -> Problem | None:
        """Why the site cannot be worked on, or None."""
        problem = self.problem or Store(self.sb, self.index).problem
        if problem is None:
            return None
        message = f"site {self.site.name!r}: {problem.message}"
        return Problem(problem.code, message, self.site.origin.file, self.site.origin.document, "", problem.remedy)


def _agent(record: Record | None) -> bool:
    """An agent has registered on this chassis and did not say that it stopped for good."""
    ids = record.get("external_ids") if record else None
    return isinstance(ids, Mapping) and AGENT in ids


class FabricStore(Store):
    """IC-NB, and IC-SB to see which zones have an ovn-ic."""

    def __init__(self, fabric: Fabric, wake: Callable[[], None], *, writes: bool) -> None:
        self.fabric = fabric
        index = Index(fabric.owner)
        lock = lock_name(fabric.owner) if writes else None
        super().__init__(
            Client(fabric.northbound, "OVN_IC_Northbound", IC_NORTHBOUND, lock=lock, changed=index.changed, wake=wake),
            index,
        )
        self.sb = Client(fabric.southbound, "OVN_IC_Southbound", IC_SOUTHBOUND, wake=wake)

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
        await self.client.transact([{"op": "mutate", "table": "IC_NB_Global", "where": [], "mutations": mutations}])

    async def stop(self) -> None:
        await asyncio.gather(self.client.stop(), self.sb.stop())

    def start(self) -> None:
        self.client.start()
        self.sb.start()

    @property
    def trouble(self) -> Problem | None:
        problem = self.problem or Store(self.sb, self.index).problem
        if problem is None:
            return None
        origin = self.fabric.origin
        message = f"fabric {self.fabric.name!r}: {problem.message}"
        return Problem(problem.code, message, origin.file, origin.document, "", problem.remedy)


async def fetch(endpoint: Endpoint, database: str, timeout: float) -> dict[str, dict[str, dict[str, Any]]]:
    """All rows of all tables of a database, once. Raises WorldError."""
    wake = asyncio.Event()
    probe = Client(endpoint, database, {}, wake=wake.set)
    probe.start()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not probe.synced:
                    await wake.wait()
                    wake.clear()
        if probe.schema is None:
            raise WorldError(probe.failure or Problem("Unreachable", f"{endpoint.remotes[0]}: no answer"))
        tables = {table: tuple(columns) for table, columns in probe.schema.items()}
        results = await probe.transact(
            {"op": "select", "table": table, "where": [], "columns": ["_uuid", *columns]}
            for table, columns in tables.items()
        )
        schema = probe.schema
        return {
            table: {
                row["_uuid"][1]: {"_uuid": row["_uuid"][1]}
                | {column: schema[table][column].decode(row[column]) for column in columns}
                for row in result["rows"]
            }
            for (table, columns), result in zip(tables.items(), results, strict=True)
        }
    except Conflict as error:
        raise WorldError(*error.problems) from error
    finally:
        await probe.stop()
