"""Kinds of sites that a lab can build, registered in one place."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from isthmus.lab.kind_kubernetes import KubernetesKind
from isthmus.lab.kind_openstack import OpenstackKind
from isthmus.lab.kind_ovn import OvnKind
from isthmus.lab.layout import Layout, Machine, Paths, SiteLayout
from isthmus.lab.state import Daemon, State


class Site(Protocol):
    """What a kind may use of the lab that is being built."""

    layout: Layout
    state: State
    paths: Paths
    templates: Path
    datapath: str

    def start(self, key: str) -> None: ...

    def progress(self, text: str) -> None: ...

    def hold(self, processes: Mapping[str, int]) -> None: ...


class Kind(Protocol):
    """How sites of one type are built."""

    def folders(self, lab: Site, site: SiteLayout) -> None:
        """Make every node's /run; called before anything runs."""

    def daemons(self, lab: Site, site: SiteLayout) -> dict[str, Daemon]:
        """All daemons by key, for the record; called before any is started."""

    def start(self, lab: Site, site: SiteLayout, pool: ThreadPoolExecutor, fabric: Future[None]) -> list[Future[None]]:
        """Submit all work, work that others wait for first. `fabric` is done when the Fabric's databases run."""

    def wait(self, lab: Site, site: SiteLayout, deadline: float) -> None:
        """Return when the site is ready to use; `deadline` by time.monotonic(). Raises TimeoutError."""

    def port(self, state: State, layout: Layout, machine: Machine, make: bool) -> tuple[str, str]:
        """The Logical_Switch_Port of an endpoint that comes later, and its MAC address; where not `make`, it exists.

        Raises WorldError.
        """

    def remove_port(self, state: State, layout: Layout, machine: Machine) -> None:
        """Take it away again."""


KINDS: dict[str, Kind] = {"ovn": OvnKind(), "openstack": OpenstackKind(), "kubernetes": KubernetesKind()}
