"""Rows that we want in a database: plain data, no client and no server behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Atom = str | int | float | bool
Value = Atom | None | frozenset[Atom] | Mapping[str, str]
"""A column's value, decoded: an atom; None or an atom where the schema says at most one; a frozenset; a mapping."""

Record = Mapping[str, Value]
"""One row of a database: column -> value, `_uuid` included. References are UUID strings."""

Snapshot = Mapping[str, Mapping[str, Record]]
"""A database as read: table -> uuid -> Record."""

OWNER = "isthmus:owner"
KEY = "isthmus:key"
PATH = "isthmus:path"
INSTALLATION = "isthmus:id"

NEIGHBOUR = "Static_MAC_Binding"
"""A table without external_ids: a row of it is ours where its MAC is that of an edge router's port on a link."""
LINK_EDGE = "link-edge"
"""Last part of the key of an edge router's port on a link."""
LINK_NEIGHBOUR = "link-neighbour"
"""Part of the key of what tells a VPC router that port's MAC, before `/` and the IP version."""

IC_NB = "ic-nb"


def mapping(value: Value) -> Mapping[str, str]:
    """A column that the schema calls a map."""
    assert isinstance(value, Mapping)
    return value


def nb(site: str) -> str:
    """Name of a site's northbound database in plans."""
    return f"nb/{site}"


def neutron(site: str) -> str:
    """Name of a site's Neutron in plans."""
    return f"neutron/{site}"


def kubernetes(site: str) -> str:
    """Name of a cluster's API server in plans."""
    return f"kubernetes/{site}"


@dataclass(frozen=True, slots=True)
class Parent:
    """The row whose set `column` holds a child.

    Exactly one of: `key`, an owned row of the same plan; `uuid`, a foreign row that the facts showed;
    `name`, a row that ovn-ic is about to make (the switch of a transit switch), a router that Neutron has made, or a
            `Vpc` of a cluster;
    `network`, the key of a Neutron network of ours, of which Neutron is about to make a switch. Until such a row is
    there the child waits.
    """

    table: str
    column: str
    key: str | None = None
    uuid: str | None = None
    name: str | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row that must exist. `key` is unique in its database and starts with its Interconnect's name and `/`."""

    database: str
    table: str
    key: str
    columns: Mapping[str, Value]
    parent: Parent | None
    path: str
    """Spec path of the reason, e.g. `spec.attachments[cloud].subnets[web]`."""

    @property
    def interconnect(self) -> str:
        return self.key.partition("/")[0]
