"""`isthmus explain`: why a row exists; or which rows an Interconnect has, and which it lacks."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from isthmus.cli.common import readable, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, IntentError, Problem

if TYPE_CHECKING:
    from isthmus.controller.survey import Rows, Wanted

NEEDS = {"add": "missing", "change": "differs", "remove": "not wanted"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "word",
        metavar="ROW|NAME",
        help="a row, or an object of an API: its id (the first digits do), name or key; or INTERCONNECT[/ATTACHMENT]",
    )
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="seconds to wait for databases (10)")


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.controller.survey import survey  # noqa: PLC0415
    from isthmus.verify.explain import MIN_UUID, explain_row  # noqa: PLC0415

    configuration, problems = readable(args)
    rows, wanted = asyncio.run(survey(configuration, args.timeout))
    found = explain_row(rows.databases, args.word)
    has, needs = _object(rows, wanted, args.word)
    made = [
        (database, one)
        for database, objects in wanted.objects.items()
        for one in objects
        if one.called(args.word, MIN_UUID) or one.key.startswith(f"{args.word}/")
    ]
    if not found and not has and not needs and not made:
        problem = Problem("UnknownName", f"no row and no object is called {args.word!r}", remedy="see isthmus show")
        raise IntentError(problem, *rows.problems.values())
    for each in found:
        out.line(str(each))
    for row in has:
        out.line(f"{row['database']} {row['row']['table']} {row['row']['key']}  {row['row']['path']}")
    for database, one in made:
        out.line(f"{database} {one.table} {one.key}  {one.name or one.id}: {one.show}; removed by {one.removes}")
    for need in needs:
        out.line(f"{need['database']} {need['table']} {need['key']}: {NEEDS[need['op']]}, see isthmus plan")
    shown = [{"database": database, **one.as_json()} for database, one in made]
    about = {"name": args.word, "rows": has, "objects": shown, "needs": needs}
    out.result({"rows": [e.as_json() for e in found], "object": about})
    if problems := (*problems, *rows.problems.values()):
        out.problems(problems)
    return EXIT_WORLD if rows.problems else EXIT_OK


def _object(rows: Rows, wanted: Wanted, word: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows that an Interconnect or Attachment has, and what `apply` would do about others."""
    from isthmus.verify.explain import explain_object  # noqa: PLC0415

    found = explain_object(rows.databases, word)
    has = [{"database": database, "row": ref.as_json()} for database, refs in found.items() for ref in refs]
    needs = [
        {"database": database, "op": change.op, "table": change.table, "key": change.key}
        for database, changes in wanted.missing.get(word.partition("/")[0], {}).items()
        for change in changes
        if f"{change.key}/".startswith(f"{word}/")
    ]
    return has, needs
