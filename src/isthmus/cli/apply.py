"""`isthmus apply`: make the databases as the documents say, and wait until it is true."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from isthmus.cli.common import configuration, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, Problem

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
    """Print conditions; exit code 1 where a site was out of reach or a database refused."""
    problems: list[Problem] = [p for r in results for p in r.problems]
    objects = [described(name, found) for r in results for name, found in sorted(r.conditions.items())]
    out.result({"objects": objects, "transactions": sum(r.transactions for r in results)})
    for result in results:
        for name, found in sorted(result.conditions.items()):
            ready = found[-1]
            out.line(f"Interconnect {name}: {'Ready' if ready.status == 'True' else ready.reason}: {ready.message}")
    out.line(f"{sum(r.transactions for r in results)} transactions")
    out.problems(problems)
    return EXIT_WORLD if problems else EXIT_OK


def described(name: str, found: Iterable[Condition]) -> dict[str, Any]:
    return {"kind": "Interconnect", "name": name, "conditions": [c.fields() for c in found]}
