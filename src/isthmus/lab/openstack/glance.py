"""Glance: images, as files of the central node."""

from __future__ import annotations

from isthmus.lab.openstack import wsgi
from isthmus.lab.openstack.cloud import Cloud, Part, Settings, ini
from isthmus.lab.openstack.neutron import credentials
from isthmus.lab.state import Daemon

NAME, PORT = "glance", 9292
CONFIG = "/run/etc/glance/glance-api.conf"


def daemons(cloud: Cloud) -> dict[str, Daemon]:
    return {NAME: wsgi.daemon(cloud, NAME, PORT, {"OS_GLANCE_CONFIG_DIR": "/run/etc/glance"})}


def configure(cloud: Cloud) -> None:
    for folder in ("images", "staging", "tasks"):
        cloud.folder(f"glance/{folder}")
    settings: Settings = {
        "DEFAULT": [("enabled_backends", "files:file"), ("transport_url", "fake://")],
        "glance_store": [("default_backend", "files")],
        "files": [("filesystem_store_datadir", "/run/glance/images")],
        "os_glance_staging_store": [("filesystem_store_datadir", "/run/glance/staging")],
        "os_glance_tasks_store": [("filesystem_store_datadir", "/run/glance/tasks")],
        "database": [("connection", cloud.database(NAME))],
        "paste_deploy": [
            ("flavor", "keystone"),
            ("config_file", cloud.programs / "etc" / "glance" / "glance-api-paste.ini"),
        ],
        "oslo_messaging_notifications": [("driver", "noop")],
        "oslo_concurrency": [("lock_path", "/run/glance/lock")],
        "keystone_authtoken": credentials(cloud, NAME),
    }
    cloud.write("glance/glance-api.conf", ini(settings))
    # Images are uploaded in chunks.
    extra = ("http-chunked-input = true", "wsgi-disable-file-wrapper = true")
    wsgi.configure(cloud, NAME, PORT, "glance.wsgi.api:application", extra)


def migrate(cloud: Cloud) -> list[list[str]]:
    return [[cloud.program("glance-manage"), "--config-file", CONFIG, "db_sync"]]


PART = Part(
    name=NAME,
    type="image",
    port=PORT,
    databases=(NAME,),
    daemons=daemons,
    configure=configure,
    migrate=migrate,
)
