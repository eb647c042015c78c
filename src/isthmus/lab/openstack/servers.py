"""Servers: endpoints that Nova boots, each by its own project's member."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.errors import Problem, WorldError
from isthmus.lab.guests.image import DISK, Image
from isthmus.lab.http import Json
from isthmus.lab.layout import Machine, Paths
from isthmus.lab.openstack import keystone
from isthmus.lab.openstack.api import Api
from isthmus.lab.openstack.cloud import Cloud

MEMORY = 128
"""MiB of a guest."""
COMMAND_LINE = "console=ttyS0 loglevel=4 panic=-1 clocksource=hpet mitigations=off cryptomgr.notests nokaslr"
"""The processor's own counter cannot be relied on: it was measured while others had the machine's processors. The rest
spares tenths of a second of emulation."""
LOOK = 0.5
"""Seconds between two looks at what is awaited."""
WORKERS = 4
PROVIDERS = "resource_providers"
PATIENCE = 600.0
"""Seconds that anything may take on a busy machine: everything is emulated, and many boot at once."""


@dataclass(slots=True)
class Servers:
    """What a site's endpoints are made of and made with."""

    cloud: Cloud
    image: str = ""
    flavor: str = ""
    members: dict[str | None, Api] = field(default_factory=dict)

    def __post_init__(self) -> None:
        users = {m.tenant for m in self.cloud.site.machines}
        self.members = {user: keystone.client(self.cloud, user or "admin") for user in {None, *users}}

    @property
    def admin(self) -> Api:
        return self.members[None]

    # Before.

    def upload(self, image: Image) -> None:
        """Kernel and RAM disk, and the empty disk of those that boot with them."""
        kernel = self._image("kernel", "aki", image.kernel.read_bytes())
        initrd = self._image("initrd", "ari", image.initrd.read_bytes())
        boots = {
            "kernel_id": kernel,
            "ramdisk_id": initrd,
            "os_command_line": COMMAND_LINE,
            "hw_qemu_guest_agent": "yes",
            "hw_time_hpet": "true",
        }
        self.image = self._image("guest", "qcow2", image.disk.read_bytes(), "bare", boots)

    def _image(
        self, name: str, disk: str, data: bytes, container: str = "", properties: Mapping[str, str] | None = None
    ) -> str:
        body = {"name": name, "disk_format": disk, "container_format": container or disk, "visibility": "public"}
        made = str(self.admin.post("image", "/v2/images", body | dict(properties or {}))["id"])
        self.admin.upload("image", f"/v2/images/{made}/file", data)
        return made

    def offer(self) -> None:
        """The one flavor. Its disk is as large as the image's: nothing is left to be resized."""
        body = {"name": "guest", "ram": MEMORY, "vcpus": 1, "disk": DISK}
        self.flavor = str(self.admin.post("compute", "/flavors", {"flavor": body})["flavor"]["id"])

    def zones(self, hosts: Iterable[str], going: Callable[[], bool]) -> None:
        """An availability zone for each host alone, of its name, when all have said that they are there."""
        made = {}
        for host in hosts:
            zone = {"name": host, "availability_zone": host}
            made[host] = self.admin.post("compute", "/os-aggregates", {"aggregate": zone})["aggregate"]["id"]
        until(lambda: set(made) <= self._hosts(), f"{self.cloud.name}: nova-compute on {', '.join(made)}", going)
        for host, zone_id in made.items():
            self.admin.post("compute", f"/os-aggregates/{zone_id}/action", {"add_host": {"host": host}})

    def _hosts(self) -> set[str]:
        """Hosts that are in the cell, and whose memory and processors Placement knows."""
        found = self.admin.get("compute", "/os-hypervisors")["hypervisors"]
        known = {each["name"]: each["uuid"] for each in self.admin.get("placement", "/resource_providers")[PROVIDERS]}
        return {host for each in found if (host := each["hypervisor_hostname"]) in known and self._has(known[host])}

    def _has(self, provider: str) -> bool:
        return bool(self.admin.get("placement", f"/resource_providers/{provider}/inventories")["inventories"])

    # Servers.

    def create(self, machines: Iterable[Machine], ports: Mapping[str, str]) -> dict[str, str]:
        """Ask for all of them. Returns their ids by endpoint."""

        def one(machine: Machine) -> tuple[str, str]:
            body = {
                "name": machine.name,
                "imageRef": self.image,
                "flavorRef": self.flavor,
                "networks": [{"port": ports[machine.name]}],
                "availability_zone": machine.host,
            }
            made = self.members[machine.tenant].post("compute", "/servers", {"server": body})
            return machine.name, str(made["server"]["id"])

        with ThreadPoolExecutor(WORKERS) as pool:
            return dict(pool.map(one, machines))

    def active(self, servers: Mapping[str, str]) -> bool:
        """Whether all are. Raises WorldError where one failed, with Nova's words.

        Asks for names only: details cost Nova three questions to others.
        """
        for bad in self._which("ERROR"):
            for name, server in servers.items():
                if server == bad:
                    raise failed(name, self.admin.get("compute", f"/servers/{server}")["server"])
        return set(servers.values()) <= self._which("ACTIVE")

    def _which(self, status: str) -> set[str]:
        found = self.admin.get("compute", "/servers", all_tenants="1", status=status)["servers"]
        return {server["id"] for server in found}


def until(ready: Callable[[], bool], what: str, going: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Return when it is so. Raises WorldError after `timeout` seconds, or when it is not wanted any more."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline or not going():
            remedy = "`isthmus lab logs` of nova-compute and nova-conductor say more"
            raise WorldError(Problem("NotInTime", f"{what}: not after {timeout:g} s", remedy=remedy))
        time.sleep(LOOK)


def failed(name: str, server: Json) -> WorldError:
    said = server.get("fault", {}).get("message", "no reason given")
    return WorldError(Problem("ServerFailed", f"server {name}: {said}", remedy="`isthmus lab logs` of nova-compute"))


def console(paths: Paths, machine: Machine, server: str) -> Path:
    """What a guest has written to its console, as a file of this machine."""
    return paths.run(machine.host) / "nova" / "instances" / server / "console.log"


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as its project's member handles it. Every method returns when it is done; WorldError where not.

    prepare  it is about to boot
    ready    whether the guest answers
    forget   it is no more
    """

    name: str
    id: str
    api: Api = field(repr=False)
    going: Callable[[], bool] = field(repr=False)
    prepare: Callable[[], None] = field(repr=False)
    ready: Callable[[], bool] = field(repr=False)
    forget: Callable[[], None] = field(repr=False)

    @property
    def status(self) -> str:
        """Nova's word: ACTIVE, SHUTOFF, ERROR, …"""
        return str(self._read()["status"])

    def _read(self) -> Json:
        server: Json = self.api.get("compute", f"/servers/{self.id}")["server"]
        return server

    def reboot(self, hard: bool = False) -> None:
        self.prepare()
        self._act({"reboot": {"type": "HARD" if hard else "SOFT"}})
        self._await("ACTIVE")

    def stop(self) -> None:
        self._act({"os-stop": None})
        self._await("SHUTOFF")

    def start(self) -> None:
        self.prepare()
        self._act({"os-start": None})
        self._await("ACTIVE")

    def delete(self) -> None:
        """Its port stays: it is the project's own."""
        self.api.delete("compute", f"/servers/{self.id}")
        until(self._gone, f"the end of server {self.name}", self.going)
        self.forget()

    def _gone(self) -> bool:
        found = self.api.get("compute", "/servers")["servers"]
        return self.id not in {server["id"] for server in found}

    def _act(self, action: Json) -> None:
        self.api.post("compute", f"/servers/{self.id}/action", action)

    def _await(self, status: str) -> None:
        def there() -> bool:
            found = self._read()
            if found["status"] == "ERROR":
                raise failed(self.name, found)
            return found["status"] == status and found["OS-EXT-STS:task_state"] is None

        until(there, f"server {self.name} {status}", self.going)
        if status == "ACTIVE":
            until(self.ready, f"the agent in {self.name}", self.going)
