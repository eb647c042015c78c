"""`isthmus disconnect`: take something out of the documents, then apply that object alone."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from isthmus.api.structure import nearest
from isthmus.cli.apply import Progress, report, waiting
from isthmus.cli.common import config_path
from isthmus.cli.output import Output
from isthmus.errors import IntentError, IsthmusError, Problem, WorldError

if TYPE_CHECKING:
    from isthmus.backends.files.edit import Edit
    from isthmus.controller.once import Once, Result
    from isthmus.controller.part import Part
    from isthmus.controller.world import World
    from isthmus.model.intent import Interconnect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the Interconnect")
    parser.add_argument("--site", metavar="S", help="only this attachment")
    parser.add_argument("--subnet", metavar="N", help="only this subnet")
    waiting(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.backends.files.edit import disconnect  # noqa: PLC0415

    edit = disconnect(config_path(args), args.name, args.site, args.subnet)
    results, changes = asyncio.run(_cut(edit, args, out))
    code = report(results, out)
    out.result({"changes": list(changes)})
    return code


async def _cut(edit: Edit, args: argparse.Namespace, out: Output) -> tuple[list[Result], tuple[str, ...]]:
    """Locks first, then the file, then the databases: whoever waits for a lock, or is refused, has changed nothing.

    Returns what came of it, and what was taken out of the documents.
    """
    from isthmus.controller.once import Once, scope  # noqa: PLC0415

    results: list[Result] = []
    troubles: list[Problem] = []
    written = False
    for fabric in edit.configuration.fabrics:
        if edit.before is not None and edit.before.fabric != fabric.name:
            continue
        async with Once(edit.configuration, fabric, writes=True, cut=True, timeout=args.timeout) as once:
            await once.lock()
            if edit.before is not None:
                edit = await _judged(edit, edit.before, once, args, out)
            elif not await once.knows(args.name):
                troubles += [*once.troubles.values(), *once.unheard]
                continue
            what = scope(edit.edited, fabric, prune=False, only=[args.name])
            once.plan(what)
            if not written:
                edit.write()
                written = True
            for change in edit.changes:
                out.line(change)
            results.append(await once.apply(what, args.wait, Progress(out).say))
    if not results:
        raise _nobody(args.name, edit.remedy, troubles)
    return results, edit.changes


async def _judged(edit: Edit, before: Interconnect, once: Once, args: argparse.Namespace, out: Output) -> Edit:
    """The edit, or none where the text need not change. Raises IntentError for what nobody knows.

    Said rather than done in silence: whoever mistypes a name believes that it is cut.
    """
    from isthmus.controller.part import Heard, Part  # noqa: PLC0415

    part = Part(before, args.site, args.subnet, edit.attachment)
    heard = await once.hear(part)
    subnet = args.subnet is not None and (args.site is None or args.site in {a.name for a in before.attachments})
    name = f"subnet {args.subnet!r}" if subnet else f"attachment {args.site!r}"
    if subnet and args.site is not None:
        name += f" in attachment {args.site!r}"
    if heard is Heard.UNKNOWN:
        said = f"interconnect {args.name!r} has no {name}"
        raise IntentError(
            Problem("UnknownSubnet" if subnet else "UnknownAttachment", said, remedy=_meant(part, once.world))
        )
    if heard is Heard.UNSURE and edit.attachment is not None:
        site = edit.attachment.site
        out.note(f"note: site {site!r} is out of reach: whether it has a subnet {args.subnet!r} is not known")
    if heard is Heard.GONE:
        out.note(f"note: the document of {args.name!r} connects no {name}: what is left of it is removed")
        return edit.undone()
    return edit


def _meant(part: Part, world: World) -> str:
    if written := part.written_as(world):
        return f"name it as the document does: {written}"
    names = sorted(set(part.names(world)))
    near = nearest(part.subnet or part.site or "", names)
    return f"did you mean {near}?" if near else f"it has {', '.join(names) or 'none'}"


def _nobody(name: str, remedy: str, troubles: list[Problem]) -> IsthmusError:
    """Whether it was cut before or never was, nothing tells: its rows were all that knew it."""
    if troubles:
        said = f"no document and no database in reach has an interconnect {name!r}"
        return WorldError(Problem("UnknownInterconnect", said, remedy=remedy or "try again"), *troubles)
    said = f"no document and no database has an interconnect {name!r}"
    gone = "if it was disconnected, all of it is gone"
    return IntentError(Problem("UnknownInterconnect", said, remedy=f"{gone}; else {remedy}" if remedy else gone))
