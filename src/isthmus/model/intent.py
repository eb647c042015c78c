"""What the user wants, parsed and cross-referenced; nothing here has looked at the world.

`api` makes these from documents; everything below reads only these.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Literal

Prefix = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

DEFAULT_MTU = 1442
"""Bytes; what Geneve with OVN's option leaves of an IPv4 underlay's 1500."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object was written: for messages, and for `isthmus:path`."""

    file: str = ""
    document: int | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """File names are absolute. `server_name` must be in the server's certificate; default: the remote's host."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A clustered or single database by its remotes: `ssl:HOST:PORT`, `unix:PATH`, `tcp:HOST:PORT`."""

    remotes: tuple[str, ...]
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Pools:
    """Address ranges that numbers are given from. Every pool holds at least one prefix of each family that is used."""

    link: tuple[Prefix, ...]
    transit: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class Fabric:
    name: str
    northbound: Endpoint
    southbound: Endpoint
    pools: Pools
    owner: str
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Bfd:
    """Tunnel BFD timers, opt-in: milliseconds, and a multiplier (options `bfd-min-rx`, `-tx`, `bfd-mult`)."""

    min_rx: int
    min_tx: int
    mult: int


@dataclass(frozen=True, slots=True)
class Site:
    name: str
    type: Literal["ovn", "openstack", "kubernetes"]
    zone: str
    northbound: Endpoint
    southbound: Endpoint
    gateways: tuple[str, ...] = ()
    bfd: Bfd | None = None
    mtu: int = DEFAULT_MTU
    """Bytes; the largest IP packet that the site's tunnels carry to other sites, 1280 to 65535."""
    cloud: str = ""
    """Entry of clouds.yaml; only on `openstack`."""
    kubeconfig: Path | None = None
    """Absolute; only on `kubernetes`. None there: the service account of the Pod that we run in."""
    context: str = ""
    """Of the kubeconfig; "": its current one."""
    plugin: Literal["isthmus", "kube-ovn"] = "isthmus"
    """Who keeps the cluster's own networks; only on `kubernetes`."""
    origin: Origin = Origin()

    @property
    def keeps_networks(self) -> bool:
        """It is a cluster whose own networks are ours to keep."""
        return self.type == "kubernetes" and self.plugin == "isthmus"


@dataclass(frozen=True, slots=True)
class VpcRef:
    """The routing domain by name or id (UUID of the Logical_Router on `ovn`); `project` only on `openstack`."""

    name: str | None = None
    id: str | None = None
    project: str | None = None

    def __str__(self) -> str:
        return self.name or self.id or "?"


@dataclass(frozen=True, slots=True)
class SubnetRef:
    """One listed subnet. With `cidrs` it is defined by us where it is missing; `gateways[i]` belongs to `cidrs[i]`."""

    name: str | None = None
    id: str | None = None
    cidrs: tuple[Prefix, ...] = ()
    gateways: tuple[Address, ...] = ()
    field: str = ""

    def __str__(self) -> str:
        return self.name or self.id or "?"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One side of an Interconnect. `every` is `"*"`; `exclude` is its `except`."""

    name: str
    site: str
    vpc: VpcRef
    subnets: tuple[SubnetRef, ...]
    every: bool = False
    exclude: tuple[str, ...] = ()
    gateways: tuple[str, ...] | None = None
    security_groups: tuple[str, ...] = ()
    field: str = ""
    """Path in the document, e.g. `spec.attachments[0]`."""


@dataclass(frozen=True, slots=True)
class Interconnect:
    name: str
    fabric: str
    attachments: tuple[Attachment, ...]
    origin: Origin = Origin()

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, sorted, each once."""
        return tuple(sorted({a.site for a in self.attachments}))


@dataclass(frozen=True, slots=True)
class Configuration:
    """All documents of a path, valid by themselves and against each other."""

    fabrics: tuple[Fabric, ...] = ()
    sites: tuple[Site, ...] = ()
    interconnects: tuple[Interconnect, ...] = ()

    def site(self, name: str) -> Site:
        return next(s for s in self.sites if s.name == name)

    def fabric(self, name: str) -> Fabric:
        return next(f for f in self.fabrics if f.name == name)
