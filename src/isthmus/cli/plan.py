"""`isthmus plan`: what apply would write, row by row. Writes nothing."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isthmus.cli.common import configuration, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_CHANGES, EXIT_OK, EXIT_WORLD, Problem

if TYPE_CHECKING:
    from isthmus.backends.changes import Change
    from isthmus.model.intent import Configuration

SIGNS = {"add": "+", "change": "~", "remove": "-"}

LATER = {"kubernetes": "when OVN has rows of what its objects say"}
"""Beginning of a database's name -> what its deferred changes wait for, where that is not ovn-ic."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prune", action="store_true", help="also show what would be removed of this owner's other rows"
    )
    parser.add_argument("--exit-code", action="store_true", help="exit 3 when there are changes")
    parser.add_argument("--adopt", action="store_true", help="take over rows of another installation of this owner")
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="seconds to wait for databases")


def run(args: argparse.Namespace, out: Output) -> int:
    found = asyncio.run(plan(configuration(args), prune=args.prune, adopt=args.adopt, timeout=args.timeout))
    databases = [
        {"database": name, "rows": [_row(c) for c in changes]} for name, changes in found.changes.items() if changes
    ]
    left = [{"kind": "Interconnect", "name": name} for name in found.left]
    out.result({"databases": databases, "notes": found.notes, "notPlanned": left})
    for name, changes in found.changes.items():
        if changes:
            out.line(f"{name}:")
        for change in changes:
            _print(change, out, LATER.get(name.partition("/")[0], "when ovn-ic has made the switch"))
    if not databases:
        out.line("nothing else to do" if left else "nothing to do")
    for name, why in found.left.items():
        out.line(f"Interconnect {name} was not planned: {why.message}")
    for note in found.notes:
        out.note(f"note: {note}")
    if found.problems:
        out.problems(found.problems)
        return EXIT_WORLD
    return EXIT_CHANGES if databases and args.exit_code else EXIT_OK


class Planned:
    """Changes by database, what a person should know, sites out of reach, and the Interconnects that wait for them."""

    def __init__(self) -> None:
        self.changes: dict[str, list[Change]] = {}
        self.notes: list[str] = []
        self.problems: list[Problem] = []
        self.left: dict[str, Problem] = {}


async def plan(configuration: Configuration, *, prune: bool, adopt: bool, timeout: float) -> Planned:
    from isthmus.controller.notes import notes  # noqa: PLC0415
    from isthmus.controller.once import Once, scope  # noqa: PLC0415
    from isthmus.controller.write import planned  # noqa: PLC0415

    result = Planned()
    for fabric in configuration.fabrics:
        async with Once(configuration, fabric, writes=False, adopt=adopt, timeout=timeout) as once:
            once.plan(scope(configuration, fabric, prune=prune))
            result.changes.update(planned(once.planner))
            result.notes += notes(once.planner)
            result.problems += once.troubles_in_scope()
            result.left |= {e.name: e.blocked for e in once.planner.entries.values() if e.blocked}
    return result


def _row(change: Change) -> dict[str, Any]:
    columns = {name: _plain(value) for name, value in change.columns.items()}
    return {"op": change.op, "table": change.table, "key": change.key, "columns": columns}


def _plain(value: object) -> Any:
    if isinstance(value, frozenset):
        return sorted(value, key=str)
    return dict(value) if isinstance(value, Mapping) else value


def _print(change: Change, out: Output, when: str) -> None:
    later = f" ({when})" if change.deferred else ""
    out.line(f"  {SIGNS[change.op]} {change.table} {change.key}{later}")
    for name, value in sorted(change.columns.items()):
        if name != "external_ids" and value not in (None, "") and (value or isinstance(value, int)):
            out.line(f"        {name}: {_text(value)}")


def _text(value: object) -> str:
    plain = _plain(value)
    if isinstance(plain, list):
        return ", ".join(map(str, plain))
    if isinstance(plain, dict):
        return ", ".join(f"{k}={v}" for k, v in sorted(plain.items()))
    return str(plain)
