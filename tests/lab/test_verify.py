"""verify, trace, explain and show on two real OVN deployments; every mutation found by rows, every leak by packets."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from isthmus.backends.files import load
from isthmus.controller.survey import expectation, survey
from isthmus.lab import rpc, spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.packets import Mark, frame
from isthmus.lab.pytest_plugin import LabFactory, unique_name
from isthmus.lab.traffic import Ears, Wire
from isthmus.model.intent import Configuration, Endpoint
from isthmus.verify.compare import Difference, differences
from isthmus.verify.reach import World
from mutations import Cast, End, Mutation, mutations, nbctl
from northd import decoded
from undo import undo

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("unlisted.yaml")
OWNER = "default"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two tenants, joined; a subnet per site and tenant is not listed."""
    with Lab.up(spec.load(str(FILE), name=unique_name())) as made:
        isthmus(made, "apply")
        yield made


def isthmus(lab: Lab, *words: str, code: int = 0) -> dict[str, Any]:
    done = lab.exec("operator", ["isthmus", *words, "--output", "json"], timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def text(lab: Lab, *words: str, code: int = 0) -> str:
    done = lab.exec("operator", ["isthmus", *words], timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


# -- verify ---------------------------------------------------------------------------------------------------------


def test_after_apply_there_are_no_differences(lab: Lab) -> None:
    found = isthmus(lab, "verify")
    assert found == {"pairs": 108, "differences": [], "pods": 0, "faults": [], "admission": []}
    assert "108 pairs of subnets, 0 differences" in text(lab, "verify")


def test_packets_agree_and_the_output_says_which_pairs_they_covered(lab: Lab) -> None:
    found = isthmus(lab, "verify", "--live")
    assert found["differences"] == []
    assert found["live"]["by"] == f"lab {lab.name}"
    answers = {(p["from"]["subnet"], p["to"]["subnet"]): p["packets"] for p in found["live"]["pairs"]}
    assert answers["a-web", "a-pods"] and not answers["a-web", "b-pods"] and not answers["a-private", "a-pods"]
    assert sum(answers.values()) == 16
    assert "from cloud/a-web: arrive at cluster/a-jobs, cluster/a-pods; do not arrive" in text(lab, "verify", "--live")


def test_outside_of_a_lab_the_agents_answer_for_the_pairs_that_they_cover(lab_factory: LabFactory) -> None:
    lab = lab_factory("two-sites", tenants=1, agents=True)
    isthmus(lab, "apply", "--wait", "ready")
    done = lab.exec("operator", ["env", "-u", "ISTHMUS_LAB", "isthmus", "verify", "--live", "--output", "json"])
    found = json.loads(done.stdout)
    assert (done.returncode, found["differences"], found["live"]["by"]) == (0, [], "agents"), done.stderr
    covered = {(p["from"]["subnet"], p["to"]["subnet"]): p["packets"] for p in found["live"]["pairs"]}
    here, there = ("a-web", "a-db"), ("a-pods", "a-jobs")
    assert covered == {pair: True for a in here for b in there for pair in ((a, b), (b, a))}


def test_drift_is_found_and_named(lab: Lab) -> None:
    site = lab.site("cloud")
    site.nbctl("--wait=hv", "lr-route-del", "a", "10.2.1.0/24")
    assert isthmus(lab, "plan", "--exit-code", code=3)["databases"]
    found = isthmus(lab, "verify", "--live", code=1)["differences"]
    named = [(d["from"]["subnet"], d["to"]["subnet"], d["row"]["table"], d["row"]["name"]) for d in found]
    assert named == [("a-db", "a-pods", "Logical_Router", "a"), ("a-web", "a-pods", "Logical_Router", "a")]
    assert not any(d["packets"] for d in found)
    assert "has no route to 10.2.1." in text(lab, "verify", code=1)
    isthmus(lab, "apply")
    assert isthmus(lab, "verify")["differences"] == []


def test_a_site_out_of_reach_is_said_and_the_rest_is_verified(lab: Lab) -> None:
    lab.site("cluster").cut()
    try:
        found = isthmus(lab, "verify", "--timeout", "2", code=1)
        shown = text(lab, "show", "--timeout", "2", code=1)
    finally:
        lab.site("cluster").heal()
    assert "cluster" in str(found["errors"])
    assert (found["pairs"], found["differences"]) == (18, [])
    assert "cluster: out of reach" in shown


def test_with_agents_a_site_out_of_reach_is_said_and_the_others_are_verified(lab_factory: LabFactory) -> None:
    lab = lab_factory("three-sites", tenants=1, agents=True)
    isthmus(lab, "apply", "--wait", "ready")
    lab.site("west").cut()
    for words in (("verify",), ("verify", "--live"), ("explain", "tenant-a")):
        found = isthmus(lab, *words, "--timeout", "2", code=1)
        assert "west" in str(found["errors"])
        assert found.get("differences", []) == [] == found.get("object", {}).get("needs", [])
    assert found["object"]["rows"]


# -- trace, explain, show -------------------------------------------------------------------------------------------


def test_a_trace_crosses_both_zones_by_the_names_of_endpoints(lab: Lab) -> None:
    traces = isthmus(lab, "trace", "cloud/cloud-a-web-1", "cluster/cluster-a-pods-1")["traces"]
    assert [t["packet"] for t in traces] == ["icmp 10.1.1.11 > 10.2.1.11", "icmp fd00:1:1::b > fd00:2:1::b"]
    for trace in traces:
        (branch,) = trace["branches"]
        assert [h["site"] for h in branch["hops"]] == ["cloud"] * 5 + ["cluster"] * 4
        assert (branch["end"], branch["lsp"]) == ("delivered", "cluster-a-pods-1")
    drawn = text(lab, "trace", "cloud/cloud-a-web-1", "cluster/cluster-a-pods-1")
    assert "╪═ over the tunnel from cloud to cluster" in drawn


def test_a_trace_that_ends_in_a_drop_names_the_row(lab: Lab) -> None:
    found = isthmus(lab, "trace", "cloud/cloud-a-private-1", "10.2.1.11", code=1)
    (branch,) = found["traces"][0]["branches"]
    assert branch["end"] == "dropped"
    assert branch["row"]["table"] == "Logical_Router_Policy"
    assert branch["row"]["key"] == "tenant-a/cloud/vpc/policy/4/drop"


def test_a_trace_to_another_tenants_port_ends_elsewhere_and_says_so(lab: Lab) -> None:
    drawn = text(lab, "trace", "cloud/cloud-a-web-1", "cluster/cluster-b-pods-1", code=1)
    assert "that is not cluster/cluster-b-pods-1" in drawn


def test_a_trace_from_what_is_not_there_is_an_error(lab: Lab) -> None:
    port = "cloud/cloud-a-web-1"
    for source, target, said in (
        ("cloud/nobody", "10.2.1.11", "UnknownPort"),
        ("nowhere/cloud-a-web-1", "10.2.1.11", "UnknownSite"),
        (port, "nowhere/x", "UnknownSite"),
        (port, "10.2.1", "BadAddress"),
    ):
        assert isthmus(lab, "trace", source, target, code=2)["errors"][0]["code"] == said


def test_explain_says_what_put_a_row_there(lab: Lab) -> None:
    rows = lab.snapshot("nb/cloud")["nb/cloud"]["Logical_Router_Static_Route"]
    uuid = next(u for u, r in rows.items() if r["ip_prefix"] == "10.2.1.0/24")
    (row,) = isthmus(lab, "explain", uuid[:8])["rows"]
    assert row["interconnect"] in ("tenant-a", "tenant-b")
    assert "spec.attachments[cloud]" in row["why"]
    assert {p["column"] for p in row["parents"]} == {"static_routes"}
    assert "foreign" in isthmus(lab, "explain", "a-web")["rows"][0]["why"]


def test_explain_lists_the_rows_of_an_interconnect_and_what_it_lacks(lab: Lab) -> None:
    found = isthmus(lab, "explain", "tenant-a")["object"]
    assert {r["database"] for r in found["rows"]} == {"nb/cloud", "nb/cluster", "ic-nb"}
    assert found["needs"] == []
    before = rpc.snapshot(*lab.databases()["nb/cloud"])
    lab.site("cloud").nbctl("lr-route-del", "a", "10.2.1.0/24")
    needs = isthmus(lab, "explain", "tenant-a/cloud")["object"]["needs"]
    restore(lab, "cloud", before)
    assert [(n["op"], n["key"]) for n in needs] == [("add", "tenant-a/cloud/vpc/route/10.2.1.0/24")]
    assert isthmus(lab, "explain", "nothing", code=2)["errors"][0]["code"] == "UnknownName"


def test_show_of_what_is_not_there_is_an_error_that_names_what_was_meant(lab: Lab) -> None:
    (error,) = isthmus(lab, "show", "tenant-aa", code=2)["errors"]
    assert (error["code"], error["remedy"]) == ("UnknownInterconnect", "did you mean tenant-a?")


def test_show_draws_what_is_joined(lab: Lab) -> None:
    shown = {i["name"]: i for i in isthmus(lab, "show")["interconnects"]}
    assert set(shown) == {"tenant-a", "tenant-b"}
    cloud, cluster = shown["tenant-a"]["attachments"]
    assert {s["name"]: s["prefixes"] for s in cloud["subnets"]} == {
        "a-db": ["10.1.2.0/24"],
        "a-web": ["10.1.1.0/24", "fd00:1:1::/64"],
    }
    assert [g["active"] for g in cluster["gateways"]] == [True, False]
    drawn = text(lab, "show", "tenant-a")
    assert "router a" in drawn and "169.254.128." in drawn and f"{cluster['gateways'][0]['chassis']}*" in drawn
    assert "tenant-b" not in drawn


# -- the document -----------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "verify.md"


def examples() -> list[tuple[str, list[str]]]:
    """Commands of `console` blocks, each with the lines that the page shows of its output."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def test_the_examples_of_the_document_are_true(lab: Lab) -> None:
    before = rpc.snapshot(*lab.databases()["nb/cloud"])
    assert len(examples()) >= 8
    for command, shown in examples():
        words = shlex.split(command)
        done = lab.exec("operator" if words[0] == "isthmus" else "cloud", words, timeout=60)
        assert done.returncode in (0, 1) and not done.stderr, done.stderr
        for line in shown:
            pattern = ".*".join(map(re.escape, line.split("…")))
            assert re.search(rf"^{pattern}$", done.stdout, re.MULTILINE), f"{command}: {line}\n{done.stdout}"
    restore(lab, "cloud", before)
    assert isthmus(lab, "verify")["differences"] == []


# -- mutations --------------------------------------------------------------------------------------------------------


def documents(lab: Lab) -> Configuration:
    """The operator's, by unix sockets: so that `verify` runs in this process."""
    found = load(lab.environment("operator")["ISTHMUS_CONFIG"])
    sites = tuple(
        replace(
            s,
            northbound=Endpoint((f"unix:{lab.site(s.name).nb_unix}",)),
            southbound=Endpoint((f"unix:{lab.site(s.name).sb_unix}",)),
        )
        for s in found.sites
    )
    fabrics = tuple(
        replace(
            f,
            northbound=Endpoint((f"unix:{lab.fabric.nb_unix}",)),
            southbound=Endpoint((f"unix:{lab.fabric.sb_unix}",)),
        )
        for f in found.fabrics
    )
    return replace(found, sites=sites, fabrics=fabrics)


def judged(configuration: Configuration) -> tuple[Difference, ...]:
    """What `isthmus verify` says, from rows and documents alone."""
    rows, wanted = asyncio.run(survey(configuration, 10))
    assert not rows.problems
    return differences(World(rows.sites), expectation(configuration, wanted, rows.sites))


def end(tenant: str, site: str) -> End:
    subnets = {"cloud": ("web", "db", "private", 1), "cluster": ("pods", "jobs", "misc", 2)}
    first, second, unlisted, number = subnets[site]
    return End(
        site=site,
        attachment=site,
        vpc=tenant,
        subnet=f"{tenant}-{first}",
        prefix=f"10.{number}.1.0/24",
        door=f"{tenant}-{tenant}-{first}",
        second=f"{tenant}-{second}",
        second_prefix=f"10.{number}.2.0/24",
        unlisted=f"{tenant}-{unlisted}",
        mine=lambda what: f"isthmus-{OWNER}.tenant-{tenant}.{site}.{what}",
    )


def cast(lab: Lab) -> Cast:
    link = lab.site("cloud").nbctl(
        "get", "Logical_Router_Port", f"isthmus-{OWNER}.tenant-a.cloud.link-edge", "networks"
    )
    address = next(w.partition("/")[0] for w in link.strip("[]\n").replace('"', "").split(", ") if "." in w)
    return Cast(end("a", "cloud"), end("a", "cluster"), end("b", "cloud"), end("b", "cluster"), address)


def do(lab: Lab, mutation: Mutation) -> None:
    """To real databases, until every chassis has what follows from it."""
    for site in dict.fromkeys(s for s, _ in mutation.all()):
        operations = tuple(o for s, o in mutation.all() if s == site)
        commands = nbctl(decoded(rpc.snapshot(*lab.databases()[f"nb/{site}"])), operations)
        assert commands
        lab.site(site).nbctl("--wait=hv", *[w for c in commands for w in ("--", *c)])


def restore(lab: Lab, site: str, before: rpc.Rows) -> None:
    socket, database = lab.databases()[f"nb/{site}"]
    if operations := undo(before, rpc.snapshot(socket, database)):
        rpc.transact(socket, database, *operations)


def until_sound(lab: Lab, configuration: Configuration) -> None:
    """ovn-ic follows what was undone."""
    deadline = time.monotonic() + 10
    while found := judged(configuration):
        assert time.monotonic() < deadline, [str(d) for d in found]


@dataclass(frozen=True)
class Leak:
    """Packets that show a leak: from a machine to a router's MAC, with a source address, to a machine."""

    sender: str
    mac: str
    source: str
    target: str


def leaks(lab: Lab) -> dict[str, Leak]:
    """By name of the mutation."""

    def mac(port: str) -> str:
        return lab.site("cloud").nbctl("get", "Logical_Router_Port", port, "mac").strip().strip('"')

    gateway, link = mac("a-a-web"), mac(f"isthmus-{OWNER}.tenant-a.cloud.link-vpc")
    return {
        "a foreign peer port, and a route": Leak("cloud-b-web-1", mac("b-b-web"), "10.1.1.11", "cloud-a-db-1"),
        "the link's router port moved to the other tenant's subnet": Leak(
            "cloud-b-web-1", link, "10.1.1.11", "cloud-a-db-1"
        ),
        "the subnet's router port moved to the other tenant's subnet": Leak(
            "cloud-b-web-1", gateway, "10.1.1.11", "cluster-a-pods-1"
        ),
        "the router gets a port on the other's switch": Leak(
            "cloud-b-web-1", "02:00:00:00:09:01", "10.1.1.11", "cloud-a-web-2"
        ),
        "the VPC router's guard deleted": Leak(
            "cloud-a-private-1", mac("a-a-private"), "10.1.1.11", "cluster-a-pods-1"
        ),
        "foreign policies open both edges to forged sources": Leak(
            "cloud-a-web-1", gateway, "203.0.113.77", "cluster-a-pods-1"
        ),
    }


def arrives(lab: Lab, leak: Leak) -> bool:
    """Frames of a run of their own, counted at the target's interface."""
    sender, target = lab.machine(leak.sender), lab.machine(leak.target)
    run = time.monotonic_ns() & 0xFFFFFFFF
    ears = Ears(lab, [leak.target])
    try:
        with Wire(lab, leak.sender) as wire:
            for number in range(5):
                payload = Mark(run, 0, 1, number, time.time_ns()).encode()
                wire.send(frame(sender.mac, leak.mac, leak.source, str(target.address(4)), payload))
            deadline = time.monotonic() + 0.5
            while (left := deadline - time.monotonic()) > 0:
                if any(h.mark.run == run for h in ears.hear(left)):
                    return True
    finally:
        ears.close()
    return False


def test_every_mutation_of_real_databases_is_found_by_rows_and_every_leak_by_packets(lab: Lab) -> None:
    configuration, table, shown = documents(lab), mutations(cast(lab)), leaks(lab)
    assert len(table) >= 25 and sum(m.foreign for m in table) >= 10
    assert {m.name for m in table if m.leaks} == set(shown)
    until_sound(lab, configuration)
    for mutation in table:
        sites = list(dict.fromkeys(s for s, _ in mutation.all()))
        before = {s: rpc.snapshot(*lab.databases()[f"nb/{s}"]) for s in sites}
        assert mutation.name not in shown or not arrives(lab, shown[mutation.name]), f"{mutation.name}: leaks before"
        do(lab, mutation)
        found = judged(configuration)
        named = [d for d in found if (d.source.name, d.target.name) == mutation.pair]
        assert named and named[0].row.uuid, f"{mutation.name}: {[str(d) for d in found]}"
        if mutation.name in shown:
            assert any(not d.wanted for d in named), mutation.name
            assert arrives(lab, shown[mutation.name]), f"{mutation.name}: no packet shows it"
        for site in sites:
            restore(lab, site, before[site])
        until_sound(lab, configuration)
    left = [row for database in isthmus(lab, "plan")["databases"] for row in database["rows"]]
    # ovn-ic numbers a transit port anew that was taken out and put back, and the edge's port follows (ADR 0010).
    assert all(row["op"] == "change" and set(row["columns"]) == {"mac"} for row in left), "undone: nothing else is left"
    wanted = [("cloud-a-web-1", "cluster-a-pods-1"), ("cloud-b-web-1", "cluster-b-pods-1")]
    assert traffic.matrix(lab, wanted, count=5).open == set(wanted)
