"""A small cluster whose networks the real compiler made: rows, and what its objects want, without a server.

Tenants `red` and `blue` have one and the same addresses, `web` and `db` each; red's Vpc has static routes.
Beside them the default Vpc with one Pod, and two nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from compiled import add
from isthmus.compile.estate import Estate
from isthmus.compile.networks import of_pod, of_subnet, of_vpc
from isthmus.controller.estates import Crowd, Objects, networks
from isthmus.model.intent import Configuration
from isthmus.model.networks import (
    DEFAULT_SUBNET,
    DEFAULT_VPC,
    NODES_SUBNET,
    Api,
    Namespace,
    Pod,
    Route,
    Subnet,
    Vpc,
    of_node,
)
from isthmus.model.rows import Snapshot
from isthmus.verify.compare import Difference, differences
from isthmus.verify.expect import expect
from isthmus.verify.fault import Fault
from isthmus.verify.faults import faults
from isthmus.verify.reach import World
from worlds import Rows

SITE, OWNER = "cluster", "networks.cluster"
TENANTS = ("red", "blue")
NODES = ("n1", "n2")
ROUTES = (
    Route(ip_network("192.0.2.0/24"), ip_address("10.1.0.2"), "dst"),
    Route(ip_network("192.0.2.128/25"), ip_address("10.1.0.250"), "dst"),
    Route(ip_network("10.2.0.0/24"), ip_address("10.1.0.251"), "src"),
    Route(ip_network("2001:db8:5::/48"), ip_address("fd00:1::99"), "dst"),
)
ROUTE_OF_DEFAULT = (Route(ip_network("198.18.0.0/15"), ip_address("10.16.0.9"), "dst"),)
API = Api((ip_address("10.96.0.1"), ip_address("fd00:10:96::1")), 443, ((ip_address("198.51.100.9"), 6443),))


@dataclass(frozen=True)
class Cluster:
    """Rows, and the objects that they were made for: Pods as they are once they run."""

    rows: dict[str, dict[str, dict[str, Any]]]
    objects: Objects
    crowd: Crowd

    def judged(self, rows: Snapshot) -> tuple[Difference | Fault, ...]:
        """What `isthmus verify` says of other rows."""
        wanted = networks(SITE, rows, self.objects, self.crowd, self.crowd)
        expectation = expect(Configuration(), {}, {}, [wanted])
        world = World({SITE: rows})
        return differences(world, expectation) + faults(world, wanted)


def cluster() -> Cluster:
    vpcs = {name: Vpc(name, frozenset({name}), "", ROUTES if name == "red" else ()) for name in TENANTS}
    vpcs[DEFAULT_VPC] = Vpc(DEFAULT_VPC, routes=ROUTE_OF_DEFAULT)
    subnets = {s.name: s for name in TENANTS for s in _subnets(name)}
    subnets[DEFAULT_SUBNET] = Subnet(DEFAULT_SUBNET, DEFAULT_VPC, (ip_interface("10.16.0.1/16"),))
    subnets[NODES_SUBNET] = Subnet(NODES_SUBNET, DEFAULT_VPC, (ip_interface("100.64.0.1/16"),))
    objects = Objects(vpcs, subnets, {name: Namespace(name, {}) for name in (*TENANTS, "default")}, API)
    estate = Estate(SITE, OWNER)
    estate.set_networks(vpcs, subnets)
    estate.set_namespaces(objects.namespaces)
    estate.set_api(API)
    pods = {f"{p.namespace}/{p.name}": p for name in TENANTS for p in _pods(name)}
    pods["default/plain"] = Pod("default", "plain", "plain", "n1")
    wanted = {**pods, **{f"/{node}": of_node(node, node) for node in NODES}}
    for name, pod in wanted.items():
        estate.set_pod(name, pod)
    groups = [*map(of_vpc, vpcs), *map(of_subnet, subnets), *(of_pod(p.namespace, p.name) for p in wanted.values())]
    rows = Rows(SITE)
    rows.switch("nobodys")
    add(rows, (row for group in groups for row in estate.rows(group)), OWNER)
    told = {f"{h.pod.namespace}/{h.pod.name}": h.addresses for h in estate.holdings()}
    assert told.keys() == wanted.keys()
    shown = {name: _shown(pod, told[name]) for name, pod in pods.items()}
    return Cluster(rows.tables, objects, Crowd(shown, frozenset(NODES)))


def _subnets(tenant: str) -> list[Subnet]:
    four, six, db = "10.1.0.1/24", "fd00:1::1/64", "10.2.0.1/24"
    own = frozenset({tenant})
    return [
        Subnet(f"{tenant}-web", tenant, (ip_interface(four), ip_interface(six)), namespaces=own),
        Subnet(f"{tenant}-db", tenant, (ip_interface(db),), namespaces=own),
    ]


def _pods(tenant: str) -> list[Pod]:
    return [
        Pod(tenant, f"{what}-{node}", f"{tenant}-{what}-{node}", node, subnet=f"{tenant}-{what}")
        for what in ("web", "db")
        for node in NODES
    ]


def _shown(pod: Pod, told: Any) -> Pod:
    return Pod(pod.namespace, pod.name, pod.uid, pod.node, pod.subnet, told=told)
