"""Neutron ports of endpoints: what Nova does for a server, for a network namespace.

A member makes the port on her network; the administrator, as Nova would, says which host it is on; the host's Open
vSwitch learns which port its link is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from isthmus.errors import Problem, WorldError
from isthmus.lab import rpc
from isthmus.lab.http import Json
from isthmus.lab.layout import Machine, Paths
from isthmus.lab.openstack import keystone
from isthmus.lab.openstack.api import Api
from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.spec import Network

OWNER = "compute:nova"
"""device_owner of an endpoint's port: to Neutron it is a server."""


def body(machine: Machine, network: str, subnets: Mapping[Network, str], groups: Mapping[str, str]) -> Json:
    """What to ask Neutron for; ids of the network, of its subnets, and of the project's security groups."""
    found: Json = {
        "name": machine.name,
        "network_id": network,
        "mac_address": machine.mac,
        "fixed_ips": [{"subnet_id": subnets[a.network], "ip_address": str(a.ip)} for a in machine.addresses],
    }
    if not machine.port_security:
        return found | {"port_security_enabled": False, "security_groups": []}
    if machine.security_groups is None:
        return found
    return found | {"security_groups": [groups[name] for name in machine.security_groups]}


def bound(machine: Machine) -> Json:
    """Where the port is."""
    return {"device_owner": OWNER, "device_id": machine.name, "binding:host_id": machine.host}


def make(cloud: Cloud, machine: Machine) -> str:
    """A port for an endpoint on a network that is there, as the tenant's member. Returns its id; raises WorldError."""
    admin = keystone.client(cloud)
    member = keystone.client(cloud, machine.tenant) if machine.tenant else admin
    network = _one(member, "networks", name=machine.switch)["id"]
    there = member.get("network", "/v2.0/subnets", network_id=network)["subnets"]
    subnets = {ip_network(s["cidr"]): s["id"] for s in there}
    names = machine.security_groups or ()
    groups = {name: _one(member, "security-groups", name=name, project_id=member.project_id)["id"] for name in names}
    wanted = {"port": body(machine, network, subnets, groups)}
    port = str(member.post("network", "/v2.0/ports", wanted)["port"]["id"])
    admin.put("network", f"/v2.0/ports/{port}", {"port": bound(machine)})
    return port


def find(cloud: Cloud, name: str) -> tuple[str, str]:
    """Id and MAC address of the port of that name. Raises WorldError unless there is exactly one."""
    port = _one(keystone.client(cloud), "ports", name=name)
    return port["id"], port["mac_address"]


def remove(cloud: Cloud, port: str) -> None:
    keystone.client(cloud).delete("network", f"/v2.0/ports/{port}")


def unsettled(admin: Api, northbound: Path, mine: set[str]) -> set[str]:
    """Those of these ports that Neutron does not call active, or whose rows have not the revision that it has."""
    asked = "/v2.0/ports?fields=id&fields=status&fields=revision_number"
    found = {p["id"]: p for p in admin.get("network", asked)["ports"] if p["id"] in mine}
    columns = {"op": "select", "table": "Logical_Switch_Port", "where": [], "columns": ["name", "external_ids"]}
    (answer,) = rpc.transact(northbound, "OVN_Northbound", columns)
    written = {r["name"]: rpc.mapping(r["external_ids"]).get("neutron:revision_number") for r in answer["rows"]}
    return {
        i for i, port in found.items() if port["status"] != "ACTIVE" or written.get(i) != str(port["revision_number"])
    }


def _one(api: Api, what: str, **query: str) -> Any:
    found = api.get("network", f"/v2.0/{what}", **query)[what.replace("-", "_")]
    if len(found) != 1:
        said = ", ".join(f"{key} {value}" for key, value in query.items())
        raise WorldError(Problem("NotOne", f"{api.user} sees {len(found)} {what} with {said}", remedy="name another"))
    return found[0]


def plug_in(paths: Paths, machines: list[Machine], ports: dict[str, str]) -> None:
    """Tell each host's Open vSwitch whose port the endpoints' links are: what Nova does there."""
    on: dict[str, list[Machine]] = defaultdict(list)
    for machine in machines:
        if machine.name in ports:
            on[machine.host].append(machine)
    for host, some in on.items():
        operations: list[Any] = [
            {
                "op": "mutate",
                "table": "Interface",
                "where": [["name", "==", m.link]],
                "mutations": [["external_ids", "insert", rpc.ovsdb_map({"iface-id": ports[m.name]})]],
            }
            for m in some
        ]
        rpc.transact(paths.run(host) / "openvswitch" / "db.sock", "Open_vSwitch", *operations)
