"""Elements of ours in lists of a `Vpc` that others write as well: which they are, what is missing, how to say it. Pure.

Elements bear no marks, so an annotation of the `Vpc` has a copy of each, changed in the request that changes the list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.backends.changes import Change
from isthmus.backends.kubernetes.resources import VpcObject
from isthmus.compile.vpc_kubeovn import POLICIES, ROUTES
from isthmus.model.networks import DEFAULT_VPC
from isthmus.model.rows import Parent, Row

FIELDS = (ROUTES, POLICIES)

Element = Mapping[str, Any]

Marks = Mapping[str, Mapping[str, Element]]
"""Field of `Vpc.spec` -> key -> element."""

Stands = Callable[[str, str, str], bool]
"""Vpc, field, element as it is compared -> whether Kube-OVN has made OVN's row of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a `Vpc` is looked at.

    marks    our elements, as the annotation says
    there    field -> elements that are in it, as they are compared
    default  it is the cluster's default Vpc
    leaves   it is being deleted
    """

    marks: Marks
    there: Mapping[str, frozenset[str]]
    default: bool
    leaves: bool

    @property
    def interconnects(self) -> frozenset[str]:
        """Names of those that have elements in it."""
        return frozenset(key.partition("/")[0] for elements in self.marks.values() for key in elements)


def seen(found: VpcObject, owner: str) -> Seen:
    there = {field: frozenset(plain(field, each) for each in found.spec.get(field) or ()) for field in FIELDS}
    default = found.metadata.name == DEFAULT_VPC or found.status.get("default") is True
    return Seen(marked(found, owner), there, default, bool(found.metadata.deletion_timestamp))


def annotation(owner: str) -> str:
    """Owners are DNS labels, as parts of an annotation's prefix must be."""
    return f"{owner}.isthmus.dev/elements"


def marked(found: VpcObject, owner: str) -> Marks:
    """What the annotation says; what somebody garbled says nothing."""
    try:
        said = json.loads(found.metadata.annotations.get(annotation(owner), "{}"))
        return {field: {str(k): dict(e) for k, e in said.get(field, {}).items()} for field in FIELDS}
    except (ValueError, TypeError, AttributeError):
        return {field: {} for field in FIELDS}


def plain(field: str, element: Element) -> str:
    """An element as it is compared: Kube-OVN itself writes fields that have no value, and the default of `policy`.

    >>> plain("staticRoutes", {"nextHopIP": "10.1.0.1", "cidr": "10.0.0.0/8", "bfdId": ""})
    '{"cidr": "10.0.0.0/8", "nextHopIP": "10.1.0.1", "policy": "policyDst"}'
    """
    found = {name: value for name, value in element.items() if value not in ("", None)}
    if field == ROUTES:
        found.setdefault("policy", "policyDst")
    return json.dumps(found, sort_keys=True)


def diff(interconnect: str, desired: Iterable[Row], vpcs: Mapping[str, Seen], stands: Stands) -> list[Change]:
    """Changes that make the elements of one Interconnect equal `desired`.

    The guard comes first: routes, and what is no longer wanted, wait until OVN has every policy that is. So no packet
    goes where none should while Kube-OVN works off what it reads.
    """
    wanted = {(str(row.parent.name), row.table, row.key): row for row in desired if row.parent}
    missing, pending = [], []
    for (vpc, field, key), row in wanted.items():
        here, element = vpcs.get(vpc), plain(field, row.columns)
        mark = here.marks[field].get(key) if here else None
        if here is None or mark is None or plain(field, mark) != element or element not in here.there[field]:
            missing.append(row)
        elif not stands(vpc, field, element):
            pending.append(row)
    bare = any(row.table == POLICIES for row in (*missing, *pending))
    changes = [_add(row, deferred=bare and row.table == ROUTES) for row in missing]
    changes += [_add(row, deferred=True) for row in pending]
    for vpc, found in vpcs.items():
        for field, elements in found.marks.items():
            for key, each in elements.items():
                if key.startswith(f"{interconnect}/") and (vpc, field, key) not in wanted:
                    parent = Parent("Vpc", field, name=vpc)
                    changes.append(Change("remove", field, key, None, each, parent, deferred=bare))
    return changes


def _add(row: Row, *, deferred: bool) -> Change:
    return Change("add", row.table, row.key, None, row.columns, row.parent, deferred)


def edit(found: VpcObject, owner: str, changes: Iterable[Change]) -> list[dict[str, Any]]:
    """A JSON patch (RFC 6902) that makes these changes in just this version of the object; [] where all are made.

    Others' elements stay where they are. Ours are added at the end, and found by their value when they go.
    """
    before = marked(found, owner)
    after = {field: dict(elements) for field, elements in before.items()}
    new: dict[str, list[Element]] = {field: [] for field in FIELDS}
    for change in changes:
        if change.op == "add":
            after[change.table][change.key] = dict(change.columns)
            new[change.table].append(dict(change.columns))
        else:
            after[change.table].pop(change.key, None)
    work = [operation for field in FIELDS for operation in _list(found, field, before[field], after[field], new[field])]
    work += _mark(found, owner, after)
    if not work:
        return []
    if not found.spec:
        work.insert(0, {"op": "add", "path": "/spec", "value": {}})
    # The server refuses the patch where the object has changed: places in its lists are those of this version.
    return [{"op": "replace", "path": "/metadata/resourceVersion", "value": found.metadata.resource_version}, *work]


def _list(
    found: VpcObject, field: str, before: Mapping[str, Element], after: Mapping[str, Element], new: list[Element]
) -> Iterator[dict[str, Any]]:
    path, there = f"/spec/{field}", [plain(field, each) for each in found.spec.get(field) or ()]
    stays = [plain(field, each) for each in after.values()]
    goes = [one for each in before.values() if (one := plain(field, each)) not in stays]
    left = [each for each in there if each not in goes]
    added = [each for each in new if plain(field, each) not in left]
    if there and not left and not added:
        yield {"op": "remove", "path": path}
        return
    for place in reversed(range(len(there))):
        if there[place] in goes:
            yield {"op": "remove", "path": f"{path}/{place}"}
    if added and not found.spec.get(field):
        yield {"op": "add", "path": path, "value": []}
    for each in added:
        yield {"op": "add", "path": f"{path}/-", "value": each}


def _mark(found: VpcObject, owner: str, after: Marks) -> Iterator[dict[str, Any]]:
    name, had = annotation(owner), found.metadata.annotations
    said = {field: dict(elements) for field, elements in after.items() if elements}
    text = json.dumps(said, sort_keys=True, separators=(",", ":")) if said else None
    if had.get(name) == text:
        return
    path = "/metadata/annotations/" + name.replace("~", "~0").replace("/", "~1")
    if text is None:
        yield {"op": "remove", "path": path}
        return
    if not had:
        yield {"op": "add", "path": "/metadata/annotations", "value": {}}
    yield {"op": "add", "path": path, "value": text}
