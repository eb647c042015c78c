"""Any configuration follows any other: the rows depend on what is wanted, not on the way there."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import Any

from deployment import Deployment, attach
from snapshots import foreign, owned

from .conftest import Deploy

EAST, NORTH, WEST = attach("east", "a", "web"), attach("north", "a", "nodes"), attach("west", "a", "pods")
EVERY = attach("east", "a", "*", **{"except": ["db"]})
DEFINED = attach("east", "a", "web", {"name": "new", "cidr": ["10.5.0.0/24", "fd05::/64"]})
SECOND = attach("east", "b", "other", name="another")
FAR = attach("west", "b", "far")

STATES: dict[str, dict[str, list[dict[str, Any]]]] = {
    "nothing": {},
    "two sites": {"t": [EAST, WEST]},
    "three sites": {"t": [EAST, NORTH, WEST]},
    "two attachments of a site": {"t": [EAST, SECOND, WEST]},
    "two attachments, and no other site": {"t": [EAST, SECOND]},
    "every subnet": {"t": [EVERY, WEST]},
    "a defined subnet": {"t": [DEFINED, NORTH]},
    "hub": {"t": [EAST, WEST], "u": [EAST, FAR]},
    "other gateways": {"t": [{**EAST, "gateways": ["east-gw2"]}, {**WEST, "gateways": ["west-gw2", "west-gw1"]}]},
}


def test_any_state_follows_any_other(deploy: Deploy) -> None:
    world = deploy("east", "north", "west")
    world.sites["east"].router("a", web="10.1.1.1/24,fd00:1:1::1/64", db="10.1.2.1/24")
    world.sites["east"].router("b", other="10.4.1.1/24")
    world.sites["north"].router("a", nodes="10.3.1.1/24,fd00:3:1::1/64")
    world.sites["west"].router("a", pods="10.2.1.1/24,fd00:2:1::1/64")
    world.sites["west"].router("b", far="10.8.1.1/24")
    before = foreign(world.snapshot())
    rows: dict[str, Any] = {}
    for state in every_step(list(STATES)):
        world.interconnects = STATES[state]
        world.write()
        world.apply("--prune")
        snapshot = world.snapshot()
        assert foreign(snapshot) == before, state
        keys = {database: set(found) for database, found in owned(snapshot).items()}
        assert rows.setdefault(state, keys) == keys, state
        assert links_are_whole(world), state
        assert world.run("plan", "--prune", "--exit-code")[0] == 0, state


def every_step(states: list[str]) -> list[str]:
    """A walk that takes every ordered pair of states once (Hierholzer)."""
    left = {s: [t for t in states if t != s] for s in states}
    stack, walk = [states[0]], []
    while stack:
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            walk.append(stack.pop())
    assert {*pairwise(walk)} == {*permutations(states, 2)}
    return walk


def links_are_whole(world: Deployment) -> bool:
    """On every link and transit switch of ours, the router ports have different addresses of one network."""
    networks: dict[str, list[str]] = {}
    for rows in owned(world.snapshot()).values():
        for key, row in rows.items():
            if key.startswith("Logical_Router_Port") and "/subnet/" not in key:
                name, side, what = key.split()[1].split("/")
                place = "transit" if what == "transit" else f"{side}/{what.partition('-')[0]}"
                networks.setdefault(f"{name}/{place}", []).extend(row["networks"])
    return all(len(found) == len(set(found)) for found in networks.values())
