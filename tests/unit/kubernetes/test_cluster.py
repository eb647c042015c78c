"""How a cluster is reached. `tests/lab/test_install.py` reaches one from a Pod of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.backends.kubernetes import connect
from isthmus.backends.kubernetes.cluster import Cluster


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service account's folder, as a Pod has it."""
    for name, text in {"token": "old", "namespace": "isthmus", "ca.crt": ""}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(connect, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    return tmp_path


def test_without_a_kubeconfig_it_is_the_service_account_of_the_pod(account: Path) -> None:
    config = connect._config(None).get()
    assert config is not None
    assert config.cluster.server == "https://[fd00::1]:6443"
    assert config.cluster.certificate_auth == str(account / "ca.crt")
    assert config.user is not None and config.user.token_file == str(account / "token")


@pytest.mark.parametrize("missing", ["token", "KUBERNETES_SERVICE_HOST"])
def test_outside_of_a_pod_it_says_what_is_missing(account: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    (account / missing).unlink(missing_ok=True)
    monkeypatch.delenv(missing, raising=False)
    found = Cluster(None, "", lambda: None)
    found.start()
    assert found.trouble is not None
    assert found.trouble.code == "BadKubeconfig"
    assert "service account" in found.trouble.message and missing in found.trouble.message
    assert found.trouble.remedy
