"""Which rows of OVN tell of a change in Neutron, and which rules are asked for again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isthmus.backends.openstack.listing import Listing, unchanged_rules
from isthmus.backends.openstack.marks import description
from isthmus.backends.openstack.site import _tells

GROUPS = {"ag-1": "p", "ag-2": "q"}
RULES = {"r-1": {"remote_address_group_id": "ag-1"}, "r-2": {"remote_address_group_id": "ag-2"}}


def revisions(**found: int | None) -> dict[str, Any]:
    """Security groups `sg_PROJECT` with their revisions; None for a Neutron that tells none."""
    return {
        name: {"id": name, "project_id": name[3:]} | ({} if n is None else {"revision_number": n})
        for name, n in found.items()
    }


def before(**found: int | None) -> Listing:
    ours = {"description": description("default", "tenant-a/cloud/peers")}
    tables: dict[str, Any] = {"address_group": dict.fromkeys(GROUPS, ours), "security_group_rule": RULES}
    return Listing("service", frozenset(), tables, {}, revisions(**found))


@pytest.mark.parametrize(
    ("was", "now", "asked"),
    [
        (before(sg_p=1, sg_q=1), revisions(sg_p=1, sg_q=1), set()),
        (before(sg_p=1, sg_q=1), revisions(sg_p=2, sg_q=1), {"ag-1"}),
        (before(sg_p=1), revisions(sg_p=1, sg_q=1), {"ag-2"}),
        (before(sg_p=1, sg_q=1), revisions(sg_p=1), {"ag-2"}),
        (before(sg_p=1, sg_q=None), revisions(sg_p=1, sg_q=None), {"ag-1", "ag-2"}),
        (None, revisions(sg_p=1, sg_q=1), {"ag-1", "ag-2"}),
    ],
)
def test_rules_are_known_while_no_security_group_of_the_project_has_changed(
    was: Listing | None, now: dict[str, Any], asked: set[str]
) -> None:
    rules, doubtful = unchanged_rules("default", GROUPS, now, was)
    assert set(doubtful) == asked and len(doubtful) == len(asked)
    assert rules == {i: r for i, r in RULES.items() if r["remote_address_group_id"] not in asked}


def test_rules_of_an_address_group_that_is_new_or_gone() -> None:
    same = revisions(sg_p=1, sg_q=1)
    found = unchanged_rules("default", {"ag-1": "p", "ag-3": "q"}, same, before(sg_p=1, sg_q=1))
    assert found == ({"r-1": RULES["r-1"]}, ["ag-3"])


def test_rules_of_an_address_group_that_was_not_ours_a_moment_ago_are_asked_for() -> None:
    """Its words were edited, and are as they were: in between nobody asked for its rules."""
    was, same = before(sg_p=1, sg_q=1), revisions(sg_p=1, sg_q=1)
    hers: dict[str, Any] = {**was.tables, "address_group": {"ag-1": {"description": "mine"}, "ag-2": {}}}
    assert set(unchanged_rules("default", GROUPS, same, replace(was, tables=hers))[1]) == set(GROUPS)


PORT = {"name": "lrp-1", "networks": {"10.1.1.1/24"}, "external_ids": {"neutron:revision_number": "3"}}


@pytest.mark.parametrize(
    ("table", "change", "tells"),
    [
        ("Logical_Router_Port", {"external_ids": {"neutron:revision_number": "4"}}, False),
        ("Logical_Router_Port", {"networks": {"10.1.2.1/24"}}, True),
        ("Logical_Switch", {"external_ids": {"neutron:revision_number": "4"}}, False),
        ("Logical_Switch", {"external_ids": {"neutron:network_name": "other"}}, True),
        ("Logical_Router", {"external_ids": {"neutron:revision_number": "4"}}, True),
        ("Logical_Router", {"static_routes": {"u"}}, False),
        ("Logical_Switch_Port", {"name": "else"}, False),
    ],
)
def test_what_a_row_tells_of(table: str, change: dict[str, Any], tells: bool) -> None:
    old: Any = PORT | {"static_routes": set()}
    assert _tells(table, old, old | change) is tells
    assert _tells(table, None, old) is _tells(table, old, None) is (table != "Logical_Switch_Port")
