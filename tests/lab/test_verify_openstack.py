"""verify, trace and explain where a real Neutron keeps the rows, security groups included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.backends.files import load
from isthmus.lab import proof, spec
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name

from .steps import isthmus

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("neutron.yaml")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(spec.load(str(FILE), name=unique_name())) as made:
        isthmus(made, "apply", "--timeout", "120")
        proof.settle(made, load(made.paths.config), 20)
        yield made


def admission(found: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(subnet, first peer, security group's name) -> what verify says."""
    return {
        (a["subnet"]["subnet"], a["peers"][0]["subnet"], a["securityGroups"][0]["name"]): a for a in found["admission"]
    }


def test_without_security_groups_nothing_new_comes_in_and_verify_names_the_missing_rule(lab: Lab) -> None:
    found = isthmus(lab, "verify")
    assert found["differences"] == []
    said = admission(found)
    closed = said["b-web", "b-pods", "default"]
    assert (closed["kind"], closed["difference"], closed["missing"]) == ("closed", False, ["IPv4", "IPv6"])
    assert closed["addressGroup"]["name"] == "isthmus-default.tenant-b.cloud.peers"
    assert not any(key[0].startswith("a-") and key[2] == "default" for key in said)
    assert "tcp 8000-8100" in said["a-web", "a-jobs", "web"]["passes"]
    text = lab.exec("operator", ["isthmus", "verify"], timeout=60).stdout
    assert "let in nothing new from cluster/b-jobs" in text
    assert "or write securityGroups: [default] in attachment cloud of interconnect tenant-b" in text


def test_packets_agree_where_security_groups_close(lab: Lab) -> None:
    found = isthmus(lab, "verify", "--live")
    assert found["differences"] == []
    answers = {(p["from"]["subnet"], p["to"]["subnet"]): p["packets"] for p in found["live"]["pairs"]}
    assert answers["b-web", "b-pods"] and not answers["b-pods", "b-db"] and answers["a-pods", "a-db"]
    assert not answers["a-private", "a-pods"]


def test_a_rule_of_ours_that_is_gone_from_the_rows_is_a_difference(lab: Lab) -> None:
    site = lab.site("cloud")
    group = site.cloud("a").network.find_security_group("default").id
    name = f"pg_{group.replace('-', '_')}"
    rules = json.loads(site.nbctl("--format=json", "--columns=_uuid,match", "list", "ACL"))["data"]
    (rule,) = (u[1] for u, match in rules if f"@{name} " in match and "$ag_" in match and "ip4" in match)
    site.nbctl("remove", "Port_Group", name, "acls", rule)
    found = isthmus(lab, "verify", code=1)
    assert found["differences"] == []
    worse = [a for a in found["admission"] if a["difference"]]
    assert {a["row"]["name"] for a in worse} == {name}
    assert "has no rule that lets in IPv4 from our address group" in worse[0]["reason"]


def test_a_trace_goes_by_project_and_port_and_explain_knows_neutrons_objects(lab: Lab) -> None:
    found = isthmus(lab, "trace", "cluster/cluster-b-pods-1", "cloud/b/cloud-b-web-1", code=1)["traces"][0]
    (branch,) = found["branches"]
    assert branch["row"]["maker"] == "Neutron: no security group rule lets it pass"
    assert "Neutron port cloud-b-web-1" in found["ends"][0]
    (back, _) = isthmus(lab, "trace", "cloud/b/cloud-b-web-1", "cluster/cluster-b-pods-1")["traces"]
    assert back["arrives"]
    about = isthmus(lab, "explain", "tenant-b/cloud")["object"]
    tables = {o["table"] for o in about["objects"]}
    assert tables == {"network", "subnet", "router_interface", "extra_route", "address_group"}
    (network,) = (o for o in about["objects"] if o["table"] == "network")
    (again,) = isthmus(lab, "explain", network["id"][:8])["object"]["objects"]
    assert again == network
