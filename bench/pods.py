"""Pods of a cluster become ports: from the first that is created to the last row in the southbound database.

Nodes are hollow: objects without a kubelet. API server, etcd, `serve`, northd and both databases are real and share
the machine with whoever creates the Pods. The reference writes the same ports in batches, and nobody asks for them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import inlab
from bench.report import Aim, Row, compared, progress, single
from isthmus.lab import rpc
from isthmus.lab.kubernetes.cluster import operators_keys
from isthmus.lab.lab import Lab

FILE = Path(__file__).with_name("cluster.yaml")
PODS, NODES = 2000, 3
BATCH = 100
TIMEOUT = 300.0
COLUMNS = ("name", "addresses", "port_security", "options", "external_ids")


def rate(rounds: int) -> Iterator[Row]:
    ours, theirs, made, resident = [], [], [], []
    with inlab.lab(FILE, name="pods", tenants=0) as lab:
        _hollow(lab)
        for number in range(rounds):
            with inlab.serving(lab, 3.0) as process:
                until_ports(lab, 0)
                said = _create(lab, PODS)
                until_ports(lab, PODS)
                ours.append(PODS / (time.time() - said["begin"] / 1e9))
                made.append(PODS / said["seconds"])
                resident.append(_resident(process))
                rows = pods_ports(lab)
                kubectl(lab, "delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false")
                until_ports(lab, 0)
                _forgotten(lab)
            theirs.append(_inserted(lab, rows))
            progress(
                f"  pods {number + 1}/{rounds}: {ours[-1]:.0f}/s (created {made[-1]:.0f}/s), rows {theirs[-1]:.0f}/s"
            )
    yield compared(
        "pods-per-second", "Pods/s", ours, theirs, command="isthmus serve", aim=Aim(">=", 100.0),
        peer=f"the same ports in transactions of {BATCH}, nobody asking",
        note=f"{PODS} Pods on {NODES} hollow nodes; {sum(made) / len(made):.0f}/s were created",
    )  # fmt: skip
    yield single("pods-serve-rss", "MB", resident, command="isthmus serve", aim=Aim("<=", 150.0), note=f"{PODS} Pods")


def passes(rounds: int) -> Iterator[Row]:
    """What `serve` needs for a cluster that is there already, by how many Pods it has."""
    for pods in (1000, 10000):
        begun, whole, one, resident = [], [], [], []
        with inlab.lab(FILE, name="passes", tenants=0) as lab:
            _hollow(lab)
            with inlab.serving(lab, 3.0):
                _create(lab, pods)
                until_ports(lab, pods)
            for _ in range(rounds):
                said = _clocked(lab)
                begun.append(said["begin"])
                whole += said["all"]
                one += said["one"]
                resident.append(said["rss"] / 1e6)
            progress(f"  passes over {pods} Pods: all {whole[-1]:.0f} ms, one {one[-1]:.1f} ms, {resident[-1]:.0f} MB")
        most = pods == 10000
        for figure, unit, values, limit, note in (
            ("begin", "ms", begun, None, "the first pass of a process, over rows that stand"),
            ("all", "ms", whole, 1000.0, "everything compared, nothing to do"),
            ("one", "ms", one, 20.0, "one Pod compared"),
            ("rss", "MB", resident, 300.0, "with everything listed"),
        ):
            aim = Aim("<=", limit) if most and limit else None
            yield single(f"pass-{pods}-{figure}", unit, values, command="isthmus serve", aim=aim, note=note)


def _clocked(lab: Lab) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.estateclock", str(lab.paths.config)]
    done = lab.exec("operator", command, timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def _hollow(lab: Lab) -> None:
    nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"hollow-{n}"}} for n in range(NODES)]
    kubectl(lab, "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))


def kubectl(lab: Lab, *arguments: str, input: str | None = None) -> None:
    done = lab.exec("operator", ["kubectl", *arguments], input=input)
    if done.returncode:
        raise RuntimeError(done.stderr)


def _create(lab: Lab, pods: int) -> dict[str, float]:
    keys, address = operators_keys(lab.paths, "cluster"), lab.site("cluster").address
    command = [sys.executable, "-m", "bench.podmaker", str(keys), f"https://{address}:6443", str(pods), str(NODES)]
    done = lab.exec("operator", command, timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def until_ports(lab: Lab, wanted: int, timeout: float = TIMEOUT) -> None:
    """So many ports of Pods are in the southbound database."""

    def there(rows: dict[str, rpc.Rows]) -> bool:
        return sum(str(r["logical_port"]).endswith(".default") for r in rows["Port_Binding"].values()) == wanted

    rpc.wait_until(lab.site("cluster").sb_unix, "OVN_Southbound", {"Port_Binding": ["logical_port"]}, there, timeout)


def _forgotten(lab: Lab) -> None:
    """No `IP` object of a Pod is left for the next round to take away; nodes keep theirs."""
    deadline = time.monotonic() + TIMEOUT
    while ".default" in lab.exec("operator", ["kubectl", "get", "ips.kubeovn.io", "-o", "name"]).stdout:
        if time.monotonic() > deadline:
            raise RuntimeError("IP objects are left")
        time.sleep(0.5)


def _resident(process: subprocess.Popen[str]) -> float:
    """Megabytes that a process holds."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("serve is gone")


def pods_ports(lab: Lab) -> list[dict[str, Any]]:
    rows = rpc.snapshot(lab.site("cluster").nb_unix, "OVN_Northbound")["Logical_Switch_Port"].values()
    return [{c: r[c] for c in COLUMNS} for r in rows if str(r["name"]).endswith(".default")]


def _inserted(lab: Lab, rows: list[dict[str, Any]]) -> float:
    """Ports a second of the floor; all are taken away again."""
    unix = lab.site("cluster").nb_unix
    switch = [["name", "==", "ovn-default"]]
    begin = time.time()
    for first in range(0, len(rows), BATCH):
        some = rows[first : first + BATCH]
        names = [f"r{n}" for n in range(len(some))]
        inserts = [
            {"op": "insert", "table": "Logical_Switch_Port", "uuid-name": n, "row": r}
            for n, r in zip(names, some, strict=True)
        ]
        ports = ["set", [["named-uuid", n] for n in names]]
        hang = {"op": "mutate", "table": "Logical_Switch", "where": switch, "mutations": [["ports", "insert", ports]]}
        rpc.transact(unix, "OVN_Northbound", *inserts, hang)
    until_ports(lab, PODS)
    taken = time.time() - begin
    left = [row for row in rpc.snapshot(unix, "OVN_Northbound")["Logical_Switch_Port"].values()]
    gone = ["set", [["uuid", r["_uuid"][1]] for r in left if str(r["name"]).endswith(".default")]]
    take = {"op": "mutate", "table": "Logical_Switch", "where": switch, "mutations": [["ports", "delete", gone]]}
    rpc.transact(unix, "OVN_Northbound", take)
    until_ports(lab, 0)
    return PODS / taken
