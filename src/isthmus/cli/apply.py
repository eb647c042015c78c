"""`isthmus apply`: make the databases as the documents say, and wait until it is true."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from isthmus.cli.common import configuration, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_NOT_READY, EXIT_OK, EXIT_WORLD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isthmus.controller.conditions import Condition
    from isthmus.controller.once import Result
    from isthmus.model.intent import Configuration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prune", action="store_true", help="remove everything of this owner that the documents lack")
    parser.add_argument("--adopt", action="store_true", help="take over rows of another installation of this owner")
    waiting(parser)


def waiting(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that waits for what it wrote."""
    parser.add_argument("--wait", choices=("auto", "ready", "programmed", "none"), default="auto")
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="seconds, all in all (60)")


def run(args: argparse.Namespace, out: Output) -> int:
    found = configuration(args)
    return report(asyncio.run(apply(found, args, out)), out)


async def apply(
    found: Configuration, args: argparse.Namespace, out: Output, only: Iterable[str] | None = None
) -> list[Result]:
    """Apply to every Fabric; `only` narrows to these Interconnects."""
    from isthmus.controller.once import Once, scope  # noqa: PLC0415

    results: list[Result] = []
    for fabric in found.fabrics:
        adopt = getattr(args, "adopt", False)
        async with Once(found, fabric, writes=True, adopt=adopt, timeout=args.timeout) as once:
            what = scope(found, fabric, prune=getattr(args, "prune", False), only=only)
            results.append(await once.apply(what, args.wait, Progress(out).say))
    return results


class Progress:
    """Says what is waited for, each thing once."""

    def __init__(self, out: Output) -> None:
        self._out, self._last = out, ""

    def say(self, text: str) -> None:
        if text != self._last:
            self._out.note(f"waiting: {text}")
            self._last = text


def report(results: list[Result], out: Output) -> int:
    """Print conditions; exit code 4 where one is still awaited, 1 where a site is out of reach or a write refused."""
    late = [r.late for r in results if r.late]
    problems = [*late, *(p for r in results for p in r.problems)]
    transactions = sum(r.transactions for r in results)
    objects = [described(name, found) for r in results for name, found in sorted(r.conditions.items())]
    calls = [(site, call) for result in results for site, call in result.calls]
    made = [{"site": s, "call": c.what, "request": c.request, "seconds": round(c.seconds, 3)} for s, c in calls]
    out.result({"objects": objects, "transactions": transactions} | ({"calls": made} if made else {}))
    for site, call in calls:
        out.line(f"{site}: {call.what}  {call.request}")
    for result in results:
        for name, found in sorted(result.conditions.items()):
            out.line(f"Interconnect {name}: {_verdict(found[-1])}")
    out.line(f"{transactions} transaction{'' if transactions == 1 else 's'}")
    out.problems(problems)
    if late:
        return EXIT_NOT_READY
    return EXIT_WORLD if problems else EXIT_OK


def _verdict(ready: Condition) -> str:
    if ready.reason == "NoProbe":
        return f"Programmed; not probed: {ready.message}"
    return f"{'Ready' if ready.status == 'True' else ready.reason}: {ready.message}"


def described(name: str, found: Iterable[Condition]) -> dict[str, Any]:
    return {"kind": "Interconnect", "name": name, "conditions": [c.fields() for c in found]}
