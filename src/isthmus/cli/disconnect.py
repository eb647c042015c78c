"""`isthmus disconnect`: take something out of the documents, then apply that object alone."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from isthmus.cli.apply import Progress, report, waiting
from isthmus.cli.common import config_path
from isthmus.cli.output import Output
from isthmus.errors import IntentError, Problem

if TYPE_CHECKING:
    from isthmus.backends.files.edit import Edit
    from isthmus.controller.once import Result


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the Interconnect")
    parser.add_argument("--site", metavar="S", help="only this attachment")
    parser.add_argument("--subnet", metavar="N", help="only this subnet")
    waiting(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.backends.files.edit import disconnect  # noqa: PLC0415

    edit = disconnect(config_path(args), args.name, args.site, args.subnet)
    code = report(asyncio.run(_cut(edit, args, out)), out)
    out.result({"changes": list(edit.changes)})
    return code


async def _cut(edit: Edit, args: argparse.Namespace, out: Output) -> list[Result]:
    """Locks first, then the file, then the databases: whoever waits for a lock, or is refused, has changed nothing."""
    from isthmus.controller.once import Once, scope  # noqa: PLC0415

    results: list[Result] = []
    known = edit.before is not None
    written = False
    for fabric in edit.configuration.fabrics:
        if edit.before is not None and edit.before.fabric != fabric.name:
            continue
        async with Once(edit.configuration, fabric, writes=True, cut=True, timeout=args.timeout) as once:
            await once.lock()
            known = known or once.knows(args.name)
            if edit.absent and not known:
                continue
            what = scope(edit.edited, fabric, prune=False, only=[args.name])
            once.plan(what)
            if edit.before is not None and not once.knows_part(edit.before, args.site, args.subnet):
                raise IntentError(_unknown(args, edit))
            if not written:
                edit.write()
                written = True
            for change in edit.changes:
                out.line(change)
            results.append(await once.apply(what, args.wait, Progress(out).say))
    if edit.absent and not known:
        problem = Problem(
            "UnknownInterconnect", f"nothing is named {args.name!r}", remedy=edit.remedy or "see isthmus status"
        )
        raise IntentError(problem)
    return results


def _unknown(args: argparse.Namespace, edit: Edit) -> Problem:
    """Said rather than done in silence: whoever mistypes a name believes that it is cut."""
    part = f"attachment {args.site!r}" if args.subnet is None else f"subnet {args.subnet!r}"
    where = f" in attachment {args.site!r}" if args.site is not None and args.subnet is not None else ""
    return Problem(
        "UnknownAttachment" if args.subnet is None else "UnknownSubnet",
        f"interconnect {args.name!r} has no {part}{where}",
        remedy=edit.remedy or 'see isthmus show; of "*" a subnet is taken out by its name',
    )
