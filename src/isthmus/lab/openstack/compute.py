"""A host that runs guests: libvirt, QEMU under emulation, and nova-compute.

libvirt is Debian's, and takes its files from places that the machine itself may use: so the host has what it writes to
/etc and /var for itself (see `keeper`).
"""

from __future__ import annotations

from pathlib import Path

from isthmus.lab.openstack import nova
from isthmus.lab.openstack.cloud import Cloud, ini
from isthmus.lab.processes import run
from isthmus.lab.spec import Host
from isthmus.lab.state import Daemon

USER = "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin\n"
GROUP = "libvirt-qemu:x:64055:\n"
"""libvirt does not start without the user that a package of its service makes, even where it uses another."""
QEMU = """user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
"""
LIBVIRTD = """auth_unix_rw = "none"
unix_sock_group = "root"
log_outputs = "3:file:/run/log/libvirtd.log"
"""
VIRTLOGD = """log_outputs = "3:file:/run/log/virtlogd.log"
"""
CONFIG = "/run/etc/nova/nova.conf"


def daemons(cloud: Cloud, host: str) -> dict[str, Daemon]:
    """By short name, in the order of their start."""
    home = cloud.paths.run(host)

    def detached(program: str) -> Daemon:
        argv = [program, "--daemon", f"--pid-file=/run/{program}.pid", f"--config=/etc/libvirt/{program}.conf"]
        return Daemon(host, argv, str(home / f"{program}.pid"))

    argv = [cloud.program("nova-compute"), "--config-file", CONFIG]
    return {
        "virtlogd": detached("virtlogd"),
        "libvirtd": detached("libvirtd"),
        "nova-compute": Daemon(host, argv, str(home / "nova-compute.pid"), foreground=True),
    }


def prepare(cloud: Cloud, host: Host) -> None:
    """Write what libvirt reads; the host's namespaces are there."""
    own = cloud.paths.run(host.name) / "etc" / "host"
    known = [(node.address.ip, node.name) for node in cloud.layout.nodes.values()]
    _write(own / "libvirt" / "qemu.conf", QEMU)
    _write(own / "libvirt" / "libvirtd.conf", LIBVIRTD)
    _write(own / "libvirt" / "virtlogd.conf", VIRTLOGD)
    _write(own / "passwd", Path("/etc/passwd").read_text(encoding="utf-8") + USER)
    _write(own / "group", Path("/etc/group").read_text(encoding="utf-8") + GROUP)
    # Names of the lab, and no name server: libvirt asks for its own host's name before each guest.
    _write(own / "hosts", "127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for ip, name in known))
    _write(own / "resolv.conf", "")
    folders = [f"/var/{place}/libvirt" for place in ("cache", "lib", "log")]
    run(cloud.state, host.name, ["sh", "-c", f"cp -r /run/etc/host/. /etc/ && mkdir -p {' '.join(folders)} /run/lock"])


def configure(cloud: Cloud, host: Host) -> None:
    """Write what nova-compute reads; the secrets are there."""
    home = cloud.paths.run(host.name)
    address = str(cloud.layout.nodes[host.name].address.ip)
    _write(home / "etc" / "nova" / "nova.conf", _nova_conf(cloud, host.name, address), mode=0o600)
    (home / "nova" / "instances").mkdir(parents=True)


def _nova_conf(cloud: Cloud, host: str, address: str) -> str:
    settings = nova.common(cloud, host, address)
    settings["DEFAULT"] += [
        ("compute_driver", "libvirt.LibvirtDriver"),
        ("instances_path", "/run/nova/instances"),
        ("vif_plugging_timeout", 120),
        # Guests have nothing to save, and an agent that ends them at once.
        ("shutdown_timeout", 10),
    ]
    helper = ("helper_command", f"{cloud.program('privsep-helper')} --config-file {CONFIG}")
    return ini(
        settings
        | {
            "libvirt": [
                ("virt_type", "qemu"),
                ("inject_partition", -2),
                # Sparse files: no layers to be made and looked into for each guest.
                ("images_type", "flat"),
                # Of translated code: 32 MB are enough for a kernel and a shell.
                ("tb_cache_size", 32),
                ("mem_stats_period_seconds", 0),
            ],
            "os_vif_ovs": [("ovsdb_connection", "unix:/run/openvswitch/db.sock")],
            "vif_plug_ovs_privileged": [helper],
            "nova_sys_admin": [helper],
        }
    )


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode)
    path.write_text(text, encoding="utf-8")
