"""Mutations as ovn-nbctl commands on a real database: `reach` says what it says of the mutated snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster_mutations import idle, wrong
from clusters import cluster
from isthmus.model.rows import Snapshot
from isthmus.verify.compare import Difference, differences
from isthmus.verify.expect import expect
from isthmus.verify.reach import World
from mutations import CHILDREN, Mutation, Operation, apply, literal, mutate, mutations, nbctl
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


def fresh(northd: Northd, rows: dict[str, dict[str, dict[str, Any]]]) -> Snapshot:
    """The database with these rows alone, and as it reads then."""
    # Nobody waits for northd: version 23.03 ends by an assertion where a router's port has moved to another router.
    tables = ("Logical_Switch", "Logical_Router", "Load_Balancer")
    northd.nbctl_all([["--all", "destroy", t] for t in tables], wait=False)
    northd.nbctl_all(list(created(rows)), wait=False)
    return northd.snapshot()


def compare(northd: Northd, mutation: Mutation) -> None:
    before = fresh(northd, MADE.sites["cloud"])
    assert said(before, MADE.sites["cluster"]) == set()
    northd.nbctl_all(nbctl(before, mutation.operations), wait=False)
    mutated = mutate(MADE.sites, mutation)
    expected = said(mutated["cloud"], mutated["cluster"])
    assert said(northd.snapshot(), MADE.sites["cluster"]) == expected, mutation.name


CLUSTER = cluster()


def said_of_cluster(rows: Snapshot) -> set[tuple[str, str, str, str]]:
    found = CLUSTER.judged(rows)
    names = {d: (d.source.name, d.target.name) if isinstance(d, Difference) else (d.name, d.reason) for d in found}
    return {(d.kind, *names[d], d.row.table) for d in found}


def test_every_mutation_of_a_cluster_is_the_same_in_a_database(northd: Northd) -> None:
    for mutation in (*wrong(CLUSTER.rows), *idle(CLUSTER.rows)):
        compare_cluster(northd, mutation.name, mutation.operations)


def compare_cluster(northd: Northd, name: str, operations: tuple[Operation, ...]) -> None:
    before = fresh(northd, CLUSTER.rows)
    assert said_of_cluster(before) == set()
    northd.nbctl_all(nbctl(before, operations), wait=False)
    assert said_of_cluster(northd.snapshot()) == said_of_cluster(apply(CLUSTER.rows, operations)), name
