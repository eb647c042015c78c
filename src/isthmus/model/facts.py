"""What the world says, as far as an Interconnect needs it; made by backends, read by `compile` and `verify`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface
from typing import Literal, Protocol

from isthmus.model.intent import Prefix, VpcRef

Interface = IPv4Interface | IPv6Interface


class Role(Enum):
    """What a VPC router's port leads to."""

    SUBNET = "subnet"
    EXTERNAL = "external"
    """A localnet, provider or external network: never part of `"*"`."""
    LINK = "link"
    """A network between routers, ours or anybody's: never part of `"*"`."""
    SHARED = "shared"
    """Several routers and no machine now: a link to `"*"`; who lists it by name means it, machines or not."""


@dataclass(frozen=True, slots=True)
class VpcPort:
    """A router port of a VPC with its networks (address and prefix length) and the switch behind it."""

    uuid: str
    name: str
    networks: tuple[Interface, ...]
    role: Role
    switch: str | None = None
    """Logical_Switch UUID; None for a port that peers a router directly, or leads nowhere."""
    switch_name: str = ""
    owned: str | None = None
    """`isthmus:key` where the port is ours."""
    segment: str = ""
    """What subnets of one network share; a name that means an IPv4 and an IPv6 subnet of one segment means both."""

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        return tuple(sorted((n.network for n in self.networks), key=lambda p: (p.version, p)))


@dataclass(frozen=True, slots=True)
class ForeignRoute:
    """A static route on a VPC router that is not ours. `owner`: of another Isthmus, or ""."""

    uuid: str
    prefix: Prefix
    nexthop: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC router."""

    site: str
    uuid: str
    name: str
    ports: tuple[VpcPort, ...]
    foreign_routes: tuple[ForeignRoute, ...] = ()
    keeper: Literal["ovn", "neutron", "isthmus", "kube-ovn"] = "ovn"
    """Who writes the router's rows: whoever has the northbound database, or Neutron or Kube-OVN alone; `isthmus`: we,
    as a cluster's `Vpc` says."""
    project: str = ""
    """Id of the Neutron project that owns it."""
    pinned: bool = False
    """It runs on one chassis (NB `options:chassis`), so that it may have no port on another."""
    default: bool = False
    """A cluster's default Vpc, which Kube-OVN routes by policies of its own."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A Logical_Switch, as far as a subnet that we may define needs to know it."""

    uuid: str
    name: str
    routers: frozenset[str]
    """UUIDs of the routers that it is on."""
    owned: str | None
    """`isthmus:key` where it is ours."""


@dataclass(frozen=True, slots=True)
class Chassis:
    name: str
    hostname: str
    interconnect: bool
    """Marked `ovn-is-interconn=true`."""
    agent: bool = False
    """An isthmus agent has registered (`isthmus:agent` in Chassis_Private)."""
    nb_cfg: int = 0
    private: Mapping[str, str] = field(default_factory=dict)
    """Our own `isthmus:*` keys of Chassis_Private.external_ids."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet that an Attachment really connects: a switch on the VPC router, by the name the user knows."""

    name: str
    prefixes: tuple[Prefix, ...]
    addresses: tuple[Interface, ...]
    """The VPC router's own addresses in it."""
    ports: tuple[str, ...]
    """Names of the VPC router's ports to it."""
    id: str = ""
    """UUID of the switch; "" where we define it."""


class SiteFacts(Protocol):
    """A site as the compiler may ask it; every backend gives one."""

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        """Every VPC that the reference may mean; more than one is ambiguous."""

    def has_project(self, word: str) -> bool | None:
        """The site has a project of this name or id; None where our user may not know."""

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        """Every switch of this name that whoever owns the VPC may mean."""

    @property
    def admits(self) -> bool:
        """Rules of security groups can name what other sites list."""

    def security_groups(self, name: str, vpc: Vpc) -> tuple[str, ...]:
        """Ids of every security group of the VPC's project that has this name or id."""

    def chassis(self) -> Mapping[str, Chassis]:
        """Chassis by name."""
