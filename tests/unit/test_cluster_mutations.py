"""Every way to open or to close something in a cluster's own networks is found by `reach` and the objects alone."""

from __future__ import annotations

import pytest

from cluster_mutations import Idle, Wrong, idle, wrong
from clusters import cluster
from documents import ROOT
from isthmus.verify.compare import Difference
from isthmus.verify.fault import Fault
from mutations import Operation, apply

MADE = cluster()
TABLE, IDLE = wrong(MADE.rows), idle(MADE.rows)


def after(operations: tuple[Operation, ...]) -> tuple[Difference | Fault, ...]:
    return MADE.judged(apply(MADE.rows, operations))


def names(found: Difference | Fault) -> tuple[str, ...]:
    return (found.source.name, found.target.name) if isinstance(found, Difference) else (found.name,)


def test_sound_networks_have_no_differences() -> None:
    assert MADE.judged(MADE.rows) == ()


def test_the_tables_are_large_and_their_names_differ() -> None:
    assert len(TABLE) >= 80
    assert sum(m.opens for m in TABLE) >= 30
    assert len({m.name for m in (*TABLE, *IDLE)}) == len(TABLE) + len(IDLE)


@pytest.mark.parametrize("mutation", TABLE, ids=lambda m: m.name)
def test_what_opens_or_closes_something_is_found_with_its_row(mutation: Wrong) -> None:
    found = after(mutation.operations)
    named = [d for d in found if (d.kind, names(d)) == (mutation.kind, mutation.names)]
    assert named, [str(d) for d in found]
    assert not mutation.table or mutation.table in {d.row.table for d in named}, [str(d) for d in named]
    assert all(d.row.uuid or d.row.name for d in found)


@pytest.mark.parametrize("mutation", IDLE, ids=lambda m: m.name)
def test_what_changes_nothing_is_no_difference(mutation: Idle) -> None:
    assert mutation.why
    assert after(mutation.operations) == ()


def test_the_examples_of_the_document_are_true() -> None:
    text = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    shown = [line for line in text.splitlines() if line.startswith("cluster: ")]
    assert len(shown) == 2
    broken = [m.operations for m in TABLE if m.name in ("port security taken away", "a static route of IPv6 deleted")]
    assert set(shown) <= {str(found) for operations in broken for found in after(operations)}
