"""Elements of ours in a `Vpc` that others write as well, and the patches that put them there and take them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonpatch
import pytest

from isthmus.backends.changes import Change
from isthmus.backends.kubernetes.elements import annotation, diff, edit, marked, plain, seen
from isthmus.backends.kubernetes.resources import Metadata, VpcObject
from isthmus.compile.vpc_kubeovn import POLICIES, ROUTES
from isthmus.model.rows import Parent, Row

US = "default"
THEIRS = {"cidr": "0.0.0.0/0", "nextHopIP": "10.1.0.254", "policy": "policyDst", "routeTable": "rt", "bfdId": "x"}
OTHER = {"cidr": "172.31.0.0/16", "nextHopIP": "10.1.0.253"}
OURS = {"policy": "policyDst", "cidr": "10.2.0.0/24", "nextHopIP": "169.254.128.1"}
GUARD = {"priority": 2, "match": "ip4.dst == 10.2.0.0/24", "action": "allow"}


def vpc(spec: Mapping[str, Any] | None = None, annotations: Mapping[str, str] | None = None) -> VpcObject:
    metadata = Metadata(name="red", resource_version="7", annotations=dict(annotations or {}))
    return VpcObject(metadata=metadata, spec=dict(spec or {}))


def row(key: str, field: str, element: Mapping[str, Any], of: str = "red") -> Row:
    return Row("kubernetes/cluster", field, f"t/cluster/{key}", element, Parent("Vpc", field, name=of), "spec")


ROUTE_ROW, GUARD_ROW = row("vpc/route/10.2.0.0/24", ROUTES, OURS), row("vpc/policy/4/enter/1", POLICIES, GUARD)


def changes(found: VpcObject, *desired: Row, made: bool = True) -> list[Change]:
    """What a pass does about it; `made`: Kube-OVN has worked off what the object has."""
    known = seen(found, US)
    return diff("t", desired, {"red": known}, lambda _, field, element: made and element in known.there[field])


def patched(found: VpcObject, work: list[Change]) -> VpcObject:
    """The object as a server makes it of the patch."""
    whole: dict[str, Any] = {"metadata": {"resourceVersion": "7"}, "spec": dict(found.spec)}
    if found.metadata.annotations:
        whole["metadata"]["annotations"] = dict(found.metadata.annotations)
    after = jsonpatch.apply_patch(whole, edit(found, US, [c for c in work if not c.deferred]))
    return vpc(after["spec"], after["metadata"].get("annotations"))


def joined(found: VpcObject, *desired: Row) -> VpcObject:
    """After as many passes as it takes."""
    while work := [c for c in changes(found, *desired) if not c.deferred]:
        found = patched(found, work)
    return found


FOREIGN = [
    pytest.param({}, id="an empty spec"),
    pytest.param({"namespaces": ["red"]}, id="no list"),
    pytest.param({ROUTES: [THEIRS, OTHER], POLICIES: [{"priority": 9, "match": "ip4", "action": "drop"}]}, id="lists"),
]


@pytest.mark.parametrize("spec", FOREIGN)
def test_what_is_put_in_is_taken_out_and_the_rest_stays(spec: dict[str, Any]) -> None:
    here = joined(vpc(spec, {"a": "b"}), ROUTE_ROW, GUARD_ROW)
    assert here.spec[ROUTES] == [*spec.get(ROUTES, []), OURS]
    assert here.spec[POLICIES] == [*spec.get(POLICIES, []), GUARD]
    assert not changes(here, ROUTE_ROW, GUARD_ROW)
    gone = joined(here)
    assert gone == vpc(spec, {"a": "b"})


def test_a_patch_is_for_one_version_and_touches_elements_alone() -> None:
    here = joined(vpc({ROUTES: [THEIRS]}), ROUTE_ROW, GUARD_ROW)
    after = vpc({**here.spec, ROUTES: [OTHER, OURS, THEIRS]}, here.metadata.annotations)
    operations = edit(after, US, changes(after, GUARD_ROW))
    assert operations[0] == {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"}
    assert [o for o in operations[1:] if o["path"].startswith("/spec")] == [
        {"op": "remove", "path": "/spec/staticRoutes/1"}
    ]
    assert patched(after, changes(after, GUARD_ROW)).spec[ROUTES] == [OTHER, THEIRS]


def test_routes_wait_for_the_guard_and_the_guard_for_kube_ovn() -> None:
    start = vpc({ROUTES: [THEIRS]})
    first = changes(start, ROUTE_ROW, GUARD_ROW)
    assert {c.table for c in first if not c.deferred} == {POLICIES}
    here = patched(start, first)
    assert here.spec[ROUTES] == [THEIRS]
    waiting = changes(here, ROUTE_ROW, GUARD_ROW, made=False)
    assert {(c.table, c.deferred) for c in waiting} == {(POLICIES, True), (ROUTES, True)}
    assert {(c.table, c.deferred) for c in changes(here, ROUTE_ROW, GUARD_ROW)} == {(ROUTES, False)}


def test_an_old_guard_stays_until_the_new_one_stands() -> None:
    here = joined(vpc(), ROUTE_ROW, GUARD_ROW)
    new = row("vpc/policy/4/enter/2", POLICIES, GUARD | {"match": "ip4.dst == 10.3.0.0/24"})
    both = patched(here, changes(here, ROUTE_ROW, new))
    assert len(both.spec[POLICIES]) == 2
    assert all(c.deferred for c in changes(both, ROUTE_ROW, new, made=False))
    assert joined(both, ROUTE_ROW, new).spec[POLICIES] == [new.columns]


def test_what_somebody_took_out_comes_back() -> None:
    here = joined(vpc({ROUTES: [THEIRS]}), ROUTE_ROW, GUARD_ROW)
    assigned = vpc({ROUTES: [THEIRS, OTHER]}, here.metadata.annotations)
    assert joined(assigned, ROUTE_ROW, GUARD_ROW).spec[ROUTES] == [THEIRS, OTHER, OURS]


def test_kube_ovns_own_spelling_of_an_element_is_the_same_element() -> None:
    here = joined(vpc(), ROUTE_ROW, GUARD_ROW)
    spelled = {**OURS, "ecmpMode": "", "bfdId": "", "routeTable": ""}
    again = vpc({ROUTES: [spelled], POLICIES: [GUARD]}, here.metadata.annotations)
    assert not changes(again, ROUTE_ROW, GUARD_ROW)
    assert ROUTES not in joined(again, GUARD_ROW).spec


def test_an_element_with_more_to_it_is_another_element() -> None:
    assert plain(ROUTES, OURS) != plain(ROUTES, {**OURS, "routeTable": "rt"})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"staticRoutes": 1}', '{"staticRoutes": {"a": 1}}'])
def test_a_garbled_annotation_says_nothing_and_is_mended(text: str) -> None:
    broken = vpc({ROUTES: [THEIRS, OURS]}, {annotation(US): text})
    assert not any(marked(broken, US).values())
    here = joined(broken, ROUTE_ROW)
    assert here.spec[ROUTES] == [THEIRS, OURS]
    assert joined(here).spec[ROUTES] == [THEIRS]


def test_another_owners_elements_are_foreign() -> None:
    theirs = patched_by("other", vpc(), ROUTE_ROW)
    assert not changes(theirs)
    assert list(seen(theirs, "other").interconnects) == ["t"]
    assert not seen(theirs, US).interconnects


def patched_by(owner: str, found: VpcObject, *desired: Row) -> VpcObject:
    work = [Change("add", r.table, r.key, None, r.columns, r.parent) for r in desired]
    operations = [o for o in edit(found, owner, work) if o["path"] != "/metadata/resourceVersion"]
    after = jsonpatch.apply_patch({"metadata": {}, "spec": dict(found.spec)}, operations)
    return vpc(after["spec"], after["metadata"]["annotations"])


def test_of_a_vpc_that_is_not_there_everything_is_missing() -> None:
    found = diff("t", [GUARD_ROW, ROUTE_ROW], {}, lambda *_: True)
    assert {(c.op, c.table) for c in found} == {("add", POLICIES), ("add", ROUTES)}


def test_an_interconnect_that_moves_to_another_vpc_leaves_the_first() -> None:
    here = seen(joined(vpc(), ROUTE_ROW), US)
    moved = row("vpc/route/10.2.0.0/24", ROUTES, OURS, of="blue")
    found = diff("t", [moved], {"red": here, "blue": seen(vpc(), US)}, lambda *_: True)
    assert {(c.op, c.parent and c.parent.name) for c in found} == {("add", "blue"), ("remove", "red")}
