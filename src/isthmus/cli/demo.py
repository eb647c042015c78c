"""`isthmus demo`: the main job from start to end, in a lab of its own that is gone afterwards."""

from __future__ import annotations

import argparse
import os
import time
from functools import partial

from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, IsthmusError


def configure(parser: argparse.ArgumentParser) -> None:
    known = "two-sites (default), three-sites, cluster-to-cloud, cluster-per-tenant"
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO", help=known)
    parser.add_argument(
        "--keep", action="store_true", help="leave the lab as it is after the cut, and say how to enter"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab import doctor, scenarios, spec, state  # noqa: PLC0415
    from isthmus.lab.demo import Demo, Teller, versions_of_all  # noqa: PLC0415
    from isthmus.lab.interrupts import noted  # noqa: PLC0415
    from isthmus.lab.lab import Lab  # noqa: PLC0415

    begin = time.monotonic()
    scenario = scenarios.find(args.scenario or scenarios.DEFAULT)
    name = _name(state.names(), keep=args.keep)
    file = spec.load(scenario.lab, name=name, tenants=2, agents=True)
    doctor.require(file)

    def step(text: str) -> None:
        line = f"{time.monotonic() - begin:5.1f} s  {text}"
        out.note(line) if out.json else out.line(line)

    with noted() as interrupts:
        step(f"{scenario.name}: {scenario.says}")
        lab = Lab.up(file)

        def play() -> Demo:
            found = versions_of_all(lab)
            hosts = sum(len(site.hosts) for site in lab.sites)
            step(
                f"the lab is up: {len(lab.sites)} OVN deployments joined by ovn-ic, {hosts} hosts, "
                f"{len(lab.machines)} machines; {', '.join(f'{k} {v}' for k, v in found.items())}, "
                f"{lab.state.datapath} datapath"
            )
            demo = Demo(scenario, lab, Teller(step, out.line))
            demo.connect()
            demo.cut()
            if not args.keep:
                demo.remove()
            out.result(demo.fields())
            return demo

        kept = False
        try:
            demo = interrupts.watch(play, partial(state.stop, name))
            kept = args.keep
        except IsthmusError:
            kept = args.keep
            if kept:
                _farewell(name, out, kept=True, well=False)
            raise
        finally:
            if not kept:
                lab.down()
                step("the lab is gone")
    out.result({"seconds": round(time.monotonic() - begin, 2)})
    if demo.problems:
        out.problems(demo.problems)
    _farewell(name, out, kept=kept, well=not demo.problems)
    return EXIT_WORLD if demo.problems else EXIT_OK


def _name(taken: list[str], *, keep: bool) -> str:
    """A lab that stays gets a name that is easy to type."""
    return "demo" if keep and "demo" not in taken else f"demo-{os.getpid()}"


def _farewell(name: str, out: Output, *, kept: bool, well: bool) -> None:
    if well:
        out.line()
        out.line("Each tenant reaches her own, nobody reaches the other; every line above was counted in packets.")
    if kept:
        out.note(f"the lab {name} stays. Go on in it:")
        for words in (
            f"lab exec --name {name} operator -- isthmus status",
            f"lab exec --name {name} operator -- sh        # the operator; her documents: $ISTHMUS_CONFIG",
            f"lab exec --name {name} cloud-a-web-1 -- ip addr",
            f"lab status --name {name}",
            f"lab down --name {name}",
        ):
            out.note(f"    isthmus {words}")
