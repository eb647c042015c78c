"""Networks of a cluster of ours: the part of `kubeovn.io/v1` that people's manifests use, field by field.

Names, shapes and defaults are Kube-OVN's (its `pkg/apis/kubeovn/v1` and its CRDs, 1.17), so that its manifests and
clients work; what a field says here is what we do. The CRDs come from these classes (`crds`). Rules are CEL, which
the API server evaluates before an object is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from isthmus.model.networks import DEFAULT_SUBNET, DEFAULT_VPC

GROUP, VERSION = "kubeovn.io", "v1"


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression that must be true of an object, and what is said where it is not."""

    rule: str
    message: str

    def __call__(self) -> dict[str, str]:
        return {"rule": self.rule, "message": self.message}


def _families(field: str) -> str:
    """How many families the comma-separated CIDRs of a field have."""
    cidrs = f"{field}.split(',')"
    return " + ".join(f"({cidrs}.exists(c, cidr(c).ip().family() == {family}) ? 1 : 0)" for family in (4, 6))


LATER = "not honoured yet"
"""The description of a field that is known, and refused."""
NOTHING = {"string": " == ''", "boolean": " == false", "integer": " == 0", "array": ".size() == 0"}
"""Type of such a field -> the value that changes nothing, which alone is let in (CEL)."""


def _rules(*rules: Rule) -> dict[str, Any]:
    return {"x-kubernetes-validations": [rule() for rule in rules]}


def _refusing(*rules: Rule) -> Callable[[dict[str, Any]], None]:
    """These rules, and one for each field of the model that is not honoured."""

    def extend(schema: dict[str, Any]) -> None:
        schema |= _rules(*rules, *_refused(schema["properties"]))

    return extend


def _refused(fields: Mapping[str, Any]) -> Iterator[Rule]:
    for name, field in fields.items():
        # Of one that may be null the first alternative says what it is; what is an object has a rule of its own.
        nothing = NOTHING.get(field.get("anyOf", [field])[0].get("type", ""))
        if field.get("description") == LATER and nothing:
            yield Rule(f"!has(self.{name}) || self.{name}{nothing}", f"{name} is {LATER}: leave it out")


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


Name = Annotated[str, Field(max_length=253)]
Names = Annotated[list[Name], Field(max_length=1024)]
Network = Annotated[str, Field(max_length=64)]
Address = Annotated[str, Field(max_length=45)]
Text = Annotated[str, Field(max_length=4096)]
Pair = Annotated[str, Field(max_length=129)]
"""One of each family, with a comma between."""


# Vpc


class StaticRoute(_Model):
    """A static route of the VPC's router."""

    policy: Literal["policyDst", "policySrc"] = Field("policyDst", description="which address of a packet is compared")
    cidr: Network = Field(
        description="a network, or an address",
        json_schema_extra=_rules(Rule("isCIDR(self) || isIP(self)", "neither a network nor an address")),
    )
    next_hop_ip: Address = Field(
        alias="nextHopIP",
        description="an address in a Subnet of the VPC",
        json_schema_extra=_rules(Rule("isIP(self)", "not an IP address")),
    )
    ecmp_mode: Name | None = Field(None, description=LATER)
    bfd_id: Name | None = Field(None, description=LATER)
    route_table: Name | None = Field(None, description=LATER)

    model_config = ConfigDict(
        json_schema_extra=_refusing(
            Rule(
                "!(isIP(self.nextHopIP) && (isCIDR(self.cidr) || isIP(self.cidr))) || ip(self.nextHopIP).family() == "
                "(isIP(self.cidr) ? ip(self.cidr).family() : cidr(self.cidr).ip().family())",
                "the network and its next hop are of two families",
            ),
        )
    )


class BfdPort(_Model):
    enabled: bool = False


class VpcSpec(_Model):
    """A tenant's routing domain: a Logical_Router of the same name."""

    namespaces: Names = Field(
        default=[], description="namespaces whose Pods may be in its Subnets; of the default Vpc: all, without this"
    )
    default_subnet: Name | None = Field(None, description="the Subnet of these namespaces' Pods that name none")
    static_routes: Annotated[list[StaticRoute], Field(max_length=256)] = Field(default=[])
    policy_routes: Annotated[list[dict[str, Any]], Field(max_length=1024)] = Field([], description=LATER)
    vpc_peerings: Annotated[list[dict[str, Any]], Field(max_length=1024)] = Field([], description=LATER)
    enable_external: bool = Field(False, description=LATER)
    extra_external_subnets: Names = Field([], description=LATER)
    enable_bfd: bool = Field(False, description=LATER)
    bfd_port: BfdPort | None = Field(None, description=LATER)

    model_config = ConfigDict(
        json_schema_extra=_refusing(
            Rule(
                "!has(self.bfdPort) || !has(self.bfdPort.enabled) || !self.bfdPort.enabled",
                "bfdPort is not honoured yet: leave it out",
            ),
        )
    )


class Condition(_Model):
    type: Name
    status: Literal["True", "False", "Unknown"]
    reason: Name = ""
    message: Annotated[str, Field(max_length=32768)] = ""
    observed_generation: int = 0
    last_update_time: str | None = Field(None, json_schema_extra={"format": "date-time"})
    last_transition_time: str | None = Field(None, json_schema_extra={"format": "date-time"})


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class VpcStatus(_Model):
    conditions: Conditions = []
    standby: bool = Field(False, description="its router is there: what clients wait for")
    default: bool = False
    default_logical_switch: Name = ""
    router: Name = ""
    subnets: Names = []


# Subnet


class LabelRequirement(_Model):
    key: Name
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Annotated[list[Name], Field(max_length=256)] = []


class LabelSelector(_Model):
    match_labels: dict[str, Name] = {}
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=64)] = []


CIDRS = "self.cidrBlock.split(',')"
SOUND = f"{CIDRS}.all(c, isCIDR(c))"
"""What every other rule about the CIDRs needs to be evaluated at all."""


class SubnetSpec(_Model):
    """A Logical_Switch of the same name, with a port on its VPC's router."""

    cidr_block: Pair = Field(description="its network, or one of each family with a comma between")
    vpc: Name = Field(DEFAULT_VPC, description="the Vpc; cannot be changed")
    default: bool = Field(False, description=f"the cluster's default Subnet; there is one, {DEFAULT_SUBNET}")
    protocol: Literal["IPv4", "IPv6", "Dual", ""] = Field("", description="what cidrBlock says anyway")
    gateway: Pair = Field("", description="the router's address in each network; default: the first")
    exclude_ips: Annotated[list[Annotated[str, Field(max_length=93)]], Field(max_length=256)] = Field(
        [], description="addresses, or ranges FIRST..LAST, that no Pod gets"
    )
    namespaces: Names = Field([], description="namespaces whose Pods are here when they name no Subnet")
    namespace_selectors: Annotated[list[LabelSelector], Field(max_length=64)] = Field(
        [], description="the same by labels of namespaces"
    )
    nat_outgoing: bool = Field(
        False, description="default Vpc: the node's address stands for a Pod's that leaves the cluster"
    )
    mtu: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="of Pods' interfaces; 0: what the tunnels leave")
    provider: Literal["", "ovn"] = Field("ovn", description="OVN is the only one")
    gateway_type: Literal["", "distributed"] = Field("distributed", description="every node for its own Pods")
    gateway_node: Name = Field("", description="of centralized gateways: means nothing here")
    disable_gateway_check: bool = Field(False, description="OVN says when a Pod's port works: nothing is pinged")
    enable_lb: bool = Field(True, description="Services of its VPC are reached from here")
    private: bool = Field(False, description=LATER)
    allow_subnets: Annotated[list[Network], Field(max_length=1024)] = Field([], description=LATER)
    acls: Annotated[list[dict[str, Any]], Field(max_length=1024)] = Field([], description=LATER)
    vlan: Name = Field("", description=LATER)
    enable_dhcp: bool = Field(False, alias="enableDHCP", description=LATER)
    enable_ipv6_ra: bool = Field(False, alias="enableIPv6RA", description=LATER)
    logical_gateway: bool = Field(False, description=LATER)
    external_egress_gateway: Name = Field("", description=LATER)
    enable_ecmp: bool = Field(False, description=LATER)
    u2o_interconnection: bool = Field(False, alias="u2oInterconnection", description=LATER)
    u2o_interconnection_ip: Pair = Field("", alias="u2oInterconnectionIP", description=LATER)
    allow_ew_traffic: bool = Field(False, alias="allowEWTraffic", description=LATER)
    dhcp_v4_options: Text = Field("", alias="dhcpV4Options", description=LATER)
    dhcp_v6_options: Text = Field("", alias="dhcpV6Options", description=LATER)
    ipv6_ra_configs: Text = Field("", alias="ipv6RAConfigs", description=LATER)
    disable_inter_connection: bool = Field(False, description=LATER)
    gateway_node_selectors: Annotated[list[LabelSelector], Field(max_length=64)] = Field([], description=LATER)
    nat_outgoing_policy_rules: Annotated[list[dict[str, Any]], Field(max_length=256)] = Field([], description=LATER)
    vips: Annotated[list[Address], Field(max_length=1024)] = Field([], description=LATER)
    policy_routing_priority: int = Field(0, description=LATER)
    policy_routing_table_id: int = Field(0, alias="policyRoutingTableID", description=LATER)
    enable_multicast_snoop: bool = Field(False, description=LATER)
    enable_external_lb_address: bool = Field(False, alias="enableExternalLBAddress", description=LATER)
    route_table: Name = Field("", description=LATER)
    node_network: Name = Field("", description=LATER)

    model_config = ConfigDict(
        json_schema_extra=_refusing(
            Rule(SOUND, "cidrBlock is not a network, nor two with a comma between"),
            Rule(f"!({SOUND}) || {CIDRS}.all(c, cidr(c) == cidr(c).masked())", "cidrBlock has host bits"),
            Rule(
                f"!({SOUND}) || {CIDRS}.size() == ({_families('self.cidrBlock')})",
                "cidrBlock has more than one network of a family",
            ),
            Rule(
                f"!({SOUND}) || !has(self.protocol) || self.protocol == '' || self.protocol == "
                f"({CIDRS}.size() > 1 ? 'Dual' : cidr({CIDRS}[0]).ip().family() == 4 ? 'IPv4' : 'IPv6')",
                "protocol is not what cidrBlock says: leave it out",
            ),
            Rule(
                "!has(self.gateway) || self.gateway == '' || self.gateway.split(',').all(g, isIP(g))",
                "gateway is not an address, nor two with a comma between",
            ),
            Rule(
                f"!({SOUND}) || !has(self.gateway) || self.gateway == '' || !self.gateway.split(',').all(g, isIP(g)) "
                f"|| (self.gateway.split(',').size() == {CIDRS}.size() && "
                f"{CIDRS}.all(c, self.gateway.split(',').exists(g, cidr(c).containsIP(g))))",
                "gateway is outside of cidrBlock, or not one for each network",
            ),
            Rule(
                "!has(self.excludeIps) || self.excludeIps.all(e, e.split('..').size() <= 2 "
                "&& e.split('..').all(i, isIP(i)))",
                "excludeIps holds something that is neither an address nor FIRST..LAST",
            ),
            Rule("self.vpc == oldSelf.vpc", "vpc cannot be changed: make another Subnet"),
        )
    )


class SubnetStatus(_Model):
    """Counts are JSON numbers, as Kube-OVN's clients read them."""

    conditions: Conditions = []
    v4_available_ips: float = Field(0, alias="v4availableIPs")
    v4_using_ips: float = Field(0, alias="v4usingIPs")
    v6_available_ips: float = Field(0, alias="v6availableIPs")
    v6_using_ips: float = Field(0, alias="v6usingIPs")
    activate_gateway: Name = ""


# IP


class IpSpec(_Model):
    """An address that a Pod has: written by us for people to read, and read back where databases were lost."""

    pod_name: Name
    namespace: Name = ""
    subnet: Name
    attach_subnets: Names | None = []
    node_name: Name = ""
    ip_address: Pair = Field("", description="both families, with a comma between")
    v4_ip_address: Address = ""
    v6_ip_address: Address = ""
    attach_ips: Names | None = []
    mac_address: Annotated[str, Field(max_length=17)] = ""
    attach_macs: Names | None = []
    container_id: Name = Field("", alias="containerID")
    pod_type: Name = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. columns: (name, type, JSONPath) of what `kubectl get` shows."""

    name: str
    plural: str
    short: str
    spec: type[BaseModel]
    status: type[BaseModel] | None
    columns: tuple[tuple[str, str, str], ...]


READY = ".status.conditions[?(@.type=='Ready')].status"
KINDS = (
    Kind(
        "Vpc", "vpcs", "vpc", VpcSpec, VpcStatus,
        (("Standby", "boolean", ".status.standby"), ("Subnets", "string", ".status.subnets"),
         ("Namespaces", "string", ".spec.namespaces"), ("DefaultSubnet", "string", ".spec.defaultSubnet")),
    ),
    Kind(
        "Subnet", "subnets", "subnet", SubnetSpec, SubnetStatus,
        (("Vpc", "string", ".spec.vpc"), ("CIDR", "string", ".spec.cidrBlock"), ("NAT", "boolean", ".spec.natOutgoing"),
         ("Ready", "string", READY),
         ("V4Used", "number", ".status.v4usingIPs"), ("V4Available", "number", ".status.v4availableIPs"),
         ("V6Used", "number", ".status.v6usingIPs"), ("V6Available", "number", ".status.v6availableIPs")),
    ),
    Kind(
        "IP", "ips", "ip", IpSpec, None,
        (("V4IP", "string", ".spec.v4IpAddress"), ("V6IP", "string", ".spec.v6IpAddress"),
         ("Mac", "string", ".spec.macAddress"), ("Node", "string", ".spec.nodeName"),
         ("Subnet", "string", ".spec.subnet")),
    ),
)  # fmt: skip
