"""MariaDB: Debian's programs, the node's own data folder and unix socket, no network."""

from __future__ import annotations

from isthmus.lab.openstack.cloud import Cloud
from isthmus.lab.processes import run
from isthmus.lab.state import Daemon

SOCKET = "/run/mysql/mysqld.sock"


def daemon(cloud: Cloud) -> Daemon:
    argv = [
        "mariadbd",
        "--no-defaults",
        "--user=root",
        "--datadir=/run/mysql/data",
        f"--socket={SOCKET}",
        "--skip-networking",
        "--tmpdir=/run/tmp",
        "--max-connections=400",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=32M",
        # Each commit is with the kernel: kill -9 loses none. A lab does not outlive the machine.
        "--innodb-flush-log-at-trx-commit=2",
        "--character-set-server=utf8mb4",
    ]
    return Daemon(cloud.name, argv, str(cloud.run / "mariadb.pid"), foreground=True, answers=SOCKET, patience=120.0)


def initialise(cloud: Cloud) -> None:
    """An empty data folder. Who may open the socket as root is root."""
    options = ["--no-defaults", "--user=root", "--datadir=/run/mysql/data", "--skip-test-db", "--skip-name-resolve"]
    authentication = "--auth-root-authentication-method=socket"
    run(cloud.state, cloud.name, ["mariadb-install-db", *options, authentication, "--auth-root-socket-user=root"])


def sql(cloud: Cloud, text: str) -> str:
    """What the statements print. Raises WorldError."""
    argv = ["mariadb", "--no-defaults", f"--socket={SOCKET}", "--user=root", "--skip-column-names", "--batch"]
    return run(cloud.state, cloud.name, argv, input=text).stdout
