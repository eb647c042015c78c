"""What tests of packets do over and over: run the operator's command, change her documents, know the open pairs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from isthmus.lab import bfd, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine
from isthmus.lab.traffic import Pair

API = "isthmus.dev/v1alpha1"
TIMEOUT = 75.0
"""Seconds that a command of the operator may take in a test: longer than its own 60, so that it says why."""


def isthmus(lab: Lab, *words: str, code: int = 0) -> dict[str, Any]:
    """Run `isthmus WORDS… --output json` as the operator; the object it prints."""
    done = lab.exec("operator", ["isthmus", *words, "--output", "json"], timeout=TIMEOUT)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def apply(lab: Lab) -> dict[str, Any]:
    return isthmus(lab, "apply", "--wait", "programmed")


def config(lab: Lab, name: str) -> Path:
    return Path(lab.environment("operator")["ISTHMUS_CONFIG"]) / name


def edit(lab: Lab, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Call `change` on every document of a file of the operator."""
    path = config(lab, name)
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for document in documents:
        change(document)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")


def set_site(lab: Lab, site: str, **spec: Any) -> None:
    """Set fields of a Site document; None takes one out."""

    def change(document: dict[str, Any]) -> None:
        if (document["kind"], document["metadata"]["name"]) == ("Site", site):
            document["spec"].update({k: v for k, v in spec.items() if v is not None})
            for key in (k for k, v in spec.items() if v is None):
                document["spec"].pop(key, None)

    edit(lab, "fabric.yaml", change)


def write_interconnects(lab: Lab, wanted: dict[str, list[dict[str, Any]]], file: str = "interconnects.yaml") -> None:
    """Make these the only Interconnects of that file: name -> attachments."""
    documents = [
        {
            "apiVersion": API,
            "kind": "Interconnect",
            "metadata": {"name": name},
            "spec": {"attachments": attachments},
        }
        for name, attachments in wanted.items()
    ]
    config(lab, file).write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")


def attach(site: str, vpc: str, *subnets: str, **more: Any) -> dict[str, Any]:
    """An Attachment."""
    return {"site": site, "vpc": vpc, "subnets": list(subnets), **more}


def same_tenant(lab: Lab, pairs: Iterable[Pair], among: Callable[[Machine], bool] = lambda _: True) -> set[Pair]:
    """Pairs of one tenant's machines of which `among` holds for both."""
    by_name = {m.name: m for m in lab.machines}
    return {
        (a, b) for a, b in pairs if by_name[a].tenant == by_name[b].tenant and among(by_name[a]) and among(by_name[b])
    }


def warm(lab: Lab, pairs: Collection[Pair], version: int = 4, seconds: float = 10.0) -> None:
    """Send until every one of the pairs got a packet: the first ones resolve neighbours."""
    left, deadline = set(pairs), time.monotonic() + seconds
    while left:
        assert time.monotonic() < deadline, f"no packet in {seconds} s: {sorted(left)[:10]}"
        left -= traffic.matrix(lab, sorted(left), count=2, version=version).open


def steady(lab: Lab, pairs: Collection[Pair], version: int = 4) -> None:
    """`warm`, and OVN's watch over the tunnels is up: from here on a lost packet is somebody's fault."""
    warm(lab, pairs, version)
    bfd.settle(lab)
