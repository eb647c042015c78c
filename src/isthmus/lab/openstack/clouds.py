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


def entry(cloud: Cloud, user: str) -> str:
    """The name of a user's entry: the site's for Isthmus itself, `SITE-admin`, `SITE-TENANT`."""
    return cloud.name if user == SERVICE else f"{cloud.name}-{user}"


def write(cloud: Cloud) -> None:
    """Add the site's clouds to what other sites of the lab wrote."""
    path = file(cloud.paths)
    with _writing:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {"clouds": {}}
        for user in ("admin", SERVICE, *cloud.site.tenants):
            found["clouds"][entry(cloud, user)] = _entry(cloud, user)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as text:
            yaml.safe_dump(found, text, sort_keys=False)


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
