"""Every way to break or to leak that we could think of is found by `reach` and the intent alone."""

from __future__ import annotations

import pytest

from compiled import two_tenants_compiled
from isthmus.verify.compare import Difference, differences
from isthmus.verify.expect import expect
from isthmus.verify.reach import World
from mutations import Mutation, mutate, mutations, nbctl
from worlds import Made, cast, two_tenants

WORLDS = {"by hand": two_tenants(), "by the compiler": two_tenants_compiled()}
MADE = WORLDS["by hand"]
TABLE = mutations(cast(MADE))


@pytest.fixture(params=WORLDS)
def made(request: pytest.FixtureRequest) -> Made:
    return WORLDS[request.param]


def judged(made: Made, sites: object) -> tuple[Difference, ...]:
    return differences(World(sites, derive_remotes=True), expect(made.configuration, made.listed, made.vpcs))


def test_a_sound_world_has_no_differences(made: Made) -> None:
    assert judged(made, made.sites) == ()


def test_the_table_is_large_enough_and_its_names_differ() -> None:
    assert len(TABLE) >= 25
    assert sum(m.foreign for m in TABLE) >= 10
    assert sum(m.leaks for m in TABLE) >= 5
    assert len({m.name for m in TABLE}) == len(TABLE)


@pytest.mark.parametrize("mutation", TABLE, ids=lambda m: m.name)
def test_the_mutation_is_found_with_pair_direction_and_row(mutation: Mutation, made: Made) -> None:
    found = judged(made, mutate(made.sites, mutation))
    named = [d for d in found if (d.source.name, d.target.name) == mutation.pair]
    assert named, [str(d) for d in found]
    assert named[0].row.uuid
    assert not mutation.table or named[0].row.table == mutation.table, str(named[0])
    assert not mutation.leaks or any(not d.wanted for d in named), [str(d) for d in named]


@pytest.mark.parametrize("mutation", TABLE, ids=lambda m: m.name)
def test_the_mutation_can_be_said_as_ovn_nbctl_commands(mutation: Mutation) -> None:
    assert nbctl(MADE.sites[mutation.site], mutation.operations)
