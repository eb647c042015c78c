"""Everything that a database holds, once: for `verify`, `trace` and `explain`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from isthmus.backends.ovsdb.client import Client
from isthmus.errors import Conflict, Problem, WorldError
from isthmus.model.intent import Endpoint


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
