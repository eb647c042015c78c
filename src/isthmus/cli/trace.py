"""`isthmus trace`: the way of one packet through all sites, by the rows alone; exit code 1 where it does not arrive."""

from __future__ import annotations

import argparse
import asyncio

from isthmus.cli.common import port, readable, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, WorldError
from isthmus.model.rows import nb


def configure(parser: argparse.ArgumentParser) -> None:
    where = (
        "a logical switch port; at sites of type openstack also SITE/PROJECT/PORT, each by name or id, "
        "at those of type kubernetes SITE/NAMESPACE/POD"
    )
    parser.add_argument("source", metavar="SITE/PORT", help=where)
    parser.add_argument("target", metavar="SITE/PORT|ADDRESS", help="another one, or an address")
    parser.add_argument("--protocol", choices=("icmp", "tcp", "udp"), default="icmp")
    parser.add_argument("--port", type=port, default=80, metavar="N", help="destination port of tcp and udp (80)")
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="seconds to wait for databases (10)")


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.controller.survey import projects, read  # noqa: PLC0415
    from isthmus.verify.port import split  # noqa: PLC0415
    from isthmus.verify.reach import World  # noqa: PLC0415
    from isthmus.verify.trace import draw, trace  # noqa: PLC0415

    configuration, problems = readable(args)
    rows = asyncio.run(read(configuration, args.timeout))
    for word in (args.source, args.target):
        if problem := rows.problems.get(nb(word.partition("/")[0])):
            raise WorldError(problem)
    if problems := (*problems, *rows.problems.values()):
        out.problems(problems)
    # only rows are asked where no project is named
    named = projects(configuration, {site for site, of, _ in map(split, (args.source, args.target)) if of})
    drawings = trace(World(rows.sites), args.source, args.target, args.protocol, args.port, named)
    out.result({"traces": [d.as_json() for d in drawings]})
    for each in drawings:
        out.line(draw(each))
    return EXIT_OK if all(d.arrives for d in drawings) else EXIT_WORLD
