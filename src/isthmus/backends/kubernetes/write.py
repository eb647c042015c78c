"""What a Pod was given as Kubernetes' objects: an `IP`, and annotations of the Pod. For people to read, and for us.

Names and forms are those of Kube-OVN, 1.17.
"""

from __future__ import annotations

from isthmus.backends.kubernetes import resources as res
from isthmus.backends.kubernetes.read import ADDRESS, ALLOCATED, MAC, OWNER, STATEFUL, SUBNET, UID
from isthmus.compile.estate import Held
from isthmus.compile.networks import port_name
from isthmus.model.networks import Subnet

ROUTED, CIDR, GATEWAY, ROUTER, INTERFACE = (
    f"ovn.kubernetes.io/{what}" for what in ("routed", "cidr", "gateway", "logical_router", "pod_nic_type")
)
GIVEN = (ALLOCATED, ROUTED, ADDRESS, MAC, CIDR, GATEWAY, SUBNET, ROUTER, INTERFACE)
"""All annotations of a Pod that has its port."""


def ip(held: Held, owner: str) -> res.Ip:
    """The `IP` of a Pod, called as its port."""
    pod, by_version = held.pod, {a.version: str(a) for a in held.addresses}
    spec = res.IpSpec(
        pod_name=pod.name,
        namespace=pod.namespace,
        subnet=held.subnet,
        node_name=pod.node,
        ip_address=",".join(map(str, held.addresses)),
        v4_ip_address=by_version.get(4, ""),
        v6_ip_address=by_version.get(6, ""),
        mac_address=held.mac,
        pod_type=STATEFUL if pod.slot else "",
    )
    metadata = res.Metadata(name=port_name(pod.namespace, pod.name), annotations={OWNER: owner, UID: pod.uid})
    return res.Ip(metadata, res.API_VERSION, "IP", spec)


def told(held: Held, subnet: Subnet) -> dict[str, str]:
    """`GIVEN`, of a Pod that is in a Subnet."""
    return {
        ALLOCATED: "true",
        ROUTED: "true",
        ADDRESS: ",".join(map(str, held.addresses)),
        MAC: held.mac,
        CIDR: ",".join(map(str, subnet.prefixes)),
        GATEWAY: ",".join(str(gateway.ip) for gateway in subnet.gateways),
        SUBNET: subnet.name,
        ROUTER: subnet.vpc,
        INTERFACE: "veth-pair",
    }
