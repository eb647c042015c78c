"""`isthmus verify`: what is wanted, what the rows say, and with `--live` what packets do. See docs/verify.md."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from isthmus.cli.common import configuration, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_INTENT, EXIT_OK, EXIT_WORLD

if TYPE_CHECKING:
    from isthmus.controller.survey import Wanted
    from isthmus.verify.admission import Admission
    from isthmus.verify.compare import Live
    from isthmus.verify.expect import Expectation, Pair


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--live", action="store_true", help="compare with packets, too: of a lab, or of the agents")
    parser.add_argument("--lab", metavar="NAME", help="whose endpoints send; default: the lab that this runs in")
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="seconds to wait for databases (10)")


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.controller.survey import expectation, survey  # noqa: PLC0415
    from isthmus.verify.admission import admissions, closed_pairs  # noqa: PLC0415
    from isthmus.verify.compare import differences  # noqa: PLC0415
    from isthmus.verify.faults import faults  # noqa: PLC0415
    from isthmus.verify.reach import World  # noqa: PLC0415

    documents = configuration(args)
    rows, wanted = asyncio.run(survey(documents, args.timeout, objects=True))
    expected = expectation(documents, wanted, rows.sites)
    by, live = _live(args, wanted, expected) if args.live or args.lab else ("", {})
    world = World(rows.sites)
    admitted = admissions(world, expected, wanted.gates)
    found = differences(world, expected, live, closed=closed_pairs(admitted))
    wrong = [fault for networks in wanted.networks for fault in faults(world, networks)]
    judged = [p for p in expected.pairs() if not p.native]
    pods = sum(len(networks.residents) for networks in wanted.networks)
    result: dict[str, Any] = {"pairs": len(judged), "differences": [d.as_json() for d in found]}
    result |= {"pods": pods, "faults": [f.as_json() for f in wrong]}
    for each in (*found, *wrong):
        out.line(str(each))
    worse, notes = _admitted(admitted, wanted.groups, result, out)
    if by:
        result["live"] = {"by": by, "pairs": [_measured(p, live) for p in judged if (p.source, p.target) in live]}
        _print_live(by, judged, live, out)
    out.result(result)
    noted = f", {notes} note{'s' if notes > 1 else ''}" if notes else ""
    asked = f"{len(judged)} pairs of subnets" + (f", {pods} Pods" if wanted.networks else "")
    worse += len(found) + len(wrong)
    out.line(f"{asked}, {worse} differences{noted}")
    if problems := [*rows.problems.values(), *wanted.invalid]:
        out.problems(problems)
    if worse or rows.problems:
        return EXIT_WORLD
    return EXIT_INTENT if wanted.invalid else EXIT_OK


def _admitted(
    admitted: tuple[Admission, ...], names: Mapping[str, str], result: dict[str, Any], out: Output
) -> tuple[int, int]:
    """Tell what security groups close: how many differences, how many notes."""
    from isthmus.verify.telling import as_json, sentence  # noqa: PLC0415

    result["admission"] = [as_json(a, names) for a in admitted]
    for each in sorted(admitted, key=lambda a: not a.difference):
        out.line(sentence(each, names) if each.difference else f"note: {sentence(each, names)}")
    worse = sum(a.difference for a in admitted)
    return worse, len(admitted) - worse


def _live(args: argparse.Namespace, wanted: Wanted, expected: Expectation) -> tuple[str, Live]:
    """Who measured, and what: the endpoints of a lab; elsewhere the agents' probes."""
    # The lab marks the environment of everything that it runs: NAME:KEEPER:STARTED.
    name = args.lab or os.environ.get("ISTHMUS_LAB", "").partition(":")[0]
    if name:
        from isthmus.lab.lab import Lab  # noqa: PLC0415
        from isthmus.lab.live import measure  # noqa: PLC0415

        return f"lab {name}", measure(Lab.open(name), expected)
    from isthmus.controller.survey import probes  # noqa: PLC0415

    return "agents", probes(wanted, expected)


def _measured(pair: Pair, live: Live) -> dict[str, Any]:
    packets = live[pair.source, pair.target]
    return {"from": pair.source.as_json(), "to": pair.target.as_json(), "packets": packets}


def _print_live(by: str, judged: Iterable[Pair], live: Live, out: Output) -> None:
    """One line a subnet: where its packets arrived, where not, and what nobody measured."""
    words: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for pair in judged:
        seen = live.get((pair.source, pair.target))
        verb = {True: "arrive at", False: "do not arrive at", None: "not measured to"}[seen]
        words[str(pair.source)][verb].append(str(pair.target))
    out.line(f"live, by {by}:")
    for source, verbs in words.items():
        out.line(f"  from {source}: " + "; ".join(f"{verb} {', '.join(verbs[verb])}" for verb in sorted(verbs)))
