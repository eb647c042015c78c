"""A client of one cluster's API server."""

from __future__ import annotations

from pathlib import Path

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ConfigError, LoadResourceError
from yaml import YAMLError

from isthmus.errors import Problem

MANAGER = "isthmus"
"""Field manager of what we write."""
UNREADABLE = (YAMLError, AttributeError, KeyError, TypeError, ValueError)
"""What lightkube raises where a file holds something else than a kubeconfig."""
TIMEOUT = 15.0
"""Seconds until a request that is no watch must be answered."""


def connect(kubeconfig: Path, context: str) -> AsyncClient | Problem:
    """context: of the kubeconfig; "" for its current one."""
    try:
        config = KubeConfig.from_file(kubeconfig).get(context_name=context or None)
        # Watches are held open: nothing bounds their number but the kinds.
        return AsyncClient(config, timeout=httpx2.Timeout(TIMEOUT), trust_env=False, field_manager=MANAGER)
    except (*UNREADABLE, ConfigError, LoadResourceError, OSError) as error:
        said = f"{kubeconfig}: {error or type(error).__name__}"
        return Problem("BadKubeconfig", said, remedy="mend spec.kubernetes of the Site")
