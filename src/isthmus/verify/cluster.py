"""What a cluster's objects say of its own networks, for `expect` and `faults`: no row was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.model.facts import Interface
from isthmus.model.networks import Route
from isthmus.verify.place import Place


@dataclass(frozen=True, slots=True)
class Home:
    """A Subnet of a Vpc.

    place     its switch, and the port of its Vpc's router there
    gateways  the router's addresses in it, with prefix length
    """

    vpc: str
    place: Place
    gateways: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Resident:
    """A Pod that runs.

    name       NAMESPACE/NAME
    port       name of its switch port, which only `node` may have
    addresses  (family, number) of each that its status shows
    subnets    names of the Subnets that its namespace may be in
    """

    name: str
    port: str
    node: str
    addresses: frozenset[tuple[int, int]]
    subnets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Way:
    """Between nodes and Pods (ADR 0021).

    doors      name of a Vpc -> the port by which a Pod's own node is in it
    addresses  (family, number) of each of these ports, the same in every Vpc
    nodes      name of a node -> its port in the Subnet `home`
    """

    doors: Mapping[str, str]
    addresses: frozenset[tuple[int, int]]
    nodes: Mapping[str, str]
    home: str


@dataclass(frozen=True, slots=True)
class Networks:
    """Of one cluster.

    routes  name of a Vpc -> what it says of its router
    moving  ports of Pods and nodes that come or go just now: nothing is said of them
    """

    site: str
    homes: tuple[Home, ...]
    residents: tuple[Resident, ...]
    routes: Mapping[str, tuple[Route, ...]]
    moving: frozenset[str]
    way: Way
