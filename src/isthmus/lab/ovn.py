"""Databases and daemons of a site's central node, and of the Fabric."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from shutil import copyfile

from isthmus.lab import rpc
from isthmus.lab.layout import (
    FRONT_PORT,
    IC_NB_PORT,
    IC_SB_PORT,
    NB_PORT,
    SB_PORT,
    Layout,
    Paths,
    SiteLayout,
)
from isthmus.lab.pki import Authority, bundle
from isthmus.lab.state import Daemon

SCHEMAS = {
    "OVN_Northbound": "/usr/share/ovn/ovn-nb.ovsschema",
    "OVN_Southbound": "/usr/share/ovn/ovn-sb.ovsschema",
    "OVN_IC_Northbound": "/usr/share/ovn/ovn-ic-nb.ovsschema",
    "OVN_IC_Southbound": "/usr/share/ovn/ovn-ic-sb.ovsschema",
    "Open_vSwitch": "/usr/share/openvswitch/vswitch.ovsschema",
}
FILES = {
    "OVN_Northbound": "ovnnb_db",
    "OVN_Southbound": "ovnsb_db",
    "OVN_IC_Northbound": "ovn_ic_nb_db",
    "OVN_IC_Southbound": "ovn_ic_sb_db",
}
QUIET = ("-vconsole:off", "-vsyslog:off")


def empty_databases(folder: Path) -> None:
    """One empty file of each schema, to be copied: a fork for each kind instead of each database."""
    running = [
        subprocess.Popen(["ovsdb-tool", "create", str(folder / name), schema]) for name, schema in SCHEMAS.items()
    ]
    # Wait for all before saying that one failed: none writes to a folder that may be removed then.
    if any([process.wait() for process in running]):
        raise RuntimeError("ovsdb-tool create failed")


def socket_path(paths: Paths, node: str, database: str) -> Path:
    """The unix socket of a database, as seen from outside."""
    return paths.run(node) / "ovn" / f"{FILES[database]}.sock"


def database(paths: Paths, node: str, name: str, remotes: Iterable[str], certificate: str, ca: str) -> Daemon:
    """The server of one database. Key pair and CA are files in the node's /run/pki."""
    file = FILES[name]
    return Daemon(
        node,
        [
            "ovsdb-server",
            f"/run/ovn/{file}.db",
            f"--remote=punix:/run/ovn/{file}.sock",
            *(f"--remote={remote}" for remote in remotes),
            f"--private-key=/run/pki/{certificate}-key.pem",
            f"--certificate=/run/pki/{certificate}.pem",
            f"--ca-cert=/run/pki/{ca}.pem",
            f"--unixctl=/run/ovn/{file}.ctl",
            f"--pidfile=/run/ovn/{file}.pid",
            f"--log-file=/run/log/{file}.log",
            *QUIET,
            "--detach",
            "--no-chdir",
        ],
        str(paths.run(node) / "ovn" / f"{file}.pid"),
    )


def make_folders(paths: Paths, node: str, templates: Path, databases: Iterable[str]) -> None:
    """The node's /run, with empty databases."""
    run = paths.run(node)
    for folder in ("ovn", "log", "pki", "openvswitch"):
        (run / folder).mkdir(parents=True)
    for name in databases:
        copyfile(templates / name, run / "ovn" / f"{FILES[name]}.db")


def empty(paths: Paths, node: str, templates: Path, name: str) -> None:
    """Put an empty database in place of a stopped one."""
    copyfile(templates / name, paths.run(node) / "ovn" / f"{FILES[name]}.db")


def northd(paths: Paths, node: str) -> Daemon:
    return Daemon(
        node,
        [
            "ovn-northd",
            "--ovnnb-db=unix:/run/ovn/ovnnb_db.sock",
            "--ovnsb-db=unix:/run/ovn/ovnsb_db.sock",
            "--pidfile=/run/ovn/ovn-northd.pid",
            "--log-file=/run/log/ovn-northd.log",
            *QUIET,
            "--detach",
            "--no-chdir",
        ],
        str(paths.run(node) / "ovn" / "ovn-northd.pid"),
    )


def front(paths: Paths, node: str, address: str) -> Daemon:
    """A TLS listener without a role before the SB, for the operator's certificate, and Neutron's where there is one.

    ovn-ic takes a lock in the SB, which a relay does not pass on; so TLS ends here, and the bytes go to the socket.
    """
    config = paths.run(node) / "front.conf"
    config.write_text(
        "\n".join(
            [
                "foreground = no",
                "pid = /run/ovn/front.pid",
                "output = /run/log/front.log",
                "debug = notice",
                "socket = l:TCP_NODELAY=1",
                "socket = r:TCP_NODELAY=1",
                "[sb]",
                f"accept = {address}:{FRONT_PORT}",
                "connect = /run/ovn/ovnsb_db.sock",
                "cert = /run/pki/server.pem",
                "key = /run/pki/server-key.pem",
                "CAfile = /run/pki/front-clients.pem",
                "verifyChain = yes",
                "sslVersionMin = TLSv1.2",
                "TIMEOUTidle = 86400",
                "",
            ]
        )
    )
    return Daemon(node, ["stunnel4", "/run/front.conf"], str(paths.run(node) / "ovn" / "front.pid"))


def central_pki(
    paths: Paths, site: SiteLayout, address: str, nb_ca: Authority, sb_ca: Authority, operator: Authority
) -> None:
    """Keys of the central node: `server` for NB and the SB front, `sb` for chassis."""
    pki = paths.run(site.name) / "pki"
    names = (address, "127.0.0.1", f"{site.name}.lab", site.name)
    nb_ca.issue(pki, "server", common_name=site.name, names=names)
    sb_ca.issue(pki, "sb", common_name=f"{site.name}-sb", names=names)
    bundle(pki / "nb-clients.pem", nb_ca, operator)
    bundle(pki / "sb-ca.pem", sb_ca)
    if site.site.type == "openstack":
        # Neutron opens both databases, and has one key for the two: its library knows no more.
        nb_ca.issue(pki, "neutron", common_name="neutron")
        bundle(pki / "nb-ca.pem", nb_ca)
        bundle(pki / "front-clients.pem", operator, nb_ca)
    else:
        bundle(pki / "front-clients.pem", operator)


def central(paths: Paths, site: SiteLayout, address: str) -> dict[str, Daemon]:
    """Daemons of a site's central node, by their short names."""
    return {
        "nb": database(paths, site.name, "OVN_Northbound", [f"pssl:{NB_PORT}:{address}"], "server", "nb-clients"),
        "sb": database(paths, site.name, "OVN_Southbound", ["db:OVN_Southbound,SB_Global,connections"], "sb", "sb-ca"),
        "northd": northd(paths, site.name),
        "front": front(paths, site.name, address),
    }


def initialise_nb(paths: Paths, site: SiteLayout) -> None:
    """Name the zone."""
    rpc.transact(
        socket_path(paths, site.name, "OVN_Northbound"),
        "OVN_Northbound",
        {"op": "insert", "table": "NB_Global", "row": {"name": site.zone}},
    )


def initialise_sb(paths: Paths, site: SiteLayout, address: str) -> None:
    """Listen for chassis: whoever connects there has no more rights than ovn-controller needs."""
    rpc.transact(
        socket_path(paths, site.name, "OVN_Southbound"),
        "OVN_Southbound",
        {
            "op": "insert",
            "table": "Connection",
            "uuid-name": "chassis",
            "row": {
                "target": f"pssl:{SB_PORT}:{address}",
                "role": "ovn-controller",
                "inactivity_probe": 60000,
            },
        },
        {
            "op": "insert",
            "table": "SB_Global",
            "row": {"connections": ["named-uuid", "chassis"]},
        },
    )


def fabric(paths: Paths, address: str) -> dict[str, Daemon]:
    """The interconnection databases."""
    return {
        short: database(paths, "fabric", name, [f"pssl:{port}:{address}"], "server", "clients")
        for short, name, port in (
            ("ic-nb", "OVN_IC_Northbound", IC_NB_PORT),
            ("ic-sb", "OVN_IC_Southbound", IC_SB_PORT),
        )
    }


def ovn_ic(paths: Paths, layout: Layout, site: SiteLayout) -> Daemon:
    """ovn-ic of one site: with the operator, because it opens the interconnection databases."""
    home = layout.nodes[site.name].address.ip
    hub = layout.nodes["fabric"].address.ip
    run = paths.operator / "run"
    return Daemon(
        "operator",
        [
            "ovn-ic",
            f"--ovnnb-db=ssl:{home}:{NB_PORT}",
            f"--ovnsb-db=ssl:{home}:{FRONT_PORT}",
            f"--ic-nb-db=ssl:{hub}:{IC_NB_PORT}",
            f"--ic-sb-db=ssl:{hub}:{IC_SB_PORT}",
            f"--private-key={paths.tls / 'operator-key.pem'}",
            f"--certificate={paths.tls / 'operator.pem'}",
            f"--ca-cert={paths.tls / 'all-ca.pem'}",
            f"--unixctl={run / f'ovn-ic-{site.name}.ctl'}",
            f"--pidfile={run / f'ovn-ic-{site.name}.pid'}",
            f"--log-file={run / f'ovn-ic-{site.name}.log'}",
            *QUIET,
            "--detach",
            "--no-chdir",
        ],
        str(run / f"ovn-ic-{site.name}.pid"),
    )
