"""Objects of kubeovn.io/v1 that an API server takes or refuses."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def subnet(**spec: Any) -> Object:
    return {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "spec": {"cidrBlock": "10.1.0.0/24"} | spec}


def vpc(**spec: Any) -> Object:
    return {"apiVersion": "kubeovn.io/v1", "kind": "Vpc", "spec": spec}


ROUTE = {"cidr": "0.0.0.0/0", "nextHopIP": "10.1.0.254"}

TAKEN: dict[str, Object] = {
    # As people write them for Kube-OVN, with what means nothing here left in.
    "a Subnet as in its manual": subnet(
        protocol="IPv4", excludeIps=["10.1.0.1", "10.1.0.10..10.1.0.20"], gateway="10.1.0.1",
        gatewayType="distributed", natOutgoing=True, namespaces=["ns1"], vpc="test-vpc-1", default=False,
        provider="ovn", private=False, gatewayNode="", disableGatewayCheck=True, enableLb=True,
    ),
    "two families": subnet(cidrBlock="10.1.0.0/24,fd00:1::/64", protocol="Dual", gateway="10.1.0.1,fd00:1::1"),
    "two families, gateways in the other order": subnet(
        cidrBlock="10.1.0.0/24,fd00:1::/64", gateway="fd00:1::1,10.1.0.1"
    ),
    "one family of six": subnet(cidrBlock="fd00:1::/64", protocol="IPv6"),
    "namespaces by their labels": subnet(namespaceSelectors=[{"matchLabels": {"team": "a"}}]),
    "a Vpc as in its manual": vpc(
        namespaces=["ns1"], staticRoutes=[ROUTE | {"policy": "policyDst"}, ROUTE | {"cidr": "172.31.0.0/16"}]
    ),
    "an empty Vpc": vpc(),
    "a Vpc that says what it is without": vpc(enableBfd=False, bfdPort={"enabled": False}, policyRoutes=[]),
    "a Subnet that says what it is without": subnet(
        allowEWTraffic=False, vips=[], dhcpV4Options="", disableInterConnection=False, gatewayNodeSelectors=[],
        policyRoutingPriority=0, enableMulticastSnoop=False, nodeNetwork="",
    ),
    "a route to one address": vpc(staticRoutes=[{"cidr": "fd00::5", "nextHopIP": "fd00:1::1"}]),
}  # fmt: skip

REFUSED: dict[str, tuple[Object, str]] = {
    "no network": (subnet(cidrBlock="10.1.0.0"), "cidrBlock is not a network"),
    "host bits": (subnet(cidrBlock="10.1.0.5/24"), "cidrBlock has host bits"),
    "two networks of a family": (subnet(cidrBlock="10.1.0.0/24,10.2.0.0/24"), "more than one network of a family"),
    "a protocol that is not the network's": (subnet(protocol="IPv6"), "protocol is not what cidrBlock says"),
    "Mac": (subnet(protocol="Mac"), "Unsupported value"),
    "a gateway elsewhere": (subnet(gateway="10.2.0.1"), "gateway is outside of cidrBlock"),
    "a gateway of the other family": (subnet(gateway="fd00::1"), "gateway is outside of cidrBlock"),
    "one gateway for two networks": (
        subnet(cidrBlock="10.1.0.0/24,fd00:1::/64", gateway="10.1.0.1"), "not one for each network"
    ),
    "a gateway that is a word": (subnet(gateway="first"), "gateway is not an address"),
    "a range with one end": (subnet(excludeIps=["10.1.0.1..x"]), "excludeIps holds something"),
    "a centralized gateway": (subnet(gatewayType="centralized"), "Unsupported value"),
    "another provider": (subnet(provider="net1.ns.ovn"), "Unsupported value"),
    "access control lists": (subnet(acls=[{"match": "ip4"}]), "acls is not honoured yet"),
    "a private Subnet": (subnet(private=True), "private is not honoured yet"),
    "a VLAN": (subnet(vlan="v"), "vlan is not honoured yet"),
    "DHCP": (subnet(enableDHCP=True), "enableDHCP is not honoured yet"),
    "DHCP options": (subnet(dhcpV4Options="lease_time=3600"), "dhcpV4Options is not honoured yet"),
    "router advertisements": (subnet(ipv6RAConfigs="address_mode=slaac"), "ipv6RAConfigs is not honoured yet"),
    "rules of translation": (
        subnet(natOutgoingPolicyRules=[{"action": "nat"}]), "natOutgoingPolicyRules is not honoured yet"
    ),
    "a table of its own": (subnet(policyRoutingTableID=7), "policyRoutingTableID is not honoured yet"),
    "a port for BFD": (vpc(bfdPort={"enabled": True}), "bfdPort is not honoured yet"),
    "policy routes": (vpc(policyRoutes=[{"match": "ip4"}]), "policyRoutes is not honoured yet"),
    "peerings": (vpc(vpcPeerings=[{"remoteVpc": "x"}]), "vpcPeerings is not honoured yet"),
    "a route of two families": (
        vpc(staticRoutes=[ROUTE | {"nextHopIP": "fd00::1"}]), "the network and its next hop are of two families"
    ),
    "a route to nowhere": (vpc(staticRoutes=[ROUTE | {"cidr": "x"}]), "neither a network nor an address"),
    "a field that nobody knows": (subnet(cidrBlok="10.1.0.0/24"), "unknown field"),
}  # fmt: skip
