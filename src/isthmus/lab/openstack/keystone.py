"""Keystone: who everybody is, and where the other services are."""

from __future__ import annotations

from isthmus.lab.openstack import wsgi
from isthmus.lab.openstack.api import Api
from isthmus.lab.openstack.cloud import REGION, SERVICE, Cloud, Part, Settings, ini
from isthmus.lab.processes import environment, run
from isthmus.lab.state import Daemon

PORT, SUFFIX = 5000, "/v3"
INTERFACES = ("public", "internal")
"""Of the catalog: services ask for each other's internal ones."""
CONFIG = "/run/etc/keystone/keystone.conf"


def daemons(cloud: Cloud) -> dict[str, Daemon]:
    env = {"OS_KEYSTONE_CONFIG_DIR": "/run/etc/keystone", "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
    return {"keystone": wsgi.daemon(cloud, "keystone", PORT, env)}


def configure(cloud: Cloud) -> None:
    settings: Settings = {
        "DEFAULT": [("transport_url", "fake://")],
        "database": [("connection", cloud.database("keystone"))],
        "token": [("provider", "fernet")],
        "fernet_tokens": [("key_repository", "/run/etc/keystone/fernet-keys")],
        "credential": [("key_repository", "/run/etc/keystone/credential-keys")],
        "cache": [("enabled", True), ("backend", "dogpile.cache.memory")],
        # A password costs milliseconds, not a quarter of a second: nobody guesses at those of a lab.
        "identity": [("password_hash_rounds", 4)],
        "oslo_messaging_notifications": [("driver", "noop")],
    }
    cloud.write("keystone/keystone.conf", ini(settings))
    wsgi.configure(cloud, "keystone", PORT, "keystone.wsgi.api:application")


def migrate(cloud: Cloud) -> list[list[str]]:
    manage = [cloud.program("keystone-manage"), "--config-file", CONFIG]
    owner = ["--keystone-user", "root", "--keystone-group", "root"]
    return [[*manage, "db_sync"], [*manage, "fernet_setup", *owner], [*manage, "credential_setup", *owner]]


PART = Part(
    name="",
    type="identity",
    port=PORT,
    suffix=SUFFIX,
    databases=("keystone",),
    daemons=daemons,
    configure=configure,
    migrate=migrate,
)


def url(cloud: Cloud) -> str:
    return cloud.url(PORT, SUFFIX)


def bootstrap(cloud: Cloud) -> None:
    """The user `admin`, the roles, and Keystone's own entry in the catalog."""
    argv = [cloud.program("keystone-manage"), "--config-file", CONFIG, "bootstrap"]
    argv += ["--bootstrap-region-id", REGION]
    argv += [word for interface in INTERFACES for word in (f"--bootstrap-{interface}-url", url(cloud))]
    # Not as an argument, which everybody on the machine may read.
    secret = environment({"OS_BOOTSTRAP_PASSWORD": cloud.secrets["admin"]})
    run(cloud.state, cloud.name, argv, env=secret)


def client(cloud: Cloud, user: str = "admin") -> Api:
    """The APIs as that user: `admin`, the service user, or a tenant, each in her own project."""
    project = "service" if user == SERVICE else user
    return Api(cloud.state.path(cloud.name), url(cloud), user, cloud.secrets[user], project)


def populate(cloud: Cloud, parts: list[Part]) -> None:
    """Project `service`, a user for each service and one for Isthmus, and the catalog."""
    api = client(cloud)
    roles = _roles(api)
    project = _project(api, "service")
    for user in [SERVICE, *(p.name for p in parts if p.name)]:
        made = _user(api, user, cloud.secrets[user])
        for role in ("admin", "service"):
            _grant(api, project, made, roles[role])
    for part in parts:
        if part.type != "identity":
            body = {"type": part.type, "name": part.name}
            service = api.post("identity", "/services", {"service": body})["service"]["id"]
            entry = {"service_id": service, "region_id": REGION, "url": cloud.url(part.port, part.suffix)}
            for interface in INTERFACES:
                api.post("identity", "/endpoints", {"endpoint": entry | {"interface": interface}})


def tenants(cloud: Cloud, api: Api) -> None:
    """A project for each tenant, with one member of the same name."""
    member = _roles(api)["member"]
    for tenant in cloud.site.tenants:
        _grant(api, _project(api, tenant), _user(api, tenant, cloud.secrets[tenant]), member)


def _roles(api: Api) -> dict[str, str]:
    return {role["name"]: role["id"] for role in api.get("identity", "/roles")["roles"]}


def _project(api: Api, name: str) -> str:
    body = {"name": name, "domain_id": "default"}
    return str(api.post("identity", "/projects", {"project": body})["project"]["id"])


def _user(api: Api, name: str, password: str) -> str:
    body = {"name": name, "domain_id": "default", "password": password}
    return str(api.post("identity", "/users", {"user": body})["user"]["id"])


def _grant(api: Api, project: str, user: str, role: str) -> None:
    api.put("identity", f"/projects/{project}/users/{user}/roles/{role}")
