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
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a Pod finds its service account."""
UNREADABLE = (YAMLError, AttributeError, KeyError, TypeError, ValueError)
"""What lightkube raises where a file holds something else than a kubeconfig."""
TIMEOUT = 15.0
"""Seconds until a request that is no watch must be answered."""


def connect(kubeconfig: Path | None, context: str) -> AsyncClient | Problem:
    """As the user of a kubeconfig, or without one as the service account of the Pod that we run in.

    context  of the kubeconfig; "" for its current one
    """
    try:
        config = _config(kubeconfig).get(context_name=context or None)
        # Watches are held open: nothing bounds their number but the kinds.
        return AsyncClient(config, timeout=httpx2.Timeout(TIMEOUT), trust_env=False, field_manager=MANAGER)
    except (*UNREADABLE, ConfigError, LoadResourceError, OSError) as error:
        said = f"{kubeconfig or 'the service account of a Pod'}: {error or type(error).__name__}"
        remedy = "mend spec.kubernetes of the Site; without a kubeconfig run in a Pod of the cluster"
        return Problem("BadKubeconfig", said, remedy=remedy)


def _config(kubeconfig: Path | None) -> KubeConfig:
    """A service account's token is read again when it has been renewed. Raises ConfigError, KeyError."""
    return KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account(ACCOUNT)
