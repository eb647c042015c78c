"""`isthmus lab`: real OVN deployments on this machine, to try things in and to test with."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="lab_verb", required=True)
    up = verbs.add_parser("up")
    up.add_argument("file")
    up.add_argument("--tenants", type=int)
    for verb in ("down", "status", "ls"):
        verbs.add_parser(verb)
    execute = verbs.add_parser("exec")
    execute.add_argument("where")
    execute.add_argument("argv", nargs=argparse.REMAINDER)
    for each in verbs.choices.values():
        each.add_argument("--name")


def _name(args: argparse.Namespace) -> str:
    from isthmus.lab import state

    if args.name:
        return str(args.name)
    names = state.names()
    if len(names) == 1:
        return names[0]
    sys.exit(f"give --name; labs: {', '.join(names) or 'none'}")


def run(args: argparse.Namespace) -> int:
    from isthmus.lab import spec, state
    from isthmus.lab.lab import Lab

    if args.lab_verb == "up":
        begin = time.monotonic()
        file = spec.load(args.file, name=args.name, tenants=args.tenants)
        Lab.up(file, lambda text: print(f"{time.monotonic() - begin:5.2f} s  {text}", file=sys.stderr))
        print(f"{time.monotonic() - begin:5.2f} s  lab {file.name} is up", file=sys.stderr)
    elif args.lab_verb == "down":
        state.remove(_name(args))
    elif args.lab_verb == "ls":
        print("\n".join(state.names()))
    elif args.lab_verb == "status":
        s = state.State.load(_name(args))
        print(json.dumps({"name": s.name, "ready": s.ready, "alive": s.alive(), "places": sorted(s.namespaces)}))
    elif args.lab_verb == "exec":
        argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
        Lab.open(_name(args)).replace_process(args.where, argv)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser("isthmus lab")
    configure(parser)
    sys.exit(run(parser.parse_args()))
