"""What several verbs need."""

from __future__ import annotations

import argparse
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import IntentError, Problem

if TYPE_CHECKING:
    from isthmus.model.intent import Configuration


def config_path(args: argparse.Namespace) -> Path:
    """`-f PATH`, else ISTHMUS_CONFIG. Raises IntentError where neither is given."""
    path = args.config if args.config is not None else os.environ.get("ISTHMUS_CONFIG")
    if not path:
        problem = Problem("NoConfig", "no documents are named", remedy="give -f PATH, or set ISTHMUS_CONFIG")
        raise IntentError(problem)
    return Path(path)


def seconds(text: str) -> float:
    """An option's value. Raises ArgumentTypeError."""
    with suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")


def port(text: str) -> int:
    """Likewise, of TCP or UDP."""
    if text.isdecimal() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535")


def listen_address(text: str) -> str:
    """Likewise, `IP:PORT`."""
    from isthmus.backends.http import parse_listen  # noqa: PLC0415

    try:
        parse_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def configuration(args: argparse.Namespace) -> Configuration:
    """All documents, valid. Raises IntentError."""
    from isthmus.backends.files import load  # noqa: PLC0415

    return load(config_path(args))


def readable(args: argparse.Namespace) -> tuple[Configuration, tuple[Problem, ...]]:
    """Documents that are valid, and what is wrong with the others; for verbs that only look.

    Raises IntentError where there is no Fabric to look at.
    """
    from isthmus.backends.files import load_lenient  # noqa: PLC0415

    listing = load_lenient(config_path(args))
    if not listing.configuration.fabrics:
        raise IntentError(*listing.problems)
    return listing.configuration, listing.problems
