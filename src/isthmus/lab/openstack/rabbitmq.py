"""RabbitMQ: what Nova's services speak by; Debian's program on the central node, with all its files in its /run."""

from __future__ import annotations

from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.state import Daemon

PORT = 5672
USER = "nova"
PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""The server itself: what is in the PATH changes to a user of its own."""
SETTINGS = {
    "HOME": "/run/rabbitmq",
    "RABBITMQ_ALLOW_INPUT": "1",  # or its script stays as a process above it
    "RABBITMQ_NODENAME": "rabbit@localhost",
    "RABBITMQ_CONFIG_FILE": "/run/etc/rabbitmq/rabbitmq.conf",
    "RABBITMQ_ENABLED_PLUGINS_FILE": "/run/etc/rabbitmq/enabled_plugins",
    "RABBITMQ_MNESIA_BASE": "/run/rabbitmq/mnesia",
    "RABBITMQ_LOG_BASE": "/run/log",
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput +S 1:1 +sbwt none",
    "ERL_EPMD_ADDRESS": "127.0.0.1",
}
"""Its environment. One scheduler that does not spin: it shares the machine with everything else."""


def url(cloud: Cloud) -> str:
    """As oslo.messaging wants it."""
    return f"rabbit://{USER}:{cloud.secrets[USER]}@{cloud.address}:{PORT}/"


def daemon(cloud: Cloud) -> Daemon:
    return Daemon(
        cloud.name,
        [PROGRAM],
        str(cloud.run / "rabbitmq.pid"),
        foreground=True,
        process="beam.smp",
        answers=cloud.url(PORT),  # to whoever speaks another protocol it says its own
        patience=300.0,
        env=SETTINGS,
    )


def configure(cloud: Cloud) -> None:
    cloud.folder("rabbitmq")
    lines = [
        f"listeners.tcp.1 = {cloud.address}:{PORT}",
        f"default_user = {USER}",
        f"default_pass = {cloud.secrets[USER]}",
        # Clients come over the underlay.
        "loopback_users = none",
        "log.file.level = warning",
    ]
    cloud.write("rabbitmq/rabbitmq.conf", "\n".join(lines) + "\n")
    cloud.write("rabbitmq/enabled_plugins", "[].\n")
