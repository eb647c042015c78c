"""`isthmus check`: schema and cross-references, offline, all problems at once."""

from __future__ import annotations

import argparse

from isthmus.cli.common import configuration
from isthmus.cli.output import Output


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace, out: Output) -> int:
    found = configuration(args)
    objects = [
        {"kind": type(each).__name__, "name": each.name}
        for group in (found.fabrics, found.sites, found.interconnects)
        for each in group
    ]
    out.result({"objects": objects})
    for each in objects:
        out.line(f"{each['kind']} {each['name']}: valid")
    return 0
