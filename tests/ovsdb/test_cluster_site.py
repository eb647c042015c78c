"""A cluster whose API server is away: it is needed for Subnets that Attachments define, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment import Deployment, attach
from isthmus.lab.kubernetes.cluster import kubeconfig

WEST = attach("west", "a", "pods")
NOBODY = "https://127.0.0.1:9"


@pytest.fixture
def cluster(pair: Deployment, tmp_path: Path) -> Deployment:
    """The east is a cluster; nobody listens where its API server should be."""
    (tmp_path / "kubeconfig").write_text(kubeconfig([("east", NOBODY, {}, {"token": "t"})]), encoding="utf-8")
    pair.site_specs["east"] |= {"type": "kubernetes", "kubernetes": {"kubeconfig": str(tmp_path / "kubeconfig")}}
    return pair


def test_what_defines_nothing_there_does_not_need_it(cluster: Deployment) -> None:
    cluster.join("t", attach("east", "a", "web"), WEST)
    cluster.apply()
    assert cluster.apply()["transactions"] == 0
    code, found = cluster.run("status")
    assert (code, [e["code"] for e in found["errors"]]) == (1, ["Unreachable"])
    assert {o["name"] for o in found["objects"]} >= {"east", "t"}
    assert cluster.run("disconnect", "t", "--timeout", "8")[0] == 0


def test_what_defines_a_subnet_says_why_it_is_not_there_and_harms_nobody(cluster: Deployment) -> None:
    cluster.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    cluster.sites["east"].router("b", theirs="10.9.0.1/24")
    cluster.sites["west"].router("b", theirs="10.8.0.1/24")
    cluster.join("other", attach("east", "b", "theirs"), attach("west", "b", "theirs"))
    code, found = cluster.run("apply", "--wait", "programmed", "--timeout", "8")
    assert code == 1
    (error,) = found["errors"]
    assert (error["code"], "Subnet" in error["message"] or "subnets" in error["message"]) == ("Unreachable", True)
    states = {o["name"]: {c["type"]: c["status"] for c in o["conditions"]} for o in found["objects"]}
    assert (states["other"]["Programmed"], states["t"]["Programmed"]) == ("True", "False")
    assert "nb/east" in cluster.snapshot()


def test_whoever_is_cut_is_told_that_her_subnet_may_be_left(cluster: Deployment) -> None:
    """The rest is gone; and a second time nobody says that all of it is."""
    cluster.join("t", attach("east", "a", "web", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    cluster.run("apply", "--wait", "none")
    for _ in range(2):
        code, found = cluster.run("disconnect", "t", "--timeout", "8")
        assert code == 1
        assert "Unreachable" in [e["code"] for e in found["errors"]], found


@pytest.mark.parametrize("text", ["", "[", "- a\n", "kind: Config\n"])
def test_a_kubeconfig_that_is_none_stops_no_more_than_that(cluster: Deployment, text: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(text, encoding="utf-8")
    cluster.join("t", attach("east", "a", "web"), WEST)
    cluster.apply()
    cluster.join("t", attach("east", "a", {"name": "new", "cidr": "10.5.0.0/24"}), WEST)
    code, found = cluster.run("apply", "--wait", "programmed", "--timeout", "8")
    assert (code, [e["code"] for e in found["errors"]]) == (1, ["BadKubeconfig"])
