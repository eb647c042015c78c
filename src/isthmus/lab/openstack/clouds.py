"""clouds.yaml: how the operator's tools, and Isthmus, find the lab's clouds."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import yaml

from isthmus.lab.layout import Paths
from isthmus.lab.openstack import keystone
from isthmus.lab.openstack.cloud import REGION, SERVICE, Cloud

_writing = threading.Lock()


def file(paths: Paths) -> Path:
    return paths.operator / "clouds.yaml"


def read(paths: Paths) -> dict[str, dict[str, Any]]:
    """All entries of a lab, by name."""
    path = file(paths)
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["clouds"]) if path.exists() else {}


def entry(site: str, user: str) -> str:
    """The name of a user's entry: the site's for Isthmus itself, `SITE-admin`, `SITE-TENANT`."""
    return site if user == SERVICE else f"{site}-{user}"


def write(cloud: Cloud) -> None:
    """Add the site's clouds to what other sites of the lab wrote."""
    with _writing:
        found = read(cloud.paths)
        for user in ("admin", SERVICE, *cloud.site.tenants):
            found[entry(cloud.name, user)] = _entry(cloud, user)
        path = file(cloud.paths)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as text:
            yaml.safe_dump({"clouds": found}, text, sort_keys=False)


def _entry(cloud: Cloud, user: str) -> dict[str, Any]:
    return {
        "auth": {
            "auth_url": keystone.url(cloud),
            "username": user,
            "password": cloud.secrets[user],
            "project_name": "service" if user == SERVICE else user,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": REGION,
        "identity_api_version": 3,
        "interface": "public",
    }
