"""`isthmus VERB …`: finds the verb's module, and turns whatever happens into the contract's output and exit code.

Nothing heavy is imported here, and of the verbs only the one that is asked for.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn, Protocol, cast

from isthmus import __version__
from isthmus.cli.output import Output
from isthmus.errors import EXIT_WORLD, IntentError, IsthmusError, Problem

VERBS = {
    "check": "say what is wrong with the documents; offline",
    "plan": "show what apply would write; writes nothing",
    "apply": "make the databases as the documents say",
    "disconnect": "take an Interconnect, a site or a subnet out of the documents, and apply that",
    "status": "conditions of every object",
    "show": "topology, from the databases",
    "explain": "why a row exists, or what an object needs",
    "verify": "compare what is wanted, what the rows say, and (--live) what packets do",
    "trace": "the path of a packet, row by row",
    "serve": "keep the databases as the documents say",
    "agent": "the node's part: probes, and their figures",
    "lab": "real OVN deployments on this machine, to try things in",
    "demo": "the main job from start to end, in a lab",
    "schema": "the JSON Schema of the documents",
}
EXIT_INTERRUPTED = 130

COLLECT = 50_000, 50, 100
"""Thresholds of the garbage collector: replicas are many small objects that stay, and looking through them again and
again took two thirds of the first listing (docs/performance.md)."""


class Verb(Protocol):
    """A module `isthmus.cli.<verb>`."""

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace, out: Output) -> int: ...


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that usage errors leave by the same door as all others."""

    def error(self, message: str) -> NoReturn:
        problem = Problem("Usage", message, remedy=f"see {self.prog} --help")
        raise IntentError(problem)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code (docs/command-line.md); 130 after Ctrl-C."""
    gc.set_threshold(*COLLECT)
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    out = Output(json=_wants_json(words))
    try:
        code = _run(words, out)
    except IsthmusError as error:
        out.only_problems(error.problems)
        code = error.exit_code
    except KeyboardInterrupt:
        out.only_problems([Problem("Interrupted", "interrupted", remedy="run the command again: it continues")])
        code = EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the process ends here, and JSON mode owes an object
        out.only_problems([_bug(error)])
        code = EXIT_WORLD
    try:
        out.close()
    except OSError as error:
        print(f"isthmus: cannot write standard output: {error.strerror}", file=sys.stderr)  # noqa: T201
        return EXIT_WORLD
    return code


def _wants_json(words: Sequence[str]) -> bool:
    """Whether errors must be JSON; asked before the words are parsed, since they may not parse."""
    ours = list(words[: words.index("--")]) if "--" in words else list(words)
    last = ""
    for index, word in enumerate(ours):
        if word.startswith("--output="):
            last = word.partition("=")[2]
        elif word == "--output":
            last = ours[index + 1] if index + 1 < len(ours) else ""
    return last == "json"


def _run(words: list[str], out: Output) -> int:
    front, verb, rest = _split(words)
    if verb is None:
        return _front(front, out)
    module = _module(verb)
    parser = Parser(prog=f"isthmus {verb}", description=VERBS[verb], allow_abbrev=False)
    _common(parser)
    module.configure(parser)
    for inner in _inner(parser):
        _common(inner)
    args = parser.parse_args([*front, *rest])
    args.config = getattr(args, "config", None)
    args.output = getattr(args, "output", "text")
    out.json = args.output == "json"
    return module.run(args, out)


def _split(words: list[str]) -> tuple[list[str], str | None, list[str]]:
    """Words before the verb, the verb, words after it."""
    takes_value = {"-f", "--output"}
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] in takes_value else 1
    if index >= len(words):
        return words, None, []
    return words[:index], words[index], words[index + 1 :]


def _front(words: list[str], out: Output) -> int:
    """Without a verb: --version, --help, or a usage error."""
    parser = Parser(prog="isthmus", usage="isthmus VERB [options]", description=_verbs(), allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _common(parser)
    parser.add_argument("--version", action="store_true")
    args = parser.parse_args(words)
    if not args.version:
        raise IntentError(Problem("Usage", "no verb is given", remedy="see isthmus --help"))
    out.line(f"isthmus {__version__}")
    out.result({"version": __version__})
    return 0


def _verbs() -> str:
    there = {verb: says for verb, says in VERBS.items() if find_spec(f"isthmus.cli.{verb}")}
    return "verbs:\n" + "\n".join(f"  {verb:<12}{says}" for verb, says in there.items())


def _module(verb: str) -> Verb:
    if verb in VERBS and find_spec(f"isthmus.cli.{verb}"):
        return cast("Verb", import_module(f"isthmus.cli.{verb}"))
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(verb, VERBS, n=1)
    remedy = f"did you mean {near[0]}?" if near and near[0] != verb else "see isthmus --help"
    raise IntentError(Problem("Usage", f"unknown verb {verb[:60]!r}", remedy=remedy))


def _common(parser: argparse.ArgumentParser) -> None:
    """Options of every verb; `SUPPRESS` so that an inner parser does not undo what an outer one read."""
    parser.add_argument(
        "-f",
        dest="config",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="file or directory of documents (or ISTHMUS_CONFIG)",
    )
    parser.add_argument("--output", choices=("text", "json"), default=argparse.SUPPRESS)


def _inner(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Parsers of a verb's own verbs, such as `lab up`."""
    found: list[argparse.ArgumentParser] = []
    for action in parser._actions:  # argparse has no public way
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found += [inner, *_inner(inner)]
    return found


def _bug(error: Exception) -> Problem:
    import traceback  # noqa: PLC0415

    traceback.print_exc()
    return Problem("Bug", f"{type(error).__name__}: {error}", remedy="this is a fault of Isthmus: please report it")


if __name__ == "__main__":
    sys.exit(main())
