"""Whether a cluster's Pods have what they must, and nothing is left of others: by the API, OVN, OVS and the kernel."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from isthmus.lab import rpc
from isthmus.lab.lab import Lab
from isthmus.model.networks import NODES_SUBNET

from .kubernetes_steps import kubectl

Object = dict[str, Any]
LINK = re.compile(r"^\d+: (i[0-9a-f]{12})[@:]", re.MULTILINE)
"""The node's end of a Pod's interface, as `ip -o link` has it."""


def nothing_left_over(lab: Lab, site: str = "cluster", within: float = 30.0) -> None:
    """Pods in the API are ports in NB and SB, interfaces in OVS and links on the node that they should be on.

    Fails with all that differs when it still does after `within` seconds.
    """
    deadline = time.monotonic() + within
    while found := sorted(left_over(lab, site)):
        assert time.monotonic() < deadline, f"after {within} s:\n" + "\n".join(found)
        time.sleep(0.1)


def left_over(lab: Lab, site: str = "cluster") -> Iterator[str]:
    """All that differs, a line each."""
    pods = {f"{p['metadata']['name']}.{p['metadata']['namespace']}": p for p in _pods(lab)}
    north = rpc.snapshot(lab.site(site).nb_unix, "OVN_Northbound")
    ports = {r["name"]: r for r in _of_pods(north["Logical_Switch_Port"].values())}
    yield from _both("NB", ports, pods)
    for name in ports.keys() & pods.keys():
        yield from _port(name, ports[name], pods[name])
    yield from _twice("port", (str(r["name"]) for r in _of_pods(north["Logical_Switch_Port"].values())))
    yield from _addresses(north, list(ports.values()))
    yield from _bindings(lab, site, pods)
    for host in lab.site(site).hosts:
        yield from _on_host(lab, host.name, {n for n, p in pods.items() if p["spec"]["nodeName"] == host.name})


def _pods(lab: Lab) -> list[Object]:
    """Those that have a node and a network of their own."""
    found = json.loads(kubectl(lab, "get", "pods", "--all-namespaces", "-o", "json"))["items"]
    return [p for p in found if "nodeName" in p["spec"] and not p["spec"].get("hostNetwork")]


def _of_pods(rows: Iterable[Object]) -> list[Object]:
    """Their ports; not those of nodes, which have a Subnet of their own."""
    marks = ((row, rpc.mapping(row["external_ids"])) for row in rows)
    return [row for row, ids in marks if "isthmus:pod-uid" in ids and ids["isthmus:subnet"] != NODES_SUBNET]


def _both(where: str, found: Iterable[str], wanted: Iterable[str]) -> Iterator[str]:
    yield from (f"{where}: {name} is too much" for name in set(found) - set(wanted))
    yield from (f"{where}: {name} is missing" for name in set(wanted) - set(found))


def _twice(what: str, found: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} {each}: {count} times" for each, count in Counter(found).items() if count > 1)


def _port(name: str, port: Object, pod: Object) -> Iterator[str]:
    """A port is this very Pod's, for its node, with the addresses that kubelet tells."""
    given = str(port["addresses"]).split()[1:]
    told = [each["ip"] for each in pod["status"].get("podIPs", [])]
    pairs = {
        "uid": (rpc.mapping(port["external_ids"])["isthmus:pod-uid"], pod["metadata"]["uid"]),
        "node": (rpc.mapping(port["options"])["requested-chassis"], pod["spec"]["nodeName"]),
        "addresses": (given, told),
    }
    yield from (
        f"{name}: {what}: {one} in NB, {other} in the API" for what, (one, other) in pairs.items() if one != other
    )


def _addresses(north: dict[str, rpc.Rows], ports: list[Object]) -> Iterator[str]:
    """No address or MAC twice in a VPC, no address twice on a node."""
    vpc = {r["name"].partition("/")[2]: r["name"].partition("/")[0] for r in north["Logical_Router_Port"].values()}
    for port in ports:
        port["words"] = str(port["addresses"]).split()
        port["vpc"] = vpc.get(rpc.mapping(port["external_ids"])["isthmus:subnet"], "")
        port["node"] = rpc.mapping(port["options"])["requested-chassis"]
    yield from _twice("VPC and address", (f"{p['vpc']} {word}" for p in ports for word in p["words"]))
    yield from _twice("node and address", (f"{p['node']} {word}" for p in ports for word in p["words"][1:]))


def _bindings(lab: Lab, site: str, pods: dict[str, Object]) -> Iterator[str]:
    """SB has the same ports, each on its Pod's node."""
    south = rpc.snapshot(lab.site(site).sb_unix, "OVN_Southbound")
    chassis = {uuid: row["name"] for uuid, row in south["Chassis"].items()}
    found = {r["logical_port"]: r for r in _of_pods(south["Port_Binding"].values())}
    yield from _both("SB", found, pods)
    for name in found.keys() & pods.keys():
        bound = found[name]["chassis"]
        where = chassis.get(bound[1]) if isinstance(bound, list) and bound[0] == "uuid" else None
        if where != pods[name]["spec"]["nodeName"] or found[name]["up"] is not True:
            yield f"SB: {name} is on {where}, up: {found[name]['up']}"


def _on_host(lab: Lab, host: str, wanted: set[str]) -> Iterator[str]:
    """An interface in OVS, which OVN has made work, and a link for each Pod."""
    tables = rpc.snapshot(lab.host(host).ovs_unix, "Open_vSwitch")
    rows = {r["name"]: rpc.mapping(r["external_ids"]) for r in tables["Interface"].values()}
    ours = {name: ids for name, ids in rows.items() if "isthmus:container" in ids}
    yield from _both(f"OVS on {host}", [ids["iface-id"] for ids in ours.values()], wanted)
    yield from _twice(f"OVS on {host}:", (ids["iface-id"] for ids in ours.values()))
    for ids in ours.values():
        if ids.get("ovn-installed") != "true":
            yield f"OVS on {host}: {ids['iface-id']} does not work"
    links = LINK.findall(lab.exec(host, ["ip", "-o", "link"]).stdout)
    yield from _both(f"links of {host}", links, ours)
