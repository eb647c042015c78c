"""`isthmus schema`: the JSON Schema of the documents, for editors and other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from isthmus.cli.output import Output
from isthmus.errors import Problem, WorldError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FILE", help="write it there instead of on standard output")


def run(args: argparse.Namespace, out: Output) -> int:
    from isthmus.api.schema import json_schema, text  # noqa: PLC0415

    if args.to is None:
        out.line(text(json_schema()).rstrip("\n"))
        out.result(json_schema())
        return 0
    try:
        Path(args.to).write_text(text(json_schema()), encoding="utf-8")
    except OSError as error:
        said = f"cannot be written: {error.strerror}"
        raise WorldError(Problem("FileWrite", said, str(args.to), remedy="name another file")) from None
    out.result({"file": args.to})
    return 0
