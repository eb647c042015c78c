"""A host of a cluster: its containerd and its kubelet.

What both write to /etc, /opt and /var is the host's own (see `keeper`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from isthmus.api.workloads import CHASSIS
from isthmus.lab import cgroups
from isthmus.lab.central import secret
from isthmus.lab.kubernetes.cluster import DOMAIN, KUBELET_PORT, PKI, Cluster
from isthmus.lab.kubernetes.images import PAUSE
from isthmus.lab.processes import run
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon

SOCKET = "/run/containerd/containerd.sock"
ETC = "/run/etc/kubernetes"
LOOPBACK = "/usr/lib/cni/loopback"
PLUGINS = "/opt/cni/bin"
NETWORKS = "/etc/cni/net.d"
KEYS = {"ca": "sb-ca", "chassis": "chassis", "chassis-key": "chassis-key"}
"""Where our manifests look for the chassis' key pair -> what it is called on the lab's hosts."""
TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""What a kubelet sets where it is not so, for the whole machine: its host is shown that it is so already."""


def daemons(cluster: Cluster, host: str) -> dict[str, Daemon]:
    """By short name, in the order of their start."""
    home = cluster.paths.run(host)
    containerd = Daemon(
        host,
        ["containerd", f"--config={ETC}/containerd.toml"],
        str(home / "containerd.pid"),
        foreground=True,
        says="containerd successfully booted",
        patience=120.0,
    )
    kubelet = Daemon(
        host,
        [
            cluster.program("kubelet"),
            f"--config={ETC}/kubelet.yaml",
            f"--kubeconfig={ETC}/kubelet.kubeconfig",
            f"--hostname-override={host}",
            f"--node-ip={cluster.layout.nodes[host].address.ip}",
            "--root-dir=/run/kubelet",
            "--v=1",
        ],
        str(home / "kubelet.pid"),
        foreground=True,
        answers="http://127.0.0.1:10248/healthz",
        patience=120.0,
    )
    return {"containerd": containerd, "kubelet": kubelet}


def prepare(cluster: Cluster, host: Host) -> None:
    """Write what both read, and make the host's place for containers; its namespaces are there."""
    home = cluster.paths.run(host.name)
    etc = home / "etc" / "kubernetes"
    address = str(cluster.layout.nodes[host.name].address.ip)
    secret(etc / "containerd.toml", containerd_config())
    secret(etc / "kubelet.yaml", yaml.safe_dump(kubelet_config(address, cgroups.path(cluster.state.name, host.name))))
    # No name server: Pods ask their node's, and it has none.
    (home / "etc" / "resolv.conf").write_text("")
    tunables = home / "etc" / "tunables"
    for name, value in TUNABLES.items():
        secret(tunables / name, f"{value}\n")
    cgroups.make(cluster.state.name, host.name)
    script = [
        "set -e",
        # What containerd mounts is seen in containers that were there before.
        "mount --make-rshared /",
        *(f"mount --bind /run/etc/tunables/{name} /proc/sys/{name}" for name in TUNABLES),
        "cp /run/etc/resolv.conf /etc/resolv.conf",
        f"mkdir -p {NETWORKS} {PLUGINS} /run/containerd /run/kubelet",
        f"ln -sf {LOOPBACK} {PLUGINS}/loopback",
        f"mkdir -p -m 700 {CHASSIS}",
        *(f"cp /run/pki/{file}.pem {CHASSIS}/{name}.pem" for name, file in KEYS.items()),
    ]
    run(cluster.state, host.name, ["sh", "-c", "\n".join(script)])


def load(cluster: Cluster, host: str, archive: Path) -> None:
    """Give the host's containerd an image."""
    there = cluster.paths.run(host) / archive.name
    shutil.copyfile(archive, there)
    argv = ["ctr", f"--address={SOCKET}", "--namespace=k8s.io", "images", "import", f"/run/{archive.name}"]
    run(cluster.state, host, argv)
    there.unlink()


def containerd_config() -> str:
    """For Debian 12's containerd, 1.6. Its layers are not on the host's own overlay: overlays do not stack."""
    return f"""version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# A lab may be root without being allowed to protect its processes.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{NETWORKS}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def kubelet_config(address: str, group: str) -> dict[str, Any]:
    """KubeletConfiguration of kubelet.config.k8s.io/v1beta1; `group` holds all its Pods."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "port": KUBELET_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.pem"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet-server.pem",
        "tlsPrivateKeyFile": f"{PKI}/kubelet-server-key.pem",
        "clusterDomain": DOMAIN,
        "resolvConf": "/etc/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": group,
        "failCgroupV1": False,
        "failSwapOn": False,
        # The machine is shared: nothing is set aside, and nobody is sent away while it has some room.
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 250,
    }
