"""Neutron with ML2/OVN: its API, and the worker that keeps its rows in the northbound database."""

from __future__ import annotations

from isthmus.lab.hosts import PHYSICAL
from isthmus.lab.layout import FRONT_PORT, NB_PORT
from isthmus.lab.openstack import keystone, wsgi
from isthmus.lab.openstack.cloud import REGION, Cloud, Part, Settings, ini
from isthmus.lab.state import Daemon

PORT = 9696
NAME = "neutron"
FILES = ("neutron.conf", "ml2_conf.ini")
OPTIONS = [option for file in FILES for option in ("--config-file", f"/run/etc/neutron/{file}")]
FIRST_ROUND = "maintenance task update_security_group_with_address_group finished"
"""The last of what the worker does at its start in every release line. Each is by the alphabet, and some of them write
to rows that are not Neutron's."""
PLUGINS = ("ovn-router", "port_forwarding", "trunk")
FAST_BFD = (("ha_failover_strategy", "manual"), ("bfd_min_rx", 100), ("bfd_min_tx", 100), ("bfd_mult", 3))
"""Milliseconds; a tunnel is dead when as many packets are missing."""


def daemons(cloud: Cloud) -> dict[str, Daemon]:
    worker = [cloud.program("neutron-ovn-maintenance-worker"), *OPTIONS]
    pidfile = str(cloud.run / "neutron-maintenance.pid")
    env = {"OS_NEUTRON_CONFIG_DIR": "/run/etc/neutron", "OS_NEUTRON_CONFIG_FILES": ";".join(FILES)}
    return {
        NAME: wsgi.daemon(cloud, NAME, PORT, env),
        "neutron-maintenance": Daemon(cloud.name, worker, pidfile, foreground=True, says=FIRST_ROUND, patience=300.0),
    }


def configure(cloud: Cloud) -> None:
    cloud.write("neutron/neutron.conf", _neutron_conf(cloud))
    cloud.write("neutron/ml2_conf.ini", _ml2_conf(cloud))
    wsgi.configure(cloud, NAME, PORT, "neutron.wsgi.api:application")
    cloud.folder("neutron")


def credentials(cloud: Cloud, user: str) -> list[tuple[str, object]]:
    """How a service presents itself to Keystone."""
    return [
        ("www_authenticate_uri", keystone.url(cloud)),
        ("auth_url", keystone.url(cloud)),
        ("auth_type", "password"),
        ("project_domain_name", "Default"),
        ("user_domain_name", "Default"),
        ("project_name", "service"),
        ("username", user),
        ("password", cloud.secrets[user]),
        ("region_name", REGION),
    ]


def _neutron_conf(cloud: Cloud) -> str:
    nova = cloud.site.site.cloud.nova  # a server starts when its port is there
    default: list[tuple[str, object]] = [
        ("host", cloud.name),
        ("core_plugin", "ml2"),
        ("service_plugins", ",".join(PLUGINS)),
        ("auth_strategy", "keystone"),
        ("api_paste_config", cloud.programs / "etc" / "neutron" / "api-paste.ini"),
        ("state_path", "/run/neutron"),
        ("transport_url", "fake://"),
        ("rpc_workers", 0),
        ("rpc_state_report_workers", 0),
        ("notify_nova_on_port_status_changes", nova),
        ("notify_nova_on_port_data_changes", False),  # each would make Nova ask for everything anew
    ]
    settings: Settings = {
        "DEFAULT": default,
        "database": [("connection", cloud.database(NAME))],
        "oslo_concurrency": [("lock_path", "/run/neutron/lock")],
        "oslo_messaging_notifications": [("driver", "noop")],
        "keystone_authtoken": credentials(cloud, NAME),
    }
    return ini({**settings, "nova": credentials(cloud, "nova")} if nova else settings)


def _ml2_conf(cloud: Cloud) -> str:
    ovn: list[tuple[str, object]] = []
    for database, port in (("nb", NB_PORT), ("sb", FRONT_PORT)):
        ovn += [
            (f"ovn_{database}_connection", f"ssl:{cloud.address}:{port}"),
            (f"ovn_{database}_private_key", "/run/pki/neutron-key.pem"),
            (f"ovn_{database}_certificate", "/run/pki/neutron.pem"),
            (f"ovn_{database}_ca_cert", "/run/pki/nb-ca.pem"),
        ]
    ovn += [
        ("ovn_l3_scheduler", "leastloaded"),
        ("ovn_metadata_enabled", False),
        ("enable_distributed_floating_ip", True),
    ]
    if cloud.site.site.bfd:
        ovn += FAST_BFD
    return ini(
        {
            "ml2": [
                ("mechanism_drivers", "ovn"),
                ("type_drivers", "geneve,flat"),
                ("tenant_network_types", "geneve"),
                ("extension_drivers", "port_security"),
                ("overlay_ip_version", 4),
                ("path_mtu", cloud.layout.file.underlay.mtu),
            ],
            "ml2_type_geneve": [("vni_ranges", "1:2000"), ("max_header_size", 38)],
            "ml2_type_flat": [("flat_networks", PHYSICAL)],
            "securitygroup": [("enable_security_group", True)],
            "ovn": ovn,
        }
    )


def migrate(cloud: Cloud) -> list[list[str]]:
    return [[cloud.program("neutron-db-manage"), *OPTIONS, "upgrade", "heads"]]


PART = Part(
    name=NAME,
    type="network",
    port=PORT,
    databases=(NAME,),
    daemons=daemons,
    configure=configure,
    migrate=migrate,
)
