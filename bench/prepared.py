"""The reference of `apply` and `disconnect`: the same rows, written by OVN's own tools from a script made beforehand.

One transaction per database and phase, as a person with a perfect script would do it: interconnect database, both
northbound databases at once, wait for ovn-ic's copy of the switch and hang the ports into it.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.backends.changes import Change
from isthmus.backends.files import load
from isthmus.controller.once import Once, scope
from isthmus.controller.write import planned
from isthmus.lab.lab import Lab
from isthmus.model.intent import Configuration, Endpoint
from isthmus.model.rows import IC_NB, nb

READ_BY_NAME = {"Logical_Router_Policy", "Logical_Router_Static_Route"}


@dataclass(frozen=True, slots=True)
class Scripts:
    """Shell scripts for the operator."""

    join: str
    changes: int


def plan(lab: Lab, config: Path, *, prune: bool = False) -> tuple[Configuration, dict[str, list[Change]]]:
    """What `isthmus plan` shows, with what JSON leaves out (parents, and which rows wait for ovn-ic)."""
    program = _Plan(lab, config, prune)
    return program.configuration, asyncio.run(program.run())


class _Plan:
    def __init__(self, lab: Lab, config: Path, prune: bool) -> None:
        self.configuration = _by_unix(lab, load(config))
        self._prune = prune

    async def run(self) -> dict[str, list[Change]]:
        fabric = self.configuration.fabrics[0]
        async with Once(self.configuration, fabric, writes=False) as once:
            once.plan(scope(self.configuration, fabric, prune=self._prune))
            return planned(once.planner)


def _by_unix(lab: Lab, configuration: Configuration) -> Configuration:
    """The same configuration over unix sockets, since this process is not in the operator's namespace."""
    from dataclasses import replace  # noqa: PLC0415

    fabric = replace(
        configuration.fabrics[0],
        northbound=Endpoint((f"unix:{lab.fabric.nb_unix}",)),
        southbound=Endpoint((f"unix:{lab.fabric.sb_unix}",)),
    )
    sites = tuple(
        replace(
            site,
            northbound=Endpoint((f"unix:{lab.site(site.name).nb_unix}",)),
            southbound=Endpoint((f"unix:{lab.site(site.name).sb_unix}",)),
        )
        for site in configuration.sites
    )
    return Configuration((fabric,), sites, configuration.interconnects)


def join_script(lab: Lab, config: Path) -> str:
    """A shell script that does what `isthmus apply` of `config` would write now."""
    _, changes = plan(lab, config)
    sites = [s.name for s in lab.sites]
    lines = [_tool(lab, IC_NB, _commands(changes[IC_NB], deferred=False))]
    lines += [f"{_tool(lab, nb(s), _commands(changes[nb(s)], deferred=False))} &" for s in sites]
    lines.append("wait")
    for site in sites:
        waiting = [c for c in changes[nb(site)] if c.deferred]
        switches = dict.fromkeys(c.parent.name for c in waiting if c.parent and c.parent.name)
        parts = [["wait-until", "Logical_Switch", str(s), f"name={_atom(s)}"] for s in switches]
        lines.append(f"{_tool(lab, nb(site), [*parts, *_commands(changes[nb(site)], deferred=True)])} &")
    lines.append("wait")
    return "\n".join(lines)


def cut_script(lab: Lab, bare: Path) -> str:
    """A shell script that removes what `isthmus apply --prune` of `bare` would remove now."""
    _, changes = plan(lab, bare, prune=True)
    lines = [f"{_tool(lab, nb(s.name), _removals(changes[nb(s.name)]))} &" for s in lab.sites]
    lines.append("wait")
    switches = [
        row
        for row in json.loads(lab.fabric.nbctl("--format=json", "--columns=_uuid", "list", "Transit_Switch"))["data"]
    ]
    lines.append(_tool(lab, IC_NB, [["destroy", "Transit_Switch", row[0][1]] for row in switches]))
    return "\n".join(lines)


def _tool(lab: Lab, database: str, commands: Iterable[list[str]]) -> str:
    name = database.partition("/")[2]
    tool, remote, ca = (
        ("ovn-ic-nbctl", lab.fabric.nb, "fabric-ca")
        if database == IC_NB
        else ("ovn-nbctl", lab.site(name).nb, f"{name}-ca")
    )
    tls = lab.paths.tls
    head = [
        tool,
        f"--db={remote}",
        "-p",
        f"{tls}/operator-key.pem",
        "-c",
        f"{tls}/operator.pem",
        "-C",
        f"{tls}/{ca}.pem",
    ]
    words = [*head, "--no-wait"] if tool == "ovn-nbctl" else head
    for command in commands:
        words += ["--", *command]
    return shlex.join(words)


def _commands(changes: Iterable[Change], *, deferred: bool) -> list[list[str]]:
    """Generic database commands for additions; children are named by the row that holds them."""
    additions = [c for c in changes if c.op == "add" and c.deferred == deferred]
    ids = {(c.table, c.key): f"@r{n}" for n, c in enumerate(additions)}
    children: dict[tuple[str, str], dict[str, list[str]]] = {}
    after: list[list[str]] = []
    for change in additions:
        parent, own = change.parent, ids[(change.table, change.key)]
        if parent is None:
            continue
        if parent.key is not None:
            children.setdefault((parent.table, parent.key), {}).setdefault(parent.column, []).append(own)
        else:
            after.append(["add", parent.table, str(parent.uuid or parent.name), parent.column, own])
    creates = []
    for change in additions:
        words = [f"--id={ids[(change.table, change.key)]}", "create", change.table]
        held = children.get((change.table, change.key), {})
        words += [f"{c}={v}" for c, v in _columns(change.columns)]
        words += [f"{c}={','.join(names)}" for c, names in held.items()]
        creates.append(words)
    return creates + after


def _columns(columns: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    for name, value in columns.items():
        if value is None or value == "" or (isinstance(value, frozenset | Mapping) and not value):
            continue
        if isinstance(value, Mapping):
            yield name, "{" + ",".join(f"{_atom(k)}={_atom(v)}" for k, v in value.items()) + "}"
        elif isinstance(value, frozenset):
            yield name, ",".join(_atom(v) for v in sorted(value, key=str))
        else:
            yield name, _atom(value)


def _atom(value: object) -> str:
    return json.dumps(value)


def _removals(changes: Iterable[Change]) -> list[list[str]]:
    gone = {c.uuid for c in changes if c.op == "remove"}
    found = []
    for change in changes:
        if change.op == "remove" and change.parent is None:
            found.append(["destroy", change.table, str(change.uuid)])
        elif change.op == "remove" and change.parent is not None and change.parent.uuid not in gone:
            found.append(
                ["remove", change.parent.table, str(change.parent.uuid), change.parent.column, str(change.uuid)]
            )
    return found
