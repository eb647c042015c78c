"""A cluster's own networks as its users wrote them, and who lives in them; made by the kubernetes backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isthmus.model.facts import Interface
from isthmus.model.intent import Address, Prefix

DEFAULT_VPC, DEFAULT_SUBNET = "ovn-cluster", "ovn-default"
"""What Pods of namespaces that nobody bound are in; Kube-OVN's names."""
NODES_SUBNET = "join"
"""The Subnet of the default VPC that nodes have their ports in; Kube-OVN's name."""


@dataclass(frozen=True, slots=True)
class Route:
    """A static route of a VPC's router; `by` is the address of a packet that `prefix` is compared with."""

    prefix: Prefix
    nexthop: Address
    by: Literal["dst", "src"]


@dataclass(frozen=True, slots=True)
class Vpc:
    """A `Vpc`. namespaces: whose Pods may be in it; empty: whoever its Subnets name."""

    name: str
    namespaces: frozenset[str] = frozenset()
    default_subnet: str = ""
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of a label selector's; all of them must hold."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """
        >>> Requirement("team", "NotIn", frozenset({"a"})).holds({})
        True
        """
        there = self.key in labels
        if self.operator in ("Exists", "DoesNotExist"):
            return there == (self.operator == "Exists")
        chosen = there and labels[self.key] in self.values
        return chosen if self.operator == "In" else not chosen


Selector = tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    """A `Subnet`.

    gateways  the router's address in each network, with its prefix length
    excluded  ranges, both ends included, of addresses that are given to nobody who does not name them
    mtu       bytes; 0: what the tunnels leave
    nat       Pods that leave the default VPC do it with their node's address
    """

    name: str
    vpc: str
    gateways: tuple[Interface, ...]
    excluded: tuple[tuple[Address, Address], ...] = ()
    namespaces: frozenset[str] = frozenset()
    selectors: tuple[Selector, ...] = ()
    mtu: int = 0
    nat: bool = False

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        return tuple(g.network for g in self.gateways)


@dataclass(frozen=True, slots=True)
class Namespace:
    """subnet: what its annotation names for its Pods, or ""."""

    name: str
    labels: Mapping[str, str]
    subnet: str = ""


@dataclass(frozen=True, slots=True)
class Api:
    """The Service `default/kubernetes`: its own addresses and port, and where API servers are."""

    vips: tuple[Address, ...] = ()
    port: int = 0
    endpoints: tuple[tuple[Address, int], ...] = ()

    def reached(self, version: int) -> bool:
        """There is an API server with an address of that IP version."""
        return any(address.version == version for address, _ in self.endpoints)


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod that has a node and wants a network of its own; without a namespace the node itself (`of_node`).

    subnet, addresses, mac  what its annotations ask for; `misread` is what they say that cannot be read
    told                    addresses that its status shows: it runs with them
    slot                    the StatefulSet that it is a member of, or ""
    """

    namespace: str
    name: str
    uid: str
    node: str
    subnet: str = ""
    addresses: tuple[Address, ...] = ()
    mac: str = ""
    misread: str = ""
    told: tuple[Address, ...] = ()
    slot: str = ""


def of_node(name: str, uid: str) -> Pod:
    """A node, as somebody who has a port in `NODES_SUBNET`."""
    return Pod("", name, uid, name, NODES_SUBNET)
