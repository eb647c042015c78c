"""Attaches Pods on a node, by our plugin and by forked tools in turn: `python attacher.py JSON`, on the node.

JSON: `plugin` (path), `metrics` (URL of the agent's), `pods` (each `name`, `mac`, `address` with its prefix length,
`gateway`). Prints milliseconds of every attachment as JSON, `ours` and `forked`, which take turns; and of ours on
average what the agent counted of each of its `steps`.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
from typing import Any
from urllib.request import urlopen

CONFIG = json.dumps({"cniVersion": "1.0.0", "name": "bench", "type": "isthmus"})
DATABASE = "--db=unix:/run/openvswitch/db.sock"


def run(*argv: str, **options: Any) -> None:
    subprocess.run(argv, check=True, capture_output=True, text=True, **options)


def spent(url: str) -> dict[str, float]:
    """Seconds of each step of an ADD so far."""
    tls = ssl.create_default_context(cafile="/run/pki/sb-ca.pem")
    tls.check_hostname = False
    tls.load_cert_chain("/run/pki/chassis.pem", "/run/pki/chassis-key.pem")
    with urlopen(url, context=tls, timeout=10) as page:
        text = page.read().decode()
    return {step: float(value) for step, value in re.findall(r'cni_add_seconds_sum\{step="(\w+)"\} (\S+)', text)}


def plugin(command: str, path: str, name: str) -> None:
    words = {"COMMAND": command, "CONTAINERID": name, "NETNS": f"/run/netns/{name}", "IFNAME": "eth0"}
    words |= {"ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}", "PATH": os.path.dirname(path)}  # noqa: PTH120
    run(path, input=CONFIG, env={f"CNI_{key}": value for key, value in words.items()})


def forked(pod: dict[str, str]) -> None:
    """The same by hand: a link, its port on the bridge, and wait until ovn-controller has made it work."""
    name, link = pod["name"], f"b{pod['name']}"
    inside = ("ip", "-n", name)
    run("ip", "link", "add", "eth0", "netns", name, "address", pod["mac"], "mtu", "1400", "type", "veth", "peer", link)
    run("ip", "link", "set", link, "up")
    run(*inside, "addr", "add", pod["address"], "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", pod["gateway"])
    ids = f"external_ids:iface-id={name}.default"
    run("ovs-vsctl", DATABASE, "add-port", "br-int", link, "--", "set", "Interface", link, ids)
    run("ovs-vsctl", DATABASE, "wait-until", "Interface", link, "external_ids:ovn-installed=true")


def main() -> None:
    task = json.loads(sys.argv[1])
    taken: dict[str, list[float]] = {"ours": [], "forked": []}
    before = spent(task["metrics"])
    for number, pod in enumerate(task["pods"]):
        run("ip", "netns", "add", pod["name"])
        begin = time.perf_counter()
        if number % 2:
            forked(pod)
        else:
            plugin("ADD", task["plugin"], pod["name"])
        taken["forked" if number % 2 else "ours"].append((time.perf_counter() - begin) * 1000)
    each = 1000 / len(taken["ours"])
    steps = {step: (seconds - before.get(step, 0.0)) * each for step, seconds in spent(task["metrics"]).items()}
    for number, pod in enumerate(task["pods"]):
        if number % 2:
            run("ovs-vsctl", DATABASE, "del-port", "br-int", f"b{pod['name']}")
        else:
            plugin("DEL", task["plugin"], pod["name"])
        run("ip", "netns", "del", pod["name"])
    print(json.dumps({**taken, "steps": steps}))


if __name__ == "__main__":
    main()
