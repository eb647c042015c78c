"""A site out of reach: `disconnect` cuts what it can reach at once, and finishes the rest when it is called again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.lab.lab import Lab
from isthmus.lab.traffic import matrix

from .steps import steady

pytestmark = pytest.mark.lab

CUT = ("disconnect", "tenant-a", "--site", "cluster", "--subnet", "a-jobs")


def isthmus(lab: Lab, *words: str, code: int = 0) -> dict[str, object]:
    done = lab.exec("operator", ["isthmus", *words, "--output", "json"])
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_a_subnet_is_cut_where_we_can_reach_and_the_rest_is_finished_later(two_sites: Lab) -> None:
    pairs = [("cluster-a-jobs-1", "cloud-a-web-1"), ("cluster-a-pods-1", "cloud-a-web-1")]
    isthmus(two_sites, "apply", "--wait", "programmed")
    steady(two_sites, pairs)

    two_sites.site("cluster").cut()
    found = isthmus(two_sites, *CUT, "--timeout", "20", code=1)
    assert found["transactions"] == 1, "the site in reach is cut, and nothing else is written"
    assert "cluster" in str(found["errors"])
    counted = matrix(two_sites, pairs, count=5)
    assert counted[pairs[0]].received == 0, "cut at the far end alone, although its own site is out of reach"
    assert counted[pairs[1]].received > 0, "the other subnet carries on"

    before = two_sites.snapshot("nb/cloud")
    again = isthmus(two_sites, *CUT, "--timeout", "20", code=1)
    assert again["transactions"] == 0
    assert two_sites.snapshot("nb/cloud") == before

    two_sites.site("cluster").heal()
    rest = isthmus(two_sites, *CUT, "--wait", "programmed")
    assert rest["transactions"] == 1, "only the site that was out of reach"
    assert isthmus(two_sites, "plan")["databases"] == []


def test_apply_leaves_an_interconnect_alone_that_names_a_site_out_of_reach(two_sites: Lab) -> None:
    isthmus(two_sites, "apply", "--wait", "programmed")
    config = Path(two_sites.environment("operator")["ISTHMUS_CONFIG"]) / "interconnects.yaml"
    text = config.read_text()
    two_sites.site("cluster").cut()
    config.write_text(text.replace("[a-web, a-db]", "[a-web]"))
    found = isthmus(two_sites, "apply", "--timeout", "20", code=1)
    assert found["transactions"] == 0
    config.write_text(text)
    two_sites.site("cluster").heal()
