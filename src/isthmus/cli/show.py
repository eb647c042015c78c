"""`isthmus show`: what is joined to what, read from the databases."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from isthmus.api.structure import nearest
from isthmus.cli.common import readable, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, IntentError, Problem

if TYPE_CHECKING:
    from isthmus.controller.topology import Attached, Shown
    from isthmus.model.intent import Configuration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this Interconnect")
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="seconds to wait for databases (10)")


def run(args: argparse.Namespace, out: Output) -> int:
    configuration, problems = readable(args)
    shown, troubles = asyncio.run(show(configuration, args.timeout))
    known = {*(s.name for s in shown), *(i.name for i in configuration.interconnects)}
    if args.name not in {None, *known}:
        near = nearest(args.name, sorted(known))
        remedy = f"did you mean {near}?" if near else "see isthmus status"
        raise IntentError(Problem("UnknownInterconnect", f"nothing is named {args.name!r}", remedy=remedy), *troubles)
    shown = [s for s in shown if args.name in (None, s.name)]
    out.result({"interconnects": [s.as_json() for s in shown]})
    for each in shown:
        for line in draw(each):
            out.line(line)
    if not shown:
        out.line("nothing is joined")
    if problems := (*problems, *troubles):
        out.problems(problems)
    return EXIT_WORLD if troubles else EXIT_OK


async def show(configuration: Configuration, timeout: float) -> tuple[list[Shown], list[Problem]]:
    """Interconnects of every Fabric, and what is out of reach."""
    from isthmus.controller.once import CONNECT  # noqa: PLC0415
    from isthmus.controller.topology import topology  # noqa: PLC0415
    from isthmus.controller.world import World  # noqa: PLC0415

    shown: list[Shown] = []
    problems: list[Problem] = []
    for fabric in configuration.fabrics:
        world = World(fabric, configuration.sites, writes=False)
        world.start()
        try:
            problems += (await world.settle(min(CONNECT, timeout))).values()
            shown += topology(world)
        finally:
            await world.stop()
    return shown, list(dict.fromkeys(problems))


def draw(shown: Shown) -> Iterator[str]:
    """The transit switch, and from it outwards: edge, link, VPC router, subnets.

    An active gateway chassis is marked with `*`.
    """
    yield f"Interconnect {shown.name}"
    yield f"══ {shown.switch or '(no transit switch)'}"
    for number, each in enumerate(shown.attachments, 1):
        last = number == len(shown.attachments)
        for at, line in enumerate(_attached(each)):
            lead = ("╚═ " if last else "╠═ ") if at == 0 else ("   " if last else "║  ")
            yield lead + line


def _attached(each: Attached) -> Iterator[str]:
    at = each.site if each.name == each.site else f"{each.name} at {each.site}"
    if not each.reachable:
        yield f"{at}: out of reach; as others have it:"
        yield f"   └─ router {each.vpc}"
    else:
        yield f"{at}: edge {', '.join(each.transit) or '(joined by another edge of this site)'}"
        if each.gateways:
            yield "   gateways " + ", ".join(f"{g.chassis}{'*' if g.active else ''}" for g in each.gateways)
        yield f"   └─ link {', '.join(each.edge)} ─ {', '.join(each.router)}"
        yield from (f"      probe from {p.chassis}: {_state(p.state, p.since, p.lost)}" for p in each.probes)
        yield f"      └─ router {each.vpc}"
    for number, subnet in enumerate(each.subnets, 1):
        corner = "└─" if number == len(each.subnets) else "├─"
        yield f"         {corner} {subnet.name}  {', '.join(subnet.prefixes)}"


def _state(state: str, since: str, lost: tuple[str, ...]) -> str:
    words = [state, f"since {since}" if since else "", f"no answer from {', '.join(lost)}" if lost else ""]
    return ", ".join(w for w in words if w)
