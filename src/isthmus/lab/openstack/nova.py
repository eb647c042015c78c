"""Nova's part of the central node: API, conductor, scheduler, and the message queue they speak by."""

from __future__ import annotations

from isthmus.lab.openstack import glance, rabbitmq, wsgi
from isthmus.lab.openstack.cloud import Cloud, Part, Settings, ini
from isthmus.lab.openstack.neutron import credentials
from isthmus.lab.state import Daemon

NAME, PORT, SUFFIX = "nova", 8774, "/v2.1"
CONFIG = "/run/etc/nova/nova.conf"
WORKERS = ("conductor", "scheduler")
DISCOVERY = 1
"""Seconds between two looks of the scheduler for hosts that are new."""


def daemons(cloud: Cloud) -> dict[str, Daemon]:
    found = {
        "rabbitmq": rabbitmq.daemon(cloud),
        NAME: wsgi.daemon(cloud, NAME, PORT, {"OS_NOVA_CONFIG_DIR": "/run/etc/nova"}),
    }
    for worker in WORKERS:
        argv = [cloud.program(f"nova-{worker}"), "--config-file", CONFIG]
        pidfile = str(cloud.run / f"nova-{worker}.pid")
        found[f"nova-{worker}"] = Daemon(cloud.name, argv, pidfile, foreground=True)
    return found


def common(cloud: Cloud, host: str, address: str) -> dict[str, list[tuple[str, object]]]:
    """What every Nova service of a cloud is told, on any host."""
    return {
        "DEFAULT": [
            ("host", host),
            ("my_ip", address),
            ("state_path", "/run/nova"),
            ("transport_url", rabbitmq.url(cloud)),
            ("concurrency_backend", "threading"),
            ("graceful_shutdown_timeout", 2),
            ("manager_shutdown_timeout", 1),
        ],
        "oslo_concurrency": [("lock_path", "/run/nova/lock")],
        "oslo_messaging_notifications": [("driver", "noop")],
        # Services start beside the queue; whoever comes too early asks again after a second, not ever later.
        "oslo_messaging_rabbit": [("rabbit_interval_max", 1)],
        "keystone_authtoken": credentials(cloud, NAME),
        "service_user": [("send_service_user_token", True), *credentials(cloud, NAME)],
        "placement": credentials(cloud, "placement"),
        "neutron": credentials(cloud, "neutron"),
        "glance": [("api_servers", cloud.url(glance.PORT))],
        "vnc": [("enabled", False)],
    }


def configure(cloud: Cloud) -> None:
    rabbitmq.configure(cloud)
    cloud.folder("nova")
    settings: Settings = common(cloud, cloud.name, cloud.address) | {
        "api": [("auth_strategy", "keystone")],
        "wsgi": [("api_paste_config", cloud.programs / "etc" / "nova" / "api-paste.ini")],
        "api_database": [("connection", cloud.database("nova_api"))],
        "database": [("connection", cloud.database(NAME))],
        "conductor": [("workers", 1)],
        "scheduler": [("workers", 1), ("discover_hosts_in_cells_interval", DISCOVERY)],
    }
    cloud.write("nova/nova.conf", ini(settings))
    # Nova looks for it beside its own file, whatever that says.
    paste = cloud.programs / "etc" / "nova" / "api-paste.ini"
    if paste.exists():
        cloud.write("nova/api-paste.ini", paste.read_text(encoding="utf-8"))
    wsgi.configure(cloud, NAME, PORT, "nova.wsgi.osapi_compute:application")


def migrate(cloud: Cloud) -> list[list[str]]:
    """Databases, and the one cell that all hosts are in.

    Where its queue is comes from each service's own file: the address is another one in each lab.
    """
    manage = [cloud.program("nova-manage"), "--config-file", CONFIG]
    queue = "rabbit://{username}:{password}@{hostname}:{port}/"
    cell = ["--name", "cell1", "--transport-url", queue, "--database_connection", cloud.database(NAME)]
    return [
        [*manage, "api_db", "sync"],
        [*manage, "cell_v2", "map_cell0", "--database_connection", cloud.database("nova_cell0")],
        [*manage, "db", "sync"],
        [*manage, "cell_v2", "create_cell", *cell],
    ]


PART = Part(
    name=NAME,
    type="compute",
    port=PORT,
    suffix=SUFFIX,
    databases=("nova_api", NAME, "nova_cell0"),
    daemons=daemons,
    configure=configure,
    migrate=migrate,
)
