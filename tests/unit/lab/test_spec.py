"""Lab files: what is refused, and what is derived from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from isthmus.errors import IntentError
from isthmus.lab import documents, foreign, spec
from isthmus.lab.kinds import KINDS
from isthmus.lab.layout import layout

BUILT_IN = sorted(p.stem for p in spec.BUILTIN.glob("*.yaml"))


def minimal() -> dict[str, Any]:
    return {"name": "x", "sites": [{"name": "s", "hosts": [{"name": "h"}]}]}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_labs_are_valid_and_match_the_schema(name: str) -> None:
    spec.load(name)
    jsonschema.validate(yaml.safe_load(spec.find(name).read_text()), spec.schema())


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("tenants", [1, 2, 5, 30])
def test_names_ports_macs_and_addresses_are_unique(name: str, tenants: int) -> None:
    fixed = any(site.tenants for site in spec.load(name).sites)
    plan = layout(spec.load(name, tenants=None if fixed else tenants))
    machines = plan.machines
    for unique in ([m.name for m in machines], [m.mac for m in machines], [m.link for m in machines]):
        assert len(set(unique)) == len(unique)
    addresses = [n.address for n in plan.nodes.values()]
    assert len(set(addresses)) == len(addresses)
    added = [c for s in plan.sites for c in _added(foreign.commands(s))]
    assert len(set(added)) == len(added)


def _added(words: list[str]) -> list[str]:
    """Names of switch ports that the commands add."""
    return [words[i + 2] for i, word in enumerate(words) if word == "lsp-add"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_subnet_has_two_endpoints_on_different_hosts_and_every_site_a_host_beside_its_gateways(name: str) -> None:
    plan = layout(spec.load(name))
    for site in plan.sites:
        assert 1 <= len(site.site.gateways) < len(site.site.hosts)
        for subnet in site.subnets:
            assert len({m.host for m in subnet.machines}) == 2


def test_a_machine_has_a_default_route_for_each_version_that_it_has_an_address_of() -> None:
    endpoints = [{"host": "h"}, {"host": "h", "addresses": ["10.0.0.9"]}, {"host": "h", "addresses": ["fd00::9"]}]
    lab = minimal()
    lab["sites"][0]["switches"] = [{"name": "w", "cidrs": ["10.0.0.0/24", "fd00::/64"], "endpoints": endpoints}]
    found = [[str(g) for g in m.gateways] for m in layout(spec.parse(lab)).machines]
    assert found == [["10.0.0.1", "fd00::1"], ["10.0.0.1"], ["fd00::1"]]


def test_every_type_of_site_has_a_kind() -> None:
    types = spec.Site.model_fields["type"].annotation
    assert set(types.__args__) == set(KINDS)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"surprise": 1}, "Extra inputs"),
        ({"sites": []}, "at least 1"),
        ({"sites": [{"name": "s", "hosts": [{"name": "s"}]}]}, "also used by"),
        ({"sites": [{"name": "operator", "hosts": [{"name": "h"}]}]}, "the lab itself"),
        ({"sites": [{"name": "s", "hosts": [{"name": "h"}], "type": "mainframe"}]}, "Input should be 'ovn'"),
        ({"sites": [{"name": "s", "hosts": [{"name": "h"}], "switches": [{"name": "w", "router": "r"}]}]}, "no router"),
        (
            {
                "sites": [
                    {
                        "name": "s",
                        "hosts": [{"name": "h"}],
                        "switches": [{"name": "w", "cidrs": ["10.0.0.0/24"], "endpoints": [{"host": "nowhere"}]}],
                    }
                ]
            },
            "no host 'nowhere'",
        ),
        ({"sites": [{"name": "s", "hosts": [{"name": "h"}], "inCluster": True}]}, "only a cluster has Pods"),
        ({"name": "Ünfit"}, "should match pattern"),
    ],
)
def test_a_wrong_lab_file_is_refused_with_the_reason(change: dict[str, Any], says: str) -> None:
    with pytest.raises(IntentError, match=says) as caught:
        spec.parse(minimal() | change, "file.yaml")
    assert all(p.file == "file.yaml" and p.remedy for p in caught.value.problems)


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(IntentError) as caught:
        spec.parse(minimal() | {"one": 1, "two": 2})
    assert len(caught.value.problems) == 2


def test_two_endpoints_of_one_name_are_refused() -> None:
    endpoints = [{"host": "h", "name": "same"}, {"host": "h", "name": "same"}]
    site = {
        "name": "s",
        "hosts": [{"name": "h"}],
        "switches": [{"name": "w", "cidrs": ["10.0.0.0/24"], "endpoints": endpoints}],
    }
    with pytest.raises(IntentError, match="two things are called 'same'"):
        layout(spec.parse({"name": "x", "sites": [site]}))


def test_an_unknown_lab_names_the_built_in_ones() -> None:
    with pytest.raises(IntentError, match="three-sites, two-sites"):
        spec.load("four-sites")


def test_what_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("{")
    with pytest.raises(IntentError, match="while parsing"):
        spec.load(str(path))
    path.write_text("- a list")
    with pytest.raises(IntentError, match="not a mapping"):
        spec.load(str(path))


def test_documents_list_every_tenants_listed_subnets() -> None:
    written = documents.interconnects(layout(spec.load("two-sites", tenants=3)))
    assert [d["metadata"]["name"] for d in written] == ["tenant-a", "tenant-b", "tenant-c"]
    assert written[2]["spec"]["attachments"] == [
        {"site": "cloud", "vpc": {"name": "c"}, "subnets": ["c-web", "c-db"]},
        {"site": "cluster", "vpc": {"name": "c"}, "subnets": ["c-pods", "c-jobs"]},
    ]


def test_a_cluster_can_belong_to_one_tenant() -> None:
    document = yaml.safe_load(spec.find("three-sites").read_text())
    document["sites"][1]["tenants"], document["sites"][2]["tenants"] = ["a"], ["b"]
    plan = layout(spec.parse(document))
    assert {(m.site, m.tenant) for m in plan.machines} == {
        ("cloud", "a"),
        ("cloud", "b"),
        ("east", "a"),
        ("west", "b"),
    }
    attached = [[a["site"] for a in d["spec"]["attachments"]] for d in documents.interconnects(plan)]
    assert attached == [["cloud", "east"], ["cloud", "west"]]
    document["sites"][1]["tenants"] = ["nobody"]
    with pytest.raises(IntentError, match="no tenant nobody"):
        spec.parse(document)
