"""What users write, field by field. The JSON Schema (`schema.json`) comes from here, and so will the CRDs.

Reading a document interprets that schema (`structure`), so a command does not import pydantic: that would cost it
0.15 s before its first byte (docs/decisions/0008-reading-documents.md). Therefore these classes hold structure and
descriptions only; what a schema cannot say is in `formats` (one string) and `intent` (several fields together).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_VERSION = "isthmus.dev/v1alpha1"


def _text(format_: str, pattern: str, low: int, high: int, says: str) -> object:
    return Field(
        pattern=pattern, min_length=low, max_length=high, description=says, json_schema_extra={"format": format_}
    )


Label = Annotated[
    str,
    _text(
        "isthmus-label",
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        1,
        63,
        "a name of ours: lower-case letters, digits and hyphens, at most 63 (DNS-1123 label)",
    ),
]
Foreign = Annotated[
    str,
    _text(
        "isthmus-foreign",
        "^[^\\x00-\\x1f\\x7f]+$",
        1,
        255,
        "a name that another system gave: printable Unicode, at most 255 characters",
    ),
]
Excepted = Annotated[
    str,
    _text(
        "isthmus-excepted",
        "^([^*\\x00-\\x1f\\x7f]|[^\\x00-\\x1f\\x7f]{2,})$",
        1,
        255,
        'the name of a subnet that "*" leaves out, not "*" itself',
    ),
]
Path = Annotated[
    str,
    _text("isthmus-path", "^[^\\x00-\\x1f\\x7f]+$", 1, 4096, "a file name, relative to the document or absolute"),
]
Cidr = Annotated[
    str, _text("isthmus-cidr", "^[0-9a-fA-F.:]+/[0-9]+$", 4, 64, "an IPv4 or IPv6 network, without host bits")
]
IpAddress = Annotated[str, _text("isthmus-address", "^[0-9a-fA-F.:]+$", 2, 64, "an IPv4 or IPv6 address")]
Remote = Annotated[
    str,
    _text(
        "isthmus-remote",
        "^(ssl:|tcp:|unix:)[^\\x00-\\x1f\\x7f]+$",
        6,
        4096,
        "one OVSDB server: ssl:HOST:PORT or unix:PATH; tcp:HOST:PORT only with insecure: true",
    ),
]
PortRange = Annotated[
    str, _text("isthmus-ports", "^[0-9]{1,5}-[0-9]{1,5}$", 3, 11, "a range of ports, both ends included: 8000-8100")
]
Port = Annotated[int, Field(ge=0, le=65535)]
Gateways = Annotated[
    list[Foreign],
    Field(min_length=1, description="gateway chassis, the preferred first: Chassis name or unique hostname"),
]


class Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, validate_by_name=False
    )


class Metadata(Strict):
    name: Label


class Tls(Strict):
    """Files of this Fabric or Site, or one Secret that holds them."""

    ca_file: Path | None = Field(None, description="CA certificates (PEM) that the server's must come from")
    cert_file: Path | None = Field(None, description="our certificate (PEM)")
    key_file: Path | None = Field(None, description="its private key (PEM)")
    server_name: Foreign | None = Field(
        None, description="name that the server's certificate must carry; default: the host of the remote"
    )
    secret_name: Label | None = Field(None, description="a Kubernetes Secret with ca.crt, tls.crt, tls.key (not yet)")


class AddressPools(Strict):
    """Ranges that link and transit addresses are given from: one IPv4 and one IPv6 (ULA) prefix each."""

    link: list[Cidr] | None = Field(None, description='default: [169.254.128.0/18, "fd69:7374::/32"]')
    transit: list[Cidr] | None = Field(None, description='default: [169.254.64.0/18, "fd69:7375::/32"]')


class Databases(Strict):
    northbound: list[Remote] = Field(min_length=1, description="servers of the northbound database, one cluster")
    southbound: list[Remote] = Field(min_length=1, description="servers of the southbound database, one cluster")
    tls: Tls | None = None
    insecure: bool = Field(False, description="accept tcp: remotes, without encryption or authentication")


class FabricSpec(Databases):
    address_pools: AddressPools | None = None
    owner: Label | None = Field(None, description="mark of everything we write; default: the Fabric's name")


class OpenStack(Strict):
    """The API of an OpenStack; credentials stay in clouds.yaml."""

    cloud: Foreign = Field(
        description="an entry of clouds.yaml, found as the openstack command finds it (OS_CLIENT_CONFIG_FILE, ./, "
        "~/.config/openstack, /etc/openstack)"
    )


class Kubernetes(Strict):
    """How to reach the API server; empty: as the service account of the Pod that we run in."""

    kubeconfig: Path | None = None
    context: Foreign | None = None
    network_plugin: Literal["isthmus", "kube-ovn"] = Field(
        "isthmus",
        description="who keeps the cluster's own networks: `isthmus serve`, or a Kube-OVN that runs there already",
    )


class Bfd(Strict):
    """BFD timers of the tunnels between this site's chassis and to other sites (NB_Global options bfd-*)."""

    min_rx: int = Field(ge=10, le=60000, description="milliseconds")
    min_tx: int = Field(ge=10, le=60000, description="milliseconds")
    mult: int = Field(ge=1, le=255, description="packets that may be lost before the tunnel counts as down")


class SiteSpec(Databases):
    type: Literal["ovn", "openstack", "kubernetes"]
    zone: Foreign | None = Field(None, description="NB_Global.name; default: the Site's name")
    openstack: OpenStack | None = None
    kubernetes: Kubernetes | None = None
    gateways: Gateways | None = None
    bfd: Bfd | None = None
    mtu: int = Field(
        1442, ge=1280, le=65535, description="bytes; the largest IP packet between this site's machines and another's"
    )


class Reference(Strict):
    """By name or by id, one of the two."""

    name: Foreign | None = None
    id: Foreign | None = None


class Vpc(Reference):
    """The routing domain: a Logical_Router, a Neutron router, a Kubernetes Vpc."""

    project: Foreign | Reference | None = Field(None, description="Neutron project, on openstack only")


class Subnet(Reference):
    """One subnet. With `cidr` it is made where it does not exist."""

    cidr: Cidr | Annotated[list[Cidr], Field(min_length=1, max_length=2)] | None = None
    gateway: IpAddress | Annotated[list[IpAddress], Field(min_length=1, max_length=2)] | None = Field(
        None, description="the VPC router's address in it; default: the first host"
    )


class Attachment(Strict):
    """One side of an Interconnect."""

    name: Label | None = Field(None, description="default: the site's name")
    site: Label
    vpc: Foreign | Vpc
    subnets: list[Foreign | Subnet] = Field(
        min_length=1, description='names, {name}, {id}, {name, cidr}; or "*": all subnets of the VPC, kept current'
    )
    except_: list[Excepted] | None = Field(
        None, alias="except", description='subnets that "*" leaves out; each must exist when it is first written'
    )
    gateways: Gateways | None = None
    security_groups: list[Foreign] | None = Field(
        None,
        description="Neutron security groups, on openstack only: what the other sides list may come in; "
        "without it a tenant's own rules decide",
    )


class Peer(Strict):
    site: Label = Field(description="an attachment's name")
    subnets: list[Foreign] | None = None


class Allow(Strict):
    from_: Peer = Field(alias="from")
    to: Peer
    protocol: Literal["tcp", "udp", "icmp", "any"] = "any"
    ports: list[Port | PortRange] | None = None


class InterconnectSpec(Strict):
    fabric: Label | None = Field(None, description="may be omitted where there is one")
    attachments: list[Attachment] = Field(min_length=2)
    allow: list[Allow] | None = Field(None, description="not yet; none: everything between the listed subnets")


class Fabric(Strict):
    """The OVN interconnection databases that join sites, and the owner mark of everything we write."""

    api_version: Literal["isthmus.dev/v1alpha1"]
    kind: Literal["Fabric"]
    metadata: Metadata
    spec: FabricSpec


class Site(Strict):
    """One OVN deployment: an availability zone in OVN's words."""

    api_version: Literal["isthmus.dev/v1alpha1"]
    kind: Literal["Site"]
    metadata: Metadata
    spec: SiteSpec


class Interconnect(Strict):
    """One tenant's connection between VPCs of two or more sites."""

    api_version: Literal["isthmus.dev/v1alpha1"]
    kind: Literal["Interconnect"]
    metadata: Metadata
    spec: InterconnectSpec
