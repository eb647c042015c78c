"""A site of type `openstack` as its parts see it: where things are, and its secrets."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab.central import Central
from isthmus.lab.openstack import environment
from isthmus.lab.state import Daemon

REGION = "RegionOne"
SERVICE = "isthmus"
"""The user of Isthmus itself, in project `service`."""
SECRETS = "secrets.json"


@dataclass(frozen=True, slots=True)
class Cloud(Central):
    """One cloud: everything of it runs on the site's central node."""

    @property
    def line(self) -> str:
        """Neutron's release line."""
        return self.site.site.cloud.neutron

    @property
    def programs(self) -> Path:
        """OpenStack's Python environment."""
        return environment.path(self.line)

    def program(self, name: str) -> str:
        return str(self.programs / "bin" / name)

    @property
    def secrets(self) -> dict[str, str]:
        """Passwords by user: of services as the database template has them, of tenants this lab's own."""
        found: dict[str, str] = json.loads((self.run / "etc" / SECRETS).read_text(encoding="utf-8"))
        return found

    def give_secrets(self, users: Iterable[str]) -> None:
        """New passwords for users, beside those that others have."""
        path = self.run / "etc" / SECRETS
        found = self.secrets if path.exists() else {}
        self.write(SECRETS, json.dumps(found | {user: secrets.token_urlsafe(24) for user in users}))

    def database(self, name: str) -> str:
        """SQLAlchemy's URL of a database: by the unix socket, whose file says who may."""
        return f"mysql+pymysql://root@localhost/{name}?unix_socket=/run/mysql/mysqld.sock&charset=utf8mb4"

    def url(self, port: int, suffix: str = "") -> str:
        return f"http://{self.address}:{port}{suffix}"


@dataclass(frozen=True, slots=True)
class Part:
    """A service of a cloud.

    name       of its user in project `service`; "" for none
    type       in the catalog, e.g. `network`
    port       of its API; `suffix` of the API's URL
    databases  made empty, filled by `migrate`
    daemons    by short name; called before anything runs
    configure  writes its files to the node's /run/etc; called when the secrets are there
    migrate    command lines that fill its databases, run one after another on the central node, when the database
               template is made
    """

    name: str
    type: str
    port: int
    databases: tuple[str, ...]
    daemons: Callable[[Cloud], dict[str, Daemon]]
    configure: Callable[[Cloud], None]
    migrate: Callable[[Cloud], list[list[str]]]
    suffix: str = ""


Settings = Mapping[str, Sequence[tuple[str, object]]]


def ini(sections: Settings) -> str:
    """An ini file.

    >>> print(ini({"DEFAULT": [("debug", False), ("host", "a")]}), end="")
    [DEFAULT]
    debug = false
    host = a
    """
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {str(value).lower() if isinstance(value, bool) else value}" for key, value in values]
    return "\n".join(lines) + "\n"
