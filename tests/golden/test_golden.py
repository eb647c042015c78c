"""Documents and facts -> rows, written out: a change of the compiler shows here as a change of text.

tests/golden/CASE/documents.yaml   as users write them
                  facts.yaml       site -> chassis, routers (switch -> the router's addresses), links (port -> address)
                  rows.yaml        what comes out; `ISTHMUS_GOLDEN=write pytest tests/golden` writes it anew
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
import yaml

from isthmus.backends.files import load
from isthmus.compile import overlap, transit
from isthmus.compile.probes import trunk_rows
from isthmus.compile.resolve import resolve
from isthmus.compile.rows import rows
from isthmus.compile.view import Joined, Numbers, Side
from isthmus.model.facts import Chassis, Role, Switch, Vpc, VpcPort
from isthmus.model.intent import Configuration, Interconnect, VpcRef
from isthmus.model.rows import Row

HERE = Path(__file__).resolve().parent
CASES = sorted(p.parent.name for p in HERE.glob("*/documents.yaml"))


def uuid(*words: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(words)))


@dataclass(frozen=True)
class Facts:
    """`model.facts.SiteFacts` from a facts.yaml."""

    site: str
    written: Mapping[str, Any]

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        found = self.written["routers"].get(ref.name)
        if found is None:
            return ()
        ports = tuple(
            VpcPort(
                uuid=uuid(self.site, ref.name or "", switch),
                name=f"{ref.name}-{switch}",
                networks=tuple(map(ip_interface, addresses)),
                role=Role.SUBNET,
                switch=uuid(self.site, switch),
                switch_name=switch,
            )
            for switch, addresses in found.items()
        )
        for key, found in self.written.get("links", {}).items():
            for name, address in found.items():
                at = (ip_interface(address),)
                ports += (VpcPort(uuid(self.site, name), name, at, Role.LINK, uuid(self.site, key), key, key),)
        keeper, project = self.written.get("keeper", "ovn"), uuid(ref.project) if ref.project else ""
        return (Vpc(self.site, uuid(self.site, ref.name or ""), ref.name or "", ports, (), keeper, project),)

    def has_project(self, word: str) -> bool | None:
        return True

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        return ()

    @property
    def admits(self) -> bool:
        return True

    def security_groups(self, name: str, vpc: Vpc) -> tuple[str, ...]:
        return (uuid(self.site, vpc.name, "group", name),)

    def chassis(self) -> Mapping[str, Chassis]:
        return {name: Chassis(name, name, True, bool(agent)) for name, agent in self.written["chassis"].items()}


def joined(wanted: Interconnect, configuration: Configuration, facts: Mapping[str, Facts], first: int) -> Joined:
    """Numbers are given in order: links from `first`, transit addresses from 1."""
    sides: list[Side] = []
    for attachment in sorted(wanted.attachments, key=lambda a: a.name):
        site = configuration.site(attachment.site)
        found = resolve(wanted, attachment, "default", facts[site.name], site.gateways)
        assert found.side is not None and not found.problems, found.problems
        sides.append(found.side)
    fabric = configuration.fabrics[0]
    assert not list(overlap.collisions(wanted, tuple(sides), fabric.pools, {}, {}))
    made = Joined(wanted.name, fabric.owner, "0123456789abcdef", tuple(sides), {}, fabric.pools, 1442)
    numbers, link = {}, first
    for place, side in enumerate(sides):
        inner = None if made.is_first(side) else link + 1
        tags = {chassis: first + place + 1 for chassis in side.probes}
        numbers[side.name] = Numbers(place + 1, link, inner, tags)
        link += 1 if inner is None else 2
    return replace(made, numbers=numbers)


def compiled(case: Path) -> list[Row]:
    configuration = load(case / "documents.yaml")
    written = yaml.safe_load((case / "facts.yaml").read_text(encoding="utf-8"))
    facts = {site: Facts(site, body) for site, body in written.items()}
    found: list[Row] = []
    probing: dict[str, set[str]] = {}
    for place, wanted in enumerate(configuration.interconnects):
        each = joined(wanted, configuration, facts, place * 10)
        firsts = [s for s in each.sides if each.is_first(s)]
        members = {s.site: s.gateways for s in firsts}
        numbers = {s.site: each.numbers[s.name].transit for s in firsts}
        found += [transit.row(each.owner, each.name, members, numbers), *rows(each)]
        for side in each.sides:
            probing.setdefault(side.site, set()).update(side.probes)
    for site, chassis in sorted(probing.items()):
        found += trunk_rows("default", site, chassis) if chassis else ()
    return found


def text(found: list[Row]) -> str:
    """Rows by database and key, in a stable order."""
    databases: dict[str, dict[str, Any]] = {}
    for row in sorted(found, key=lambda r: (r.database, r.key, r.table)):
        place = f"{row.table} {row.key}"
        assert place not in databases.setdefault(row.database, {}), f"{place} twice"
        body: dict[str, Any] = {column: _plain(value) for column, value in row.columns.items() if value != {}}
        if row.parent is not None:
            holder = row.parent.key or row.parent.name or row.parent.uuid
            body["in"] = f"{row.parent.table}.{row.parent.column} of {holder}"
        databases[row.database][place] = body
    return yaml.safe_dump(databases, sort_keys=True, width=120, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return dict(value) if isinstance(value, Mapping) else value


@pytest.mark.parametrize("case", CASES)
def test_documents_and_facts_give_these_rows(case: str) -> None:
    found = text(compiled(HERE / case))
    expected = HERE / case / "rows.yaml"
    if os.environ.get("ISTHMUS_GOLDEN") == "write":
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


def test_there_are_cases() -> None:
    assert len(CASES) >= 7


@pytest.mark.parametrize("case", CASES)
def test_every_name_is_one_only_and_every_parent_is_there(case: str) -> None:
    found = compiled(HERE / case)
    # Neutron tells its objects apart by ids: the subnets of one network may share its name.
    rows_of_ovn = [r for r in found if r.database.partition("/")[0] in ("nb", "ic-nb")]
    named = [(r.database, r.table, r.columns["name"]) for r in rows_of_ovn if "name" in r.columns]
    assert len(named) == len(set(named))
    ports = [str(r.columns["name"]) for r in found if r.table.endswith("_Port")]
    assert len(ports) == len(set(ports)), "a port's name must be one only over all zones (ovn-ic)"
    keys = {(r.database, r.table, r.key) for r in found}
    assert all((r.database, r.parent.table, r.parent.key) in keys for r in found if r.parent and r.parent.key)
