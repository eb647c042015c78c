"""What we read of Kubernetes' objects: only these fields are decoded, of a Pod a tenth.

Shapes are those of the Kubernetes API reference, v1.34, and of `kubeovn.io/v1`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from lightkube.core.resource import (
    ApiInfo,
    GlobalResource,
    GlobalSubResource,
    NamespacedResourceG,
    NamespacedSubResource,
    ResourceDef,
)

API_VERSION = "kubeovn.io/v1"
VERBS = ["get", "list", "watch", "global_list", "global_watch", "patch", "post", "delete"]


def _info(group: str, version: str, kind: str, plural: str) -> ApiInfo:
    return ApiInfo(ResourceDef(group, version, kind), plural, VERBS)


class Struct(msgspec.Struct, omit_defaults=True, frozen=True, rename="camel"):
    """A field that is missing has its default; one that is not named here is not read."""


class Reference(Struct, frozen=True):
    kind: str = ""
    name: str = ""
    controller: bool = False


class Metadata(Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[Reference] = []

    @property
    def resourceVersion(self) -> str:  # what lightkube asks for
        return self.resource_version


class PodIp(Struct, frozen=True):
    ip: str = ""


class PodSpec(Struct, frozen=True):
    node_name: str = ""
    host_network: bool = False


class PodStatus(Struct, frozen=True):
    phase: str = ""
    pod_ips: list[PodIp] = msgspec.field(default_factory=list, name="podIPs")


class Pod(NamespacedResourceG, Struct, frozen=True):
    _api_info = _info("", "v1", "Pod", "pods")
    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(GlobalResource, Struct, frozen=True):
    _api_info = _info("", "v1", "Namespace", "namespaces")
    metadata: Metadata


class Node(GlobalResource, Struct, frozen=True):
    _api_info = _info("", "v1", "Node", "nodes")
    metadata: Metadata


class Port(Struct, frozen=True):
    name: str = ""
    port: int = 0


class ServiceSpec(Struct, frozen=True):
    cluster_ips: list[str] = msgspec.field(default_factory=list, name="clusterIPs")
    ports: list[Port] = []


class Service(NamespacedResourceG, Struct, frozen=True):
    _api_info = _info("", "v1", "Service", "services")
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()


class EndpointConditions(Struct, frozen=True):
    ready: bool = True


class Endpoint(Struct, frozen=True):
    addresses: list[str] = []
    conditions: EndpointConditions = EndpointConditions()


class EndpointSlice(NamespacedResourceG, Struct, frozen=True):
    _api_info = _info("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
    metadata: Metadata
    endpoints: list[Endpoint] = []
    ports: list[Port] = []


class Ordinals(Struct, frozen=True):
    start: int = 0


class StatefulSetSpec(Struct, frozen=True):
    replicas: int = 1
    ordinals: Ordinals = Ordinals()


class StatefulSet(NamespacedResourceG, Struct, frozen=True):
    _api_info = _info("apps", "v1", "StatefulSet", "statefulsets")
    metadata: Metadata
    spec: StatefulSetSpec = StatefulSetSpec()


class StaticRoute(Struct, frozen=True):
    cidr: str = ""
    next_hop_ip: str = msgspec.field(default="", name="nextHopIP")
    policy: str = "policyDst"


class VpcSpec(Struct, frozen=True):
    namespaces: list[str] = []
    default_subnet: str | None = None
    static_routes: list[StaticRoute] = []


class Vpc(GlobalResource, Struct, frozen=True):
    _api_info = _info("kubeovn.io", "v1", "Vpc", "vpcs")
    metadata: Metadata
    apiVersion: str = ""
    kind: str = ""
    spec: VpcSpec = VpcSpec()
    status: dict[str, Any] = {}


class VpcObject(GlobalResource, Struct, frozen=True):
    """A `Vpc` with all that its spec says: of elements that are not ours nothing must be lost."""

    _api_info = _info("kubeovn.io", "v1", "Vpc", "vpcs")
    metadata: Metadata
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class Container(Struct, frozen=True):
    command: list[str] = []
    args: list[str] = []


class PodTemplateSpec(Struct, frozen=True):
    containers: list[Container] = []


class PodTemplate(Struct, frozen=True):
    spec: PodTemplateSpec = PodTemplateSpec()


class DeploymentSpec(Struct, frozen=True):
    template: PodTemplate = PodTemplate()


class Deployment(NamespacedResourceG, Struct, frozen=True):
    _api_info = _info("apps", "v1", "Deployment", "deployments")
    metadata: Metadata
    spec: DeploymentSpec = DeploymentSpec()


class Requirement(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    values: list[str] = []


class Selector(Struct, frozen=True):
    match_labels: dict[str, str] = {}
    match_expressions: list[Requirement] = []


class SubnetSpec(Struct, frozen=True):
    cidr_block: str = ""
    vpc: str = ""
    gateway: str = ""
    exclude_ips: list[str] = []
    namespaces: list[str] = []
    namespace_selectors: list[Selector] = []
    mtu: int = 0
    default: bool = False
    nat_outgoing: bool = False


class Subnet(GlobalResource, Struct, frozen=True):
    _api_info = _info("kubeovn.io", "v1", "Subnet", "subnets")
    metadata: Metadata
    apiVersion: str = ""
    kind: str = ""
    spec: SubnetSpec = SubnetSpec()
    status: dict[str, Any] = {}


class IpSpec(Struct, frozen=True):
    pod_name: str = ""
    namespace: str = ""
    subnet: str = ""
    attach_subnets: list[str] | None = []
    node_name: str = ""
    ip_address: str = ""
    v4_ip_address: str = ""
    v6_ip_address: str = ""
    attach_ips: list[str] | None = []
    mac_address: str = ""
    attach_macs: list[str] | None = []
    container_id: str = msgspec.field(default="", name="containerID")
    pod_type: str = ""


class Ip(GlobalResource, Struct, frozen=True):
    _api_info = _info("kubeovn.io", "v1", "IP", "ips")
    metadata: Metadata
    apiVersion: str = ""
    kind: str = ""
    spec: IpSpec = IpSpec()


class Involved(Struct, frozen=True):
    """What an Event is about."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    apiVersion: str = ""


class Source(Struct, frozen=True):
    component: str


class Event(NamespacedResourceG, Struct, frozen=True):
    _api_info = _info("", "v1", "Event", "events")
    metadata: Metadata
    apiVersion: str
    kind: str
    involved_object: Involved
    reason: str
    message: str
    type: str
    source: Source
    first_timestamp: str
    last_timestamp: str
    count: int = 1


def _status(group: str, version: str, kind: str, plural: str, base: type) -> Any:
    """What is patched where the status alone is meant."""
    resource = ResourceDef(group, version, kind)
    info = ApiInfo(resource, plural, ["patch"], parent=resource, action="status")
    return type(f"{kind}Status", (base, dict), {"_api_info": info})


VPC_STATUS = _status("kubeovn.io", "v1", "Vpc", "vpcs", GlobalSubResource)
SUBNET_STATUS = _status("kubeovn.io", "v1", "Subnet", "subnets", GlobalSubResource)
POD_STATUS = _status("", "v1", "Pod", "pods", NamespacedSubResource)
"""Takes metadata as well, and leaves the spec alone."""
