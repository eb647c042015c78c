"""Probe ports on real databases: tags given once per chassis, trunks while anybody needs them."""

from __future__ import annotations

from typing import Any

import pytest

from deployment import Deployment, attach
from snapshots import foreign, owned

from .conftest import Deploy


def tags(world: Deployment) -> dict[str, int]:
    """Probe port's key -> tag, at east."""
    rows = owned(world.snapshot())["nb/east"]
    return {k.split()[1]: r["tag"] for k, r in rows.items() if "/probe/" in k and "~site" not in k}


def apply(world: Deployment, *words: str) -> dict[str, Any]:
    """Nothing answers probes here: written is all that can be had."""
    code, found = world.run("apply", "--timeout", "8", "--wait", "none", *words)
    assert code == 0, found
    return found


def test_tags_of_a_chassis_are_different_and_stay(deploy: Deploy) -> None:
    world = deploy("east", "west", agents=True)
    before = foreign(world.snapshot())
    for number in range(3):
        world.sites["east"].router(f"r{number}", **{f"e{number}": "10.1.0.1/24"})
        world.sites["west"].router(f"r{number}", **{f"w{number}": "10.2.0.1/24"})
    before = foreign(world.snapshot())
    wanted = {f"t{n}": [attach("east", f"r{n}", f"e{n}"), attach("west", f"r{n}", f"w{n}")] for n in range(3)}
    for names in (("t1",), ("t0", "t1", "t2"), ("t1", "t2"), ("t0", "t1", "t2")):
        known = tags(world)
        world.interconnects = {n: wanted[n] for n in names}
        world.write()
        apply(world, "--prune")
        now = tags(world)
        assert all(now[k] == known[k] for k in now.keys() & known.keys())
        for chassis in ("east-gw1", "east-gw2"):
            given = [tag for key, tag in now.items() if key.endswith(f"/{chassis}")]
            assert len(given) == len(set(given)) == len(names)
        assert apply(world, "--prune")["transactions"] == 0
        assert foreign(world.snapshot()) == before
    trunks = {k for k in owned(world.snapshot())["nb/east"] if "~site" in k}
    assert trunks == {
        "Logical_Switch ~site/probe",
        "Logical_Switch_Port ~site/probe/east-gw1",
        "Logical_Switch_Port ~site/probe/east-gw2",
    }
    world.interconnects = {}
    world.write()
    apply(world, "--prune")
    assert not any(owned(world.snapshot()).values())
    assert foreign(world.snapshot()) == before


def test_the_last_tenant_s_disconnect_takes_the_trunks_along_and_no_earlier_one(deploy: Deploy) -> None:
    world = deploy("east", "west", agents=True)
    for number in range(2):
        world.sites["east"].router(f"r{number}", **{f"e{number}": "10.1.0.1/24"})
        world.sites["west"].router(f"r{number}", **{f"w{number}": "10.2.0.1/24"})
        world.join(f"t{number}", attach("east", f"r{number}", f"e{number}"), attach("west", f"r{number}", f"w{number}"))
    apply(world)
    for number, left in ((0, True), (1, False)):
        code, found = world.run("disconnect", f"t{number}", "--timeout", "8", "--wait", "none")
        assert code == 0, found
        assert any("~site" in k for k in owned(world.snapshot())["nb/east"]) is left


@pytest.mark.parametrize(
    "words", [("verify",), ("verify", "--live"), ("explain", "t"), ("disconnect", "t", "--subnet", "e2")]
)
def test_a_site_with_agents_out_of_reach_stops_nobody_who_asks_or_cuts(deploy: Deploy, words: tuple[str, ...]) -> None:
    world = deploy("cloud", "east", "west", agents=True)
    world.sites["cloud"].router("r", c="10.0.0.1/24")
    world.sites["east"].router("r", e="10.1.0.1/24", e2="10.1.1.1/24")
    world.sites["west"].router("r", w="10.2.0.1/24")
    world.join("t", attach("cloud", "r", "c"), attach("east", "r", "e", "e2"), attach("west", "r", "w"))
    apply(world)
    for server in (world.sites["west"].nb, world.sites["west"].sb):
        server.stop()
    code, found = world.run(*words, "--timeout", "2")
    assert code == 1, found
    assert [e["code"] for e in found["errors"]] == ["Unreachable"], found
    if words[0] == "explain":
        assert found["object"]["rows"] and found["object"]["needs"] == []
    if words[0] == "disconnect":
        assert found["transactions"] == 2, "cloud and east"
