"""Databases that are filled once for a machine: a lab starts with a copy.

What takes the time is the schemas' migrations, half a minute of them. The copy holds the services' users with their
passwords and Keystone's keys, so it is as secret as they are, and every lab of this machine has the same; tenants and
what they have are made anew for each lab.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab import processes
from isthmus.lab.cache import complete, once, root
from isthmus.lab.openstack import environment, keystone, mariadb
from isthmus.lab.openstack.cloud import SECRETS, SERVICE, Cloud, Part
from isthmus.lab.processes import run

FORMAT = 1
"""Another number for another way of filling them than what `_key` sees."""
KEPT = (f"etc/{SECRETS}", "etc/keystone/fernet-keys", "etc/keystone/credential-keys", "mysql/data")
"""What makes a template, in the node's /run."""


def path(cloud: Cloud, parts: list[Part]) -> Path:
    """Where the template is, or will be."""
    return root() / f"databases-{_key(cloud, parts)}"


def _key(cloud: Cloud, parts: list[Part]) -> str:
    try:
        server = subprocess.run(["mariadbd", "--version"], capture_output=True, check=True, env=processes.environment())
    except (OSError, subprocess.CalledProcessError) as error:
        remedy = "apt-get install -y mariadb-server-core mariadb-client-core"
        raise WorldError(Problem("LabNeeds", f"mariadbd does not run: {error}", remedy=remedy)) from error
    services = [(p.name, p.type, p.port, p.suffix, p.databases, p.migrate(cloud)) for p in parts]
    made_of = [FORMAT, environment.key(cloud.line), server.stdout.decode(), services]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


def place(cloud: Cloud, parts: list[Part], progress: Callable[[str], None]) -> None:
    """Give the node filled databases, the services' secrets and their files, and start MariaDB.

    OpenStack's programs are installed.
    """
    template = path(cloud, parts)
    if not complete(template):
        progress("filling databases: once, half a minute")

        def make(folder: Path) -> None:
            _fill(cloud, parts)
            for name in KEPT:
                _copy(cloud.run / name, folder / name)

        once(template, make, cloud.state.alive)
    for name in KEPT:
        _copy(template / name, cloud.run / name)
    cloud.give_secrets(cloud.site.tenants)
    for part in parts:
        part.configure(cloud)
    processes.start(cloud.state, mariadb.daemon(cloud))
    where = f"http://{cloud.address}"
    mariadb.sql(cloud, f"UPDATE keystone.endpoint SET url = REGEXP_REPLACE(url, '^http://[^:/]+', '{where}');")


def _copy(source: Path, target: Path) -> None:
    """A file or a folder, in place of what is there."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if source.is_file():
        shutil.copy2(source, target)
        return
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)


def _fill(cloud: Cloud, parts: list[Part]) -> None:
    """Make the databases on the node itself, where every process ends with the lab; nothing runs afterwards."""
    users = ["admin", SERVICE, *(p.name for p in parts if p.name)]
    cloud.give_secrets(users)
    for part in parts:
        part.configure(cloud)
    mariadb.initialise(cloud)
    database = mariadb.daemon(cloud)
    processes.start(cloud.state, database)
    wanted = [name for part in parts for name in part.databases]
    mariadb.sql(cloud, "".join(f"CREATE DATABASE {name};" for name in wanted))
    with ThreadPoolExecutor(len(parts)) as pool:
        for future in [pool.submit(_migrate, cloud, part) for part in parts]:
            future.result()
    keystone.bootstrap(cloud)
    api = keystone.daemons(cloud)["keystone"]
    processes.start(cloud.state, api)
    keystone.populate(cloud, parts)
    processes.stop(cloud.state, api)
    processes.stop(cloud.state, database)


def _migrate(cloud: Cloud, part: Part) -> None:
    for argv in part.migrate(cloud):
        run(cloud.state, cloud.name, argv)
