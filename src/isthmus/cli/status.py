"""`isthmus status`: conditions of every object, read from the databases; of clusters' networks, from API servers."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from isthmus.cli.common import config_path, seconds
from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, IntentError, Problem

if TYPE_CHECKING:
    from isthmus.api import Listing
    from isthmus.model.intent import Configuration


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S", help="seconds to wait for databases (10)")


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.backends.files import load_lenient  # noqa: PLC0415

    listing = load_lenient(config_path(args))
    clusters = [s for s in listing.configuration.sites if s.type == "kubernetes"]
    if not listing.configuration.fabrics and not clusters:
        raise IntentError(*listing.problems)
    objects, problems = asyncio.run(status(listing, args.timeout))
    out.result({"objects": objects})
    for each in objects:
        out.line(f"{each['kind']} {each['name']}")
        for condition in each["conditions"]:
            text = f"{condition['reason']}: {condition['message']}"
            out.line(f"  {condition['type']:<11} {condition['status']:<8} {text}")
    out.problems([*listing.problems, *problems])
    return EXIT_WORLD if problems or listing.problems else EXIT_OK


async def status(listing: Listing, timeout: float) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Objects of the contract, and what is out of reach."""
    from isthmus.controller.conditions import reachability, refused  # noqa: PLC0415
    from isthmus.controller.once import Once, Scope  # noqa: PLC0415
    from isthmus.controller.wanted import wanted  # noqa: PLC0415

    objects: list[dict[str, Any]] = []
    problems: list[Problem] = []
    configuration = listing.configuration
    for fabric in configuration.fabrics:
        what = wanted(listing, fabric)
        async with Once(configuration, fabric, writes=False, timeout=timeout) as once:
            found = await once.look(Scope(what.interconnects, None, what.invalid))
            unread = {name: refused(said) for name, said in what.unreadable.items()}
            problems += found.problems
            objects.append(reachability("Fabric", fabric.name, once.troubles.get("")))
            objects += [reachability("Site", name, once.troubles.get(name)) for name in sorted(once.world.sites)]
            for name, conditions in sorted({**found.conditions, **unread}.items()):
                fields = [c.fields() for c in conditions]
                objects.append({"kind": "Interconnect", "name": name, "conditions": fields})
    if any(site.type == "kubernetes" for site in configuration.sites):
        found_there, away = await _networks(configuration, timeout)
        objects, problems = [*objects, *found_there], [*problems, *away]
    return objects, list(dict.fromkeys(problems))


async def _networks(configuration: Configuration, timeout: float) -> tuple[list[dict[str, Any]], list[Problem]]:
    from isthmus.controller.world import not_installed  # noqa: PLC0415

    try:
        from isthmus.controller.clusters import networks  # noqa: PLC0415  # its client is an extra
    except ImportError as error:
        raise not_installed(error) from error
    return await networks(configuration.sites, timeout)
