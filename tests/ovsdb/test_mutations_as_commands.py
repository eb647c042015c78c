"""Mutations as ovn-nbctl commands on a real database: `reach` says what it says of the mutated snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.verify.compare import differences
from isthmus.verify.expect import expect
from isthmus.verify.reach import World
from mutations import CHILDREN, Mutation, literal, mutate, mutations, nbctl
from northd import Northd
from worlds import cast, two_tenants

MADE = two_tenants()
TABLE = [m for m in mutations(cast(MADE)) if not m.also]
SETS = {column for _parent, column in CHILDREN.values()}
EXPECTED = expect(MADE.configuration, MADE.listed, MADE.vpcs)


def created(rows: dict[str, dict[str, dict[str, Any]]]) -> Iterator[list[str]]:
    """Commands that make all rows of a site in an empty database."""
    for table, found in rows.items():
        for uuid, row in found.items():
            words = []
            for column, content in row.items():
                if column in SETS and content:
                    words.append(f"{column}=[{','.join(sorted('@' + 'n' + u.replace('-', '') for u in content))}]")
                elif column != "_uuid" and content:
                    words.append(f"{column}={literal(content)}")
            yield [f"--id=@n{uuid.replace('-', '')}", "create", table, *words]


@pytest.fixture(scope="module")
def northd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Northd]:
    started = Northd(tmp_path_factory.mktemp("n"))
    try:
        yield started
    finally:
        started.stop()


def said(cloud: object, cluster: object) -> set[tuple[str, str, str, str, str, str]]:
    found = differences(World({"cloud": cloud, "cluster": cluster}, derive_remotes=True), EXPECTED)
    return {(d.kind, d.source.name, d.target.name, d.rows.value, d.row.table, d.row.name) for d in found}


def test_every_mutation_is_the_same_in_a_database(northd: Northd) -> None:
    assert len(TABLE) >= 25
    for mutation in TABLE:
        if mutation.site == "cloud":
            compare(northd, mutation)


def compare(northd: Northd, mutation: Mutation) -> None:
    tables = ("Logical_Switch", "Logical_Router")
    northd.nbctl_all([["--all", "destroy", t] for t in tables])
    northd.nbctl_all(list(created(MADE.sites["cloud"])))
    before = northd.snapshot()
    assert said(before, MADE.sites["cluster"]) == set()
    northd.nbctl_all(nbctl(before, mutation.operations))
    mutated = mutate(MADE.sites, mutation)
    expected = said(mutated["cloud"], mutated["cluster"])
    assert said(northd.snapshot(), MADE.sites["cluster"]) == expected, mutation.name
