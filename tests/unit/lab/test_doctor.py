"""What a machine lacks for a lab, where the kernel says how much there is of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.lab import doctor
from isthmus.lab.spec import LabFile, parse


def clusters(number: int) -> LabFile:
    hosts = ("a", "b")
    sites = [
        {"name": f"s{n}", "type": "kubernetes", "hosts": [{"name": f"s{n}-{host}"} for host in hosts]}
        for n in range(number)
    ]
    return parse({"name": "lab", "sites": sites})


def watches(file: LabFile | None) -> doctor.Check:
    (found,) = (check for check in doctor.examine(file) if check.name == "inotify instances")
    return found


def test_more_clusters_than_the_kernel_lets_watch_files_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = int(watches(None).found.split()[0])
    limit = tmp_path / "limit"
    monkeypatch.setattr(doctor, "WATCHES_LIMIT", limit)
    limit.write_text(f"{used + 1000}\n")
    assert watches(clusters(2)).ok
    limit.write_text("20\n")
    refused = watches(clusters(2))
    assert not refused.ok and refused.remedy.startswith("sysctl -w fs.inotify.max_user_instances=")
    assert "40 needed" in refused.found
    assert int(refused.remedy.rpartition("=")[2]) > 40
