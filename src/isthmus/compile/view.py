"""One Interconnect as the world has it: the input of every row maker. Nothing here is looked up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from ipaddress import IPv4Interface, IPv6Interface

from isthmus.model.facts import Interface, Subnet, Vpc
from isthmus.model.intent import Address, Attachment, Pools, Prefix

LINK_HOSTS = 6
"""Hosts of a link's IPv4 /29: 1 edge, 2 VPC router, 3 to 6 probes."""

FIRST_PROBE = 3


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is given once to an Attachment and read back from the edge routers (`compile.record`)."""

    transit: int
    """Host number on the transit switch, from 1."""
    link: int
    """Which /29 and /64 of the link pools, from 0."""
    inner: int | None = None
    """Likewise for the link between two edges of one site."""
    tags: Mapping[str, int] = field(default_factory=dict)
    """Chassis -> VLAN tag of this link's probe on that chassis' trunk, 1 to 4094; none on sites that cannot be read."""
    port_key: str = ""
    """What ovn-ic numbered the port on the transit switch; "" until it has, and on sites that cannot be read."""
    nudges: int = 0
    """How often chassis were made to look again at the port that none of them carried (ADR 0017)."""


@dataclass(frozen=True, slots=True)
class Defined:
    """A subnet that we make: a switch of this name and a port of the VPC router to it."""

    name: str
    networks: tuple[Interface, ...]
    """The router's address in each prefix."""
    field: str


@dataclass(frozen=True)
class Side:
    """An Attachment with what the facts say of it."""

    attachment: Attachment
    vpc: Vpc
    subnets: tuple[Subnet, ...]
    defined: tuple[Defined, ...]
    gateways: tuple[str, ...]
    """Chassis names, the preferred one first."""
    probes: tuple[str, ...]
    """Of these, the ones where an agent runs."""
    hostnames: Mapping[str, str] = field(default_factory=dict)
    """Hostname, where the documents name a gateway by it -> chassis."""
    exclude: tuple[str, ...] = ()
    """What `except` names, sorted; without names that never were a subnet of the VPC."""
    security_groups: tuple[str, ...] = ()
    """Ids of the Neutron security groups that let the other sides in, sorted."""

    @property
    def name(self) -> str:
        return self.attachment.name

    @property
    def site(self) -> str:
        return self.attachment.site

    @cached_property
    def prefixes(self) -> tuple[Prefix, ...]:
        return tuple(sorted({p for s in self.subnets for p in s.prefixes}, key=order))

    @cached_property
    def addresses(self) -> tuple[Address, ...]:
        """The VPC router's own addresses in the connected subnets."""
        return tuple(sorted({a.ip for s in self.subnets for a in s.addresses}, key=lambda a: (a.version, a)))


@dataclass(frozen=True)
class Joined:
    """An Interconnect ready to be turned into rows.

    sides     in order of their names
    members   sites that have, or may still have, an edge: the transit switch records them until they confirmed
    mtu       bytes; the largest IP packet that every site on the path carries
    refused   site -> what its API refused last, as its first edge says it (`compile.record.REFUSED`)
    """

    name: str
    owner: str
    installation: str
    sides: tuple[Side, ...]
    numbers: Mapping[str, Numbers]
    pools: Pools
    mtu: int
    refused: Mapping[str, str] = field(default_factory=dict)

    def first(self, site: str) -> Side:
        """The side that holds the site's port on the transit switch."""
        return next(s for s in self.sides if s.site == site)

    def is_first(self, side: Side) -> bool:
        return self.first(side.site) is side

    def further(self, side: Side) -> tuple[Side, ...]:
        """The sides whose edges join the transit switch through this one."""
        return tuple(s for s in self.sides if s.site == side.site and s is not side) if self.is_first(side) else ()

    def others(self, side: Side) -> tuple[Side, ...]:
        return tuple(s for s in self.sides if s is not side)

    @cached_property
    def families(self) -> tuple[int, ...]:
        """IP versions that any connected subnet uses."""
        return tuple(sorted({p.version for s in self.sides for p in s.prefixes}))

    @cached_property
    def _links(self) -> dict[tuple[int, int], tuple[Interface, ...]]:
        """Every maker of rows asks for the same few."""
        return {}

    def _link(self, number: int, host: int) -> tuple[Interface, ...]:
        if (number, host) not in self._links:
            self._links[number, host] = link_interfaces(self.pools, number, host)
        return self._links[number, host]

    def link(self, side: Side, host: int) -> tuple[Interface, ...]:
        return self._link(self.numbers[side.name].link, host)

    def inner(self, side: Side, host: int) -> tuple[Interface, ...]:
        number = self.numbers[side.name].inner
        assert number is not None
        return self._link(number, host)

    def transit(self, side: Side) -> tuple[Interface, ...]:
        return transit_interfaces(self.pools, self.numbers[side.name].transit)

    def probe_host(self, side: Side, chassis: str) -> int:
        return FIRST_PROBE + side.probes.index(chassis)


def order(prefix: Prefix) -> tuple[int, Prefix]:
    """Sort key: IPv4 before IPv6, then by address."""
    return prefix.version, prefix


def link_capacity(pools: Pools) -> int:
    """How many links the IPv4 pools hold."""
    return sum(p.num_addresses // 8 for p in pools.link if p.version == 4)


def link_interfaces(pools: Pools, number: int, host: int) -> tuple[Interface, ...]:
    """Address `host` of link `number`, one per family: of an IPv4 /29 and an IPv6 /64."""
    found: list[Interface] = []
    for version, size, length in ((4, 8, 29), (6, 1 << 64, 64)):
        left = number
        for pool in (p for p in pools.link if p.version == version):
            count = pool.num_addresses // size
            if left < count:
                found.append(_interface(int(pool.network_address) + left * size + host, version, length))
                break
            left -= count
    return tuple(found)


@lru_cache(maxsize=256)
def transit_interfaces(pools: Pools, number: int) -> tuple[Interface, ...]:
    """Address `number` of the first pool of each family; every transit switch uses the same range by itself."""
    found: list[Interface] = []
    for version in (4, 6):
        pool = next((p for p in pools.transit if p.version == version), None)
        if pool is not None:
            found.append(_interface(int(pool.network_address) + number, version, pool.prefixlen))
    return tuple(found)


def _interface(address: int, version: int, length: int) -> Interface:
    return IPv4Interface((address, length)) if version == 4 else IPv6Interface((address, length))
