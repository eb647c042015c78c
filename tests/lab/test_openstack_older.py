"""Older Neutrons are joined as well: what is different there is routes, and what repairs them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from isthmus.lab import spec
from isthmus.lab.lab import Lab

from . import test_openstack_coexistence as coexistence
from .openstack_steps import (
    OF_A,
    OF_B,
    A,
    B,
    cloud_and_cluster,
    join,
    reasons,
    rules_are_asked_for_where_a_group_has_changed,
)
from .steps import isthmus, warm, write_interconnects

pytestmark = [pytest.mark.lab, pytest.mark.full]


@pytest.fixture(scope="module", params=spec.LINES[1:])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with cloud_and_cluster(request.param) as made:
        join(made)
        yield made


def test_tenants_reach_their_own(lab: Lab) -> None:
    warm(lab, OF_A + OF_B)
    coexistence.nothing_to_do(lab)


def test_rules_are_asked_for_again_only_where_a_group_has_changed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    rules_are_asked_for_where_a_group_has_changed(lab, monkeypatch)


def test_a_tenants_own_routes_are_left_alone(lab: Lab) -> None:
    coexistence.test_a_router_is_renamed_and_has_its_own_routes_edited(lab)


def test_neutrons_own_repair_changes_nothing(lab: Lab) -> None:
    coexistence.test_neutrons_own_repair_reports_nothing_about_us_and_changes_nothing(lab)


def test_max_routes_that_is_used_up_is_told_and_the_rest_follows_when_there_is_room(lab: Lab) -> None:
    """Neutron's own limit of 30 for each router, before a quota took its place in 29."""
    member = lab.site("cloud").cloud("a").network
    router = member.find_router("a")
    isthmus(lab, "disconnect", "tenant-a")
    member.update_router(router, routes=[{"destination": f"192.0.2.{n}/32", "nexthop": "10.1.2.99"} for n in range(30)])
    try:
        write_interconnects(lab, {"tenant-a": A, "tenant-b": B})
        (error,) = isthmus(lab, "apply", "--timeout", "20", code=1)["errors"]
        assert error["code"] == "RoutesExhausted" and "max_routes" in error["remedy"], error
        assert reasons(lab, "tenant-a")["Programmed"].startswith("False RoutesExhausted")
    finally:
        member.update_router(router, routes=[])
    isthmus(lab, "apply")
    warm(lab, OF_A)


def test_routes_that_she_and_we_add_at_the_same_time_are_all_there(lab: Lab) -> None:
    """Where the list is set whole, the router's revision keeps the two apart; she sets it as old tools do."""
    member = lab.site("cloud").cloud("a").network
    router = member.find_router("a").id
    hers = [{"destination": f"192.0.2.{n}/32", "nexthop": "10.1.2.99"} for n in range(8)]
    atomic = any(e.alias == "extraroute-atomic" for e in member.extensions())

    def add() -> None:
        for route in hers:
            member.add_extra_routes_to_router(router, {"router": {"routes": [route]}}) if atomic else whole(route)

    def whole(route: dict[str, str]) -> None:
        while True:
            now = member.get(f"/routers/{router}").json()["router"]
            if put([*now["routes"], route], now["revision_number"]) == 200:
                return

    def put(routes: list[dict[str, str]], revision: int) -> int:
        body, guard = {"router": {"routes": routes}}, {"If-Match": f"revision_number={revision}"}
        return int(member.put(f"/routers/{router}", json=body, headers=guard, raise_exc=False).status_code)

    isthmus(lab, "disconnect", "tenant-a")
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(add)
        while not adding.done():
            join(lab)
            isthmus(lab, "disconnect", "tenant-a")
        adding.result()
    found: list[dict[str, Any]] = member.get(f"/routers/{router}").json()["router"]["routes"]
    assert sorted(map(str, found)) == sorted(map(str, hers))
    revision = member.get(f"/routers/{router}").json()["router"]["revision_number"]
    assert (put([], revision - 1), put([], revision)) == (412, 200), "the guard is what kept them apart"
    join(lab, a=A)
    coexistence.nothing_to_do(lab)
