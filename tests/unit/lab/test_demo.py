"""What a demo expects, compares and draws; `tests/lab/test_demo.py` plays it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from ipaddress import ip_address

import pytest
import yaml

from isthmus.api import assemble, parse
from isthmus.cli import demo as verb
from isthmus.errors import IntentError
from isthmus.lab import documents, spec
from isthmus.lab.demo import comparable, differences
from isthmus.lab.layout import Layout, Machine, layout
from isthmus.lab.picture import grid, topology
from isthmus.lab.proof import Check, Proof, address, crossing, wanted
from isthmus.lab.scenarios import DEFAULT, SCENARIOS, find
from isthmus.model.intent import Configuration, Origin

LAB = layout(spec.load("two-sites"))
MACHINES = {m.name: m for m in LAB.machines}


def intent(found: Layout = LAB, **changed: object) -> Configuration:
    """What the lab's own documents say, with fields of tenant-a's attachment of the cloud replaced."""
    written = [*documents.fabric(found), *documents.interconnects(found)]
    attachment = next(d for d in written if d["metadata"]["name"] == "tenant-a")["spec"]["attachments"][0]
    attachment |= changed
    texts = yaml.safe_load_all(yaml.safe_dump_all(written))
    return assemble([parse(value, Origin("x", n), spec.BUILTIN) for n, value in enumerate(texts)]).configuration


def asked(configuration: Configuration, source: str, target: str) -> bool:
    return wanted(configuration, MACHINES[source], MACHINES[target])


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("cloud-a-web-1", "cluster-a-pods-1", True),
        ("cluster-a-pods-1", "cloud-a-web-1", True),
        ("cloud-a-web-1", "cloud-a-db-1", True),
        ("cloud-a-web-1", "cloud-a-web-2", True),
        ("cloud-a-web-1", "cluster-b-pods-1", False),
        ("cloud-a-web-1", "cloud-b-web-2", False),
    ],
)
def test_the_documents_say_who_reaches_whom(source: str, target: str, expected: bool) -> None:
    assert asked(intent(), source, target) is expected


def test_what_the_documents_no_longer_list_is_expected_to_be_closed_but_for_its_own_router() -> None:
    after = intent(subnets=["a-web"])
    assert not asked(after, "cloud-a-db-1", "cluster-a-pods-1") and not asked(after, "cluster-a-pods-1", "cloud-a-db-1")
    assert asked(after, "cloud-a-db-1", "cloud-a-web-1") and asked(after, "cloud-a-web-1", "cluster-a-pods-1")


def test_a_star_lists_all_but_its_exceptions() -> None:
    after = intent(subnets=["*"], **{"except": ["a-db"]})
    assert asked(after, "cloud-a-web-1", "cluster-a-pods-1") and not asked(after, "cloud-a-db-1", "cluster-a-pods-1")


def test_streams_cross_sites_only_and_stand_for_every_pair_of_subnets() -> None:
    found = crossing(intent(), LAB.machines)
    assert len(found) == len(set(found)) == 16
    assert all(MACHINES[a].site != MACHINES[b].site and MACHINES[a].tenant == MACHINES[b].tenant for a, b in found)


def check(source: Machine, target: Machine, *, expected: bool, received: int, sent: int = 3) -> Check:
    return Check("joined", source, target, "udp", expected, sent, received)


def test_a_check_differs_when_packets_do_or_when_none_was_sent() -> None:
    one, other = MACHINES["cloud-a-web-1"], MACHINES["cluster-a-pods-1"]
    assert not check(one, other, expected=True, received=1).differs
    assert check(one, other, expected=True, received=0).differs
    assert check(one, other, expected=False, received=1).differs
    assert check(one, other, expected=False, received=0, sent=0).differs


def test_a_machine_stands_by_its_ipv4_address() -> None:
    one = MACHINES["cloud-a-web-1"]
    assert address(one) == "10.1.1.11"
    six = replace(one, addresses=tuple(a for a in one.addresses if a.version == 6))
    assert ip_address(address(six)).version == 6


def test_the_matrix_marks_what_is_open_closed_cut_and_wrong() -> None:
    web, db, pods = (MACHINES[n] for n in ("cloud-a-web-1", "cloud-a-db-1", "cluster-a-pods-1"))
    before = Proof("joined", (check(db, pods, expected=True, received=3),), (), ())
    checks = (
        check(web, pods, expected=True, received=3),
        check(db, pods, expected=False, received=0),
        check(pods, web, expected=True, received=0),
        check(pods, db, expected=False, received=0),
    )
    text = "\n".join(grid(Proof("disconnected", checks, (), ()), before))
    rows = {line.split()[1]: line.split()[2:] for line in text.splitlines() if "/" in line}
    assert rows == {"cloud/a-db": ["○"], "cloud/a-web": ["●"], "cluster/a-pods": ["·", "✗"]}


def test_the_drawing_names_every_subnet_of_the_documents() -> None:
    lines = list(topology(LAB, intent(subnets=["a-web"])))
    assert sum("edge" in line for line in lines) == 4
    text = "\n".join(lines)
    assert "a-db" not in text and all(f"{t}-pods" in text and f"{t}-jobs" in text for t in "ab")
    assert "fd00:1:1::/64" in text


def row(**columns: object) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    return {"nb/x": {"Logical_Router": {"u": {"_version": 1, "nb_cfg": 3, "ports": ["set", ["b", "a"]], **columns}}}}


def test_rows_are_compared_without_counters_and_order() -> None:
    before = comparable(row(name="r"))
    assert differences(before, comparable(row(name="r", _version=2, nb_cfg=9, ports=["set", ["a", "b"]]))) == []
    assert differences(before, comparable(row(name="other"))) == ["nb/x Logical_Router u: name"]
    assert differences(before, {}) == ["nb/x Logical_Router u is gone"]
    assert differences({}, before) == ["nb/x Logical_Router u is new: r"]


def test_the_claim_alone_is_no_difference() -> None:
    def hub(*items: list[str]) -> dict[str, object]:
        return comparable({"ic-nb": {"IC_NB_Global": {"u": {"external_ids": ["map", list(items)]}}}})

    assert differences({}, hub(["isthmus:claim:default", "1"])) == []
    assert differences({}, hub(["other", "1"])) != []


def test_scenarios_are_found_by_name_and_help_tells_them() -> None:
    assert find(DEFAULT).name == DEFAULT
    with pytest.raises(IntentError, match="two-sites, three-sites"):
        find("nowhere")
    parser = argparse.ArgumentParser()
    verb.configure(parser)
    # Lines are broken behind hyphens, too.
    said = "".join(parser.format_help().split())
    assert all(name in said for name in SCENARIOS)
