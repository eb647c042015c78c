"""From a Pod that is created to one that runs: one kubelet, our plugin and the reference `bridge` plugin in turn."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from bench import inlab
from bench.joining import order
from bench.pods import kubectl
from bench.report import Aim, Row, compared, progress
from isthmus.lab.kubernetes.images import PAUSE
from isthmus.lab.kubernetes.node import NETWORKS, PLUGINS
from isthmus.lab.lab import Lab

FILE = Path(__file__).with_name("pods.yaml")
NODE = "n1"
BRIDGE = {
    "cniVersion": "1.0.0",
    "name": "reference",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "ref0",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]], "dataDir": "/run/reference"},
        }
    ],
}
"""Before ours in the folder's order, and so the one that the runtime takes."""
SETTLE = 1.0
"""Seconds in which containerd takes notice of another configuration."""


def running(rounds: int) -> Iterator[Row]:
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    with inlab.lab(FILE, name="running", tenants=0) as lab:
        _shell(lab, f"ln -s /usr/lib/cni/bridge /usr/lib/cni/host-local {PLUGINS}/")
        for number in range(rounds + 1):
            for way in order(number):
                _choose(lab, way)
                seconds = _one(lab, f"p{number}-{way}")
                # The first of each finds nothing in any cache.
                if number:
                    taken[way].append(seconds)
            if number:
                progress(f"  running {number}/{rounds}: {taken['ours'][-1]:.2f} s, bridge {taken['theirs'][-1]:.2f} s")
    yield compared(
        "pod-running", "s", taken["ours"], taken["theirs"], command="kubectl create, kubectl wait",
        peer="the reference bridge plugin, same kubelet", aim=Aim("<=", 1.1, "x"),
    )  # fmt: skip


def _choose(lab: Lab, way: str) -> None:
    place = f"{NETWORKS}/00-reference.conflist"
    text = json.dumps(BRIDGE)
    _shell(lab, f"rm -f {place}" if way == "ours" else f"printf '%s' '{text}' >{place}")
    time.sleep(SETTLE)


def _one(lab: Lab, name: str) -> float:
    """Seconds; the Pod is gone afterwards."""
    container = {"name": "main", "image": PAUSE, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}
    spec = {"nodeName": NODE, "containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    begin = time.perf_counter()
    kubectl(lab, "create", "-f", "-", input=json.dumps(pod))
    kubectl(lab, "wait", "--for=jsonpath={.status.phase}=Running", f"pod/{name}", "--timeout=60s")
    seconds = time.perf_counter() - begin
    kubectl(lab, "delete", "pod", name, "--wait")
    return seconds


def _shell(lab: Lab, script: str) -> None:
    done = lab.exec(NODE, ["sh", "-c", script])
    if done.returncode:
        raise RuntimeError(done.stderr)
