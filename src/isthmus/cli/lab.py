"""`isthmus lab`: real OVN deployments on this machine, to try things in and to test with."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli.output import Output
from isthmus.errors import EXIT_OK, EXIT_WORLD, IntentError, Problem, WorldError

if TYPE_CHECKING:
    from isthmus.lab.lab import Lab
    from isthmus.lab.state import State

BUILT_IN = "two-sites, three-sites, cluster-to-cloud, cluster-per-tenant"


def configure(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="lab_verb", required=True, metavar="VERB")

    def verb(name: str, says: str, *, named: bool = True) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(name, help=says, description=says, allow_abbrev=False)
        if named:
            made.add_argument("--name", help="which lab; needed where there are several")
        return made

    up = verb("up", "build a lab", named=False)
    up.add_argument("file", metavar="FILE|NAME", help=f"a lab file, or a built-in lab: {BUILT_IN}")
    up.add_argument("--name", help="default: the name in the file")
    up.add_argument("--tenants", type=int, metavar="N", help="how many; default: what the file says")
    up.add_argument("--agents", action="store_true", default=None, help="run `isthmus agent` on every gateway")
    verb("down", "remove a lab and everything that belongs to it")
    verb("status", "what is in a lab, and whether it runs")
    execute = verb("exec", "run a command in a host, a site's central node, an endpoint, or as the operator")
    execute.add_argument("where", metavar="HOST|SITE|ENDPOINT|operator")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    env = verb("env", 'exports that make a shell the operator\'s, `openstack` included: eval "$(isthmus lab env)"')
    env.add_argument("--cloud", metavar="NAME", help="also OS_CLOUD: SITE, SITE-admin or SITE-TENANT")
    kubeconfig = verb("kubeconfig", "how to reach a cluster: a kubeconfig that holds its keys")
    kubeconfig.add_argument("site", metavar="SITE", help="a site of type kubernetes")
    logs = verb("logs", "the last lines of daemons' logs, and of what guests wrote to their consoles")
    logs.add_argument("daemon", nargs="*", metavar="PLACE[/DAEMON]", help="default: all")
    logs.add_argument("-n", dest="lines", type=int, default=10, help="lines of each; default 10")
    image = verb("image", "write the image of Isthmus that clusters run, an OCI archive", named=False)
    image.add_argument("file", type=Path, metavar="FILE")
    verb("ls", "labs on this machine", named=False)
    verb("doctor", "what this machine lacks, and how to get it", named=False)
    verb("schema", "the JSON Schema of lab files", named=False)


def run(args: argparse.Namespace, out: Output) -> int:
    return _VERBS[args.lab_verb](args, out)


def _name(args: argparse.Namespace) -> str:
    """The lab that is meant. Raises IntentError where that is not clear."""
    from isthmus.lab import state  # noqa: PLC0415

    if args.name:
        return str(args.name)
    names = state.names()
    if len(names) == 1:
        return names[0]
    if not names:
        problem = Problem("NoLab", "there is no lab", remedy=f"isthmus lab up NAME; built in: {BUILT_IN}")
        raise IntentError(problem)
    raise IntentError(Problem("WhichLab", f"there are several labs: {', '.join(names)}", remedy="give --name"))


def _up(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab import doctor, spec, state  # noqa: PLC0415
    from isthmus.lab.interrupts import noted  # noqa: PLC0415
    from isthmus.lab.lab import Lab  # noqa: PLC0415

    begin = time.monotonic()
    if args.name is not None:
        state.checked(args.name)
    file = spec.load(args.file, name=args.name, tenants=args.tenants, agents=args.agents)
    doctor.require(file)

    def progress(text: str) -> None:
        out.note(f"{time.monotonic() - begin:6.2f} s  {text}")

    with noted():  # a lab that stays is said to be up
        lab = Lab.up(file, progress)
        seconds = round(time.monotonic() - begin, 2)
        out.note(f"{seconds:6.2f} s  lab {lab.name} is up")
        out.result(_described(lab) | {"seconds": seconds})
        out.line(f"isthmus lab exec --name {lab.name} operator -- isthmus plan")
    return EXIT_OK


def _down(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab import state  # noqa: PLC0415

    name = _name(args)
    removed = state.remove(name)
    out.result({"name": name, "removed": removed})
    out.note(f"lab {name} is gone" if removed else f"there was no lab {name}")
    return EXIT_OK


def _status(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab.lab import Lab  # noqa: PLC0415

    lab = Lab.open(_name(args))
    found = _described(lab)
    out.result(found)
    out.line(f"lab {lab.name}, {found['datapath']} datapath, {lab.state.directory}")
    for place in found["places"]:
        out.line(f"  {place['name']:<24}{place['kind']:<10}{place['site']:<12}{', '.join(place['addresses'])}")
    dead = [d["daemon"] for d in found["daemons"] if not d["running"]]
    out.line(f"{len(found['daemons']) - len(dead)} daemons run" + (f"; not: {', '.join(dead)}" if dead else ""))
    return EXIT_WORLD if dead else EXIT_OK


def _described(lab: Lab) -> dict[str, Any]:
    places = []
    for site in lab.sites:
        places.append({"name": site.name, "kind": "central", "site": site.name, "addresses": [site.address]})
        for host in site.hosts:
            kind = "gateway" if host.gateway else "host"
            places.append({"name": host.name, "kind": kind, "site": site.name, "addresses": [host.address]})
    for machine in lab.machines:
        addresses = [str(a) for a in machine.addresses]
        kind = "guest" if machine.guest else "pod" if machine.pod else "endpoint"
        places.append({"name": machine.name, "kind": kind, "site": machine.site, "addresses": addresses})
    for name in ("fabric", "operator"):
        places.append({"name": name, "kind": name, "site": "", "addresses": [lab.state.addresses[name]]})
    return {
        "name": lab.name,
        "directory": str(lab.state.directory),
        "datapath": lab.state.datapath,
        "places": places,
        "daemons": [{"daemon": key, "running": lab.daemon(key).running} for key in lab.state.daemons],
    }


def _exec(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab.lab import Lab  # noqa: PLC0415

    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    if not argv:
        raise IntentError(Problem("Usage", "no command is given", remedy="isthmus lab exec PLACE -- CMD"))
    lab = Lab.open(_name(args))
    if args.where in lab.state.servers:
        return _exec_in_guest(lab, args.where, argv)
    lab.replace_process(args.where, argv)
    return EXIT_WORLD  # not reached: this process is the command now


def _exec_in_guest(lab: Lab, where: str, argv: list[str]) -> int:
    """What is piped in is its input; a guest has no terminal for ours."""
    done = lab.exec(where, argv, input=None if sys.stdin.isatty() else sys.stdin.read())
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _env(args: argparse.Namespace, out: Output) -> int:
    import shlex  # noqa: PLC0415

    from isthmus.lab.lab import Lab  # noqa: PLC0415
    from isthmus.lab.openstack import clouds  # noqa: PLC0415

    lab = Lab.open(_name(args))
    found = lab.operator(lab.paths.outside)
    if args.cloud:
        known = clouds.read(lab.paths)
        if args.cloud not in known:
            remedy = f"one of: {', '.join(known)}" if known else "build a lab with a site of type openstack"
            raise IntentError(Problem("NoSuchCloud", f"the lab has no cloud {args.cloud!r}", remedy=remedy))
        found["OS_CLOUD"] = args.cloud
    out.result({"environment": found})
    for key, value in found.items():
        out.line(f"export {key}={shlex.quote(value)}")
    return EXIT_OK


def _kubeconfig(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab.kubernetes import cluster  # noqa: PLC0415
    from isthmus.lab.lab import Lab  # noqa: PLC0415

    lab = Lab.open(_name(args))
    known = [site.name for site in lab.sites if site.layout.site.type == "kubernetes"]
    if args.site not in known:
        remedy = f"one of: {', '.join(known)}" if known else "build a lab with a site of type kubernetes"
        raise IntentError(Problem("NoSuchCluster", f"the lab has no cluster {args.site!r}", remedy=remedy))
    text = cluster.whole(lab.paths, args.site, lab.site(args.site).address)
    out.result({"kubeconfig": text})
    out.line(text.rstrip())
    return EXIT_OK


def _logs(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab.lab import Lab  # noqa: PLC0415

    lab = Lab.open(_name(args))
    files = {key: lab.daemon(key).log for key in lab.state.daemons}
    files |= {name: lab.console(name) for name in lab.state.servers}
    wanted = {k for k in files if not args.daemon or k in args.daemon or k.split("/")[0] in args.daemon}
    if not wanted:
        remedy = f"one of: {', '.join(sorted(files))}"
        raise IntentError(Problem("NoSuchDaemon", f"the lab has no {' '.join(args.daemon)}", remedy=remedy))
    logs = []
    for key in sorted(wanted):
        path = files[key]
        lines = path.read_text(errors="replace").splitlines()[-args.lines :] if path.exists() else []
        logs.append({"daemon": key, "file": str(path), "lines": lines})
        out.line(f"==> {key} ({path})")
        for line in lines:
            out.line(line)
    out.result({"logs": logs})
    return EXIT_OK


def _image(args: argparse.Namespace, out: Output) -> int:
    from isthmus.api.workloads import IMAGE  # noqa: PLC0415
    from isthmus.lab.kubernetes import isthmus_image  # noqa: PLC0415

    try:
        isthmus_image.write(args.file)
    except OSError as error:
        raise WorldError(Problem("CannotWrite", f"{args.file}: {error.strerror or error}")) from error
    out.result({"image": IMAGE, "file": str(args.file)})
    out.line(f"{IMAGE} in {args.file}")
    return EXIT_OK


def _ls(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab import state  # noqa: PLC0415

    def says(name: str) -> str:
        try:
            found: State = state.State.load(name)
        except IntentError:
            return "broken"
        except WorldError:
            return "of another version"
        return ("up" if found.ready else "building") if found.alive() else "dead"

    labs = [{"name": name, "state": says(name)} for name in state.names()]
    out.result({"labs": labs})
    for lab in labs:
        out.line(f"{lab['name']:<24}{lab['state']}")
    return EXIT_OK


def _doctor(args: argparse.Namespace, out: Output) -> int:
    from isthmus.lab import doctor  # noqa: PLC0415

    found = doctor.examine()
    out.result({"checks": [{"name": c.name, "ok": c.ok, "found": c.found, "remedy": c.remedy} for c in found]})
    for check in found:
        out.line(f"{'ok     ' if check.ok else 'MISSING'} {check.name}: {check.found}")
        if check.remedy:
            out.line(f"        {check.remedy}")
    return EXIT_OK if all(c.ok for c in found) else EXIT_WORLD


def _schema(args: argparse.Namespace, out: Output) -> int:
    import json  # noqa: PLC0415

    from isthmus.lab import spec  # noqa: PLC0415

    found = spec.schema()
    out.result(found)
    out.line(json.dumps(found, indent=2))
    return EXIT_OK


_VERBS: dict[str, Callable[[argparse.Namespace, Output], int]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "exec": _exec,
    "env": _env,
    "kubeconfig": _kubeconfig,
    "logs": _logs,
    "image": _image,
    "ls": _ls,
    "doctor": _doctor,
    "schema": _schema,
}
