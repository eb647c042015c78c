"""Placement: what hosts have and who uses it."""

from __future__ import annotations

from isthmus.lab.openstack import wsgi
from isthmus.lab.openstack.cloud import Cloud, Part, Settings, ini
from isthmus.lab.openstack.neutron import credentials
from isthmus.lab.state import Daemon

NAME, PORT = "placement", 8778


def daemons(cloud: Cloud) -> dict[str, Daemon]:
    return {NAME: wsgi.daemon(cloud, NAME, PORT, {"OS_PLACEMENT_CONFIG_DIR": "/run/etc/placement"})}


def configure(cloud: Cloud) -> None:
    settings: Settings = {
        "api": [("auth_strategy", "keystone")],
        "placement_database": [("connection", cloud.database(NAME))],
        "keystone_authtoken": credentials(cloud, NAME),
    }
    cloud.write("placement/placement.conf", ini(settings))
    wsgi.configure(cloud, NAME, PORT, "placement.wsgi.api:application")


def migrate(cloud: Cloud) -> list[list[str]]:
    return [[cloud.program("placement-manage"), "--config-file", "/run/etc/placement/placement.conf", "db", "sync"]]


PART = Part(
    name=NAME,
    type="placement",
    port=PORT,
    databases=(NAME,),
    daemons=daemons,
    configure=configure,
    migrate=migrate,
)
