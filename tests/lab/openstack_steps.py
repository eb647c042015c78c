"""What tests of an OpenStack do over and over: a cloud and a cluster, tenants joined, Neutron's own tools run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pytest import MonkeyPatch

from isthmus.agent.namespaces import inside
from isthmus.backends.openstack.api import Api
from isthmus.backends.openstack.listing import fetch
from isthmus.lab import spec
from isthmus.lab.lab import Lab
from isthmus.lab.openstack import clouds, environment, neutron
from isthmus.lab.pytest_plugin import unique_name
from unixes import look, until

from .neutron_listing import listing
from .steps import attach, isthmus, write_interconnects

FILE = Path(__file__).with_name("cloud-and-cluster.yaml")

EXTERNAL = {
    "name": "ext",
    "cidrs": ["203.0.113.0/24"],
    "external": True,
    "endpoints": [{"name": "neighbour", "host": "cloud-2", "addresses": ["203.0.113.1"], "gateway": False}],
}
"""A provider network beside the tenants' own, with somebody on it."""

Document = list[dict[str, Any]]


def cloud(project: str, *subnets: Any, **more: Any) -> dict[str, Any]:
    return {"site": "cloud", "vpc": {"project": project, "name": project}, "subnets": list(subnets), **more}


A: Document = [cloud("a", "a-web", "a-db", securityGroups=["default"]), attach("cluster", "a", "a-pods", "a-jobs")]
B: Document = [cloud("b", "b-web", "b-db"), attach("cluster", "b", "b-pods", "b-jobs")]

OF_A = [("cloud-a-web-1", "cluster-a-pods-2"), ("cluster-a-pods-2", "cloud-a-web-1")]
OF_B = [("cloud-b-web-1", "cluster-b-pods-2")]
"""`b` lets nobody in by its security groups."""


def use_line(file: dict[str, Any], line: str) -> None:
    """Have the first site of a lab file run that line of Neutron; 27 has no options for BFD."""
    file["sites"][0] |= {"openstack": {"nova": False, "neutron": line}, "bfd": line != "27"}


def cloud_and_cluster(line: str = "") -> Lab:
    """A cloud with an external network, and a cluster, not joined. `line`: of Neutron's releases."""
    file = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    if line:
        use_line(file, line)
    file["sites"][0]["switches"] = [EXTERNAL]
    return Lab.up(spec.parse(file, name=unique_name()))


def join(lab: Lab, **more: Document) -> dict[str, Any]:
    """Apply the two tenants' documents and no others."""
    write_interconnects(lab, {f"tenant-{name}": found for name, found in {"a": A, "b": B, **more}.items()})
    return isthmus(lab, "apply", "--prune")


def sync(lab: Lab, mode: str) -> str:
    """Run `neutron-ovn-db-sync-util` where Neutron runs; what it said."""
    line = lab.site("cloud").layout.site.cloud.neutron
    tool = environment.path(line) / "bin" / "neutron-ovn-db-sync-util"
    done = lab.exec("cloud", [str(tool), *neutron.OPTIONS, "--ovn-neutron_sync_mode", mode], timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "DB sync completed" in said, said
    return said


def everything(lab: Lab) -> tuple[Any, ...]:
    """All rows that configure the cloud, ours and others', and all objects in Neutron."""
    return stable(look(lab, "nb/cloud")["nb/cloud"]), listing(lab)


def stable(tables: Any) -> dict[str, Any]:
    """Rows without what only tells how far a change has come."""
    return {table: rows for table, rows in tables.items() if table not in ("NB_Global", "Connection")}


def answers(lab: Lab) -> None:
    """Wait until the Networking API gives an answer."""
    admin = lab.site("cloud").cloud("admin").network

    def asked() -> bool:
        return bool(admin.get("/networks", raise_exc=False).status_code == 200)

    until("Neutron answers", asked, within=60)


def reasons(lab: Lab, name: str) -> dict[str, str]:
    """Condition -> its status and reason, of one Interconnect as `status` tells it."""
    found = {o["name"]: o["conditions"] for o in isthmus(lab, "status")["objects"]}
    return {c["type"]: f"{c['status']} {c['reason']}: {c['message']}" for c in found[name]}


def rules_are_asked_for_where_a_group_has_changed(lab: Lab, monkeypatch: MonkeyPatch) -> None:
    """Listing after listing, of a tenant whose default group has rules of ours: one that goes is missed at once."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds.file(lab.paths)))
    api, member = Api("cloud"), lab.site("cloud").cloud("a").network
    listings = []

    def calls() -> int:
        before = api.calls
        with inside(lab.state.path("operator")):
            listings.append(fetch(api, "default", listings[-1] if listings else None))
        return api.calls - before

    def rules() -> set[str]:
        return set(listings[-1].tables["security_group_rule"])

    whole = calls()
    ours = rules()
    assert ours and calls() == whole - 1 and rules() == ours
    rule = member.get(f"/security-group-rules/{min(ours)}").json()["security_group_rule"]
    lab.site("cloud").cloud("isthmus").network.delete_security_group_rule(rule["id"], ignore_missing=False)
    assert calls() == whole
    assert rules() == ours - {rule["id"]}
    assert calls() == whole - 1 and rules() == ours - {rule["id"]}
    words = ("security_group_id", "direction", "ethertype", "remote_address_group_id")
    again = member.post("/security-group-rules", json={"security_group_rule": {word: rule[word] for word in words}})
    assert calls() == whole and rules() == ours - {rule["id"]} | {again.json()["security_group_rule"]["id"]}
    assert calls() == whole - 1
    member.delete_security_group_rule(again.json()["security_group_rule"]["id"], ignore_missing=False)
    isthmus(lab, "apply")
    assert calls() == whole and len(rules()) == len(ours)
