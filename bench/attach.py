"""A Pod's interface, by the plugin and by forked tools in turn; the agent is warm and OVN has the ports already."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import inlab
from bench.pods import kubectl, pods_ports, until_ports
from bench.report import Aim, Row, compared, progress, single
from isthmus.lab import rpc
from isthmus.lab.kubernetes.node import PLUGINS
from isthmus.lab.lab import Lab
from isthmus.lab.layout import AGENT_PORT

FILE = Path(__file__).with_name("pods.yaml")
NODE = "n1"


def attach(samples: int) -> Iterator[Row]:
    with inlab.lab(FILE, name="attach", tenants=0) as lab:
        pods = _ports(lab, 2 * samples)
        metrics = f"https://{lab.host(NODE).address}:{AGENT_PORT}/metrics"
        task = json.dumps({"plugin": f"{PLUGINS}/isthmus", "metrics": metrics, "pods": pods})
        done = lab.exec(NODE, [sys.executable, str(FILE.with_name("attacher.py")), task], timeout=600)
        if done.returncode:
            raise RuntimeError(done.stderr)
        taken = json.loads(done.stdout)
    ours, forked = taken["ours"], taken["forked"]
    progress(f"  attach: {len(ours)} of {len(pods)} by the plugin")
    command = "CNI ADD"
    peer = "the same steps by forked tools"
    yield compared("cni-add", "ms", ours, forked, command=command, peer=peer, aim=Aim("<=", 50.0))
    worst = sorted(ours)[int(0.99 * (len(ours) - 1))]
    yield single("cni-add-p99", "ms", [worst], command=command, aim=Aim("<=", 150.0), note=f"of {len(ours)}")
    for step, mean in taken["steps"].items():
        yield single(f"cni-add-{step}", "ms", [mean], command=command, note="mean, as the agent counts it")
    rest = sum(ours) / len(ours) - sum(taken["steps"].values())
    yield single("cni-add-shim", "ms", [rest], command=command, note="mean: the plugin's interpreter, and all else")


def _ports(lab: Lab, wanted: int) -> list[dict[str, str]]:
    """Pods that OVN has ports for on the node, and no kubelet starts."""
    lab.host(NODE).daemon("kubelet").stop()
    container = {"name": "main", "image": "none", "imagePullPolicy": "Never"}
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"p{number}"},
            "spec": {"nodeName": NODE, "containers": [container], "tolerations": [{"operator": "Exists"}]},
        }
        for number in range(wanted)
    ]
    kubectl(lab, "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    until_ports(lab, wanted, 120.0)
    found = []
    for row in pods_ports(lab):
        mac, address = str(row["addresses"]).split()
        gateway = rpc.mapping(row["external_ids"])["isthmus:gateways"].split()[0]
        ip, _, length = gateway.partition("/")
        name = str(row["name"]).removesuffix(".default")
        found.append({"name": name, "mac": mac, "address": f"{address}/{length}", "gateway": ip})
    return found
