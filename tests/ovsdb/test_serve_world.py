"""`serve` when documents, servers or rivals change under it."""

from __future__ import annotations

from typing import Any

import pytest

from deployment import Deployment, attach
from snapshots import owned

WEST = attach("west", "a", "pods")


def both(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web"), WEST)


def test_a_site_whose_document_becomes_invalid_stops_nobody_else(deploy: Any, caplog: pytest.LogCaptureFixture) -> None:
    world = deploy("east", "north", "west")
    for number, (name, site) in enumerate(world.sites.items()):
        site.router("a", **{name: f"10.{number}.0.1/24"})
        site.router("b", **{f"{name}_b": f"10.{number}.0.1/24"})
    world.join("far", attach("east", "a", "east"), attach("north", "a", "north"), attach("west", "a", "west"))
    with world.serving() as serving:
        serving.until_condition("far", "Programmed", "True")
        stood = owned(world.snapshot())
        world.site_specs["north"]["colour"] = "blue"
        world.join("near", attach("east", "b", "east-b"), attach("west", "b", "west-b"))
        serving.until_condition("near", "Programmed", "True")
        now = owned(world.snapshot())
        assert all(now[d].keys() >= stood[d].keys() for d in stood), "rows of the other went"
        assert serving.condition("far", "Accepted")[0] in ("False", "Unknown")
        assert serving.condition("far", "Programmed")[:2] == ("Unknown", "SiteRefused")
        assert "a pass failed" not in caplog.text
        del world.site_specs["north"]["colour"]
        world.write()
        serving.until_condition("far", "Programmed", "True")


def test_a_file_that_is_being_written_is_read_when_it_is_closed(pair: Deployment) -> None:
    """Written in place it ends between two documents for a while, and reads like a whole one."""
    for name in ("one", "two"):
        pair.sites["east"].router(name, **{f"e_{name}": "10.1.1.1/24"})
        pair.sites["west"].router(name, **{f"w_{name}": "10.2.1.1/24"})
        pair.join(name, attach("east", name, f"e-{name}"), attach("west", name, f"w-{name}"))
    file = pair.config / "interconnects.yaml"
    first, second = file.read_text().split("---\n")
    with pair.serving() as serving:
        for name in ("one", "two"):
            serving.until_condition(name, "Programmed", "True")
        stood = owned(pair.snapshot())
        with file.open("w") as writing:
            writing.write(first)
            writing.flush()
            serving.settled(2)
            assert owned(pair.snapshot()) == stood
            writing.write(f"---\n{second}")
        serving.settled()
        assert owned(pair.snapshot()) == stood
        with file.open("w") as writing:
            writing.write(first)
        serving.until(lambda: not [k for k in owned(pair.snapshot())["nb/east"] if " two/" in k])


def test_one_for_which_no_link_is_left_stops_nobody_else(pair: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    pair.fabric["addressPools"] = {"link": ["192.0.2.0/28", "fd69:7374::/32"]}
    for name in ("s1", "s2"):
        pair.sites["west"].router(name, **{f"of_{name}": f"10.6.{name[1]}.1/24"})
    hub = attach("east", "a", "web")
    pair.join("one", hub, attach("west", "s1", "of-s1"))
    with pair.serving() as serving:
        serving.until_condition("one", "Programmed", "True")
        stood = owned(pair.snapshot())
        pair.join("two", hub, attach("west", "s2", "of-s2"))
        assert "'two'" in serving.until_condition("two", "Accepted", "False", "Exhausted")
        serving.settled()
        assert owned(pair.snapshot()) == stood
        assert serving.condition("one", "Programmed")[0] == "True"
        assert "a pass failed" not in caplog.text


def test_a_server_that_restarts_is_listed_again_and_nothing_is_written(pair: Deployment) -> None:
    both(pair)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        before = pair.northbound()
        for server in pair.servers().values():
            server.stop()
            server.start()
        serving.settled(10)
        serving.until_condition("t", "Programmed", "True")
        assert pair.northbound() == before
        pair.sites["east"].nbctl("lr-policy-del isthmus-default.t.east.edge")
        serving.until(
            lambda: (
                owned(pair.snapshot()).keys()
                and any("edge/policy/drop" in k for k in owned(pair.snapshot())["nb/east"])
            )
        )


def test_a_site_that_is_down_when_serve_starts_loses_nothing(pair: Deployment) -> None:
    both(pair)
    pair.apply()
    stood = {n: s.snapshot() for n, s in pair.servers().items() if n in ("nb/east", "ic-nb")}
    pair.sites["west"].nb.stop()
    with pair.serving() as serving:
        serving.until(lambda: serving.serve.report.troubles.keys() == {"west"}, 8)
        serving.settled(5)
        now = {n: s.snapshot() for n, s in pair.servers().items() if n in ("nb/east", "ic-nb")}
        assert owned(now) == owned(stood)
        pair.sites["west"].nb.start()
        serving.until_condition("t", "Programmed", "True")


def test_a_site_that_goes_down_loses_nothing_that_is_listed_by_id(pair: Deployment) -> None:
    switches = pair.sites["west"].nb.snapshot("Logical_Switch")["Logical_Switch"]
    ids = {row["name"]: {"id": uuid} for uuid, row in switches.items()}
    pair.join("t", attach("east", "a", "web"), attach("west", "a", ids["pods"], ids["jobs"]))
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        stood = owned({"nb/east": pair.sites["east"].nb.snapshot()})
        pair.sites["west"].nb.stop()
        serving.until(lambda: "west" in serving.serve.report.troubles)
        serving.settled(5)
        assert owned({"nb/east": pair.sites["east"].nb.snapshot()}) == stood
        pair.join("t", attach("east", "a", "web"), attach("west", "a", ids["pods"]))
        serving.until(
            lambda: not [k for k in owned({"nb/east": pair.sites["east"].nb.snapshot()})["nb/east"] if "10.2.2" in k]
        )
        assert [k for k in owned({"nb/east": pair.sites["east"].nb.snapshot()})["nb/east"] if "10.2.1" in k]


def test_while_a_site_is_down_what_is_no_longer_listed_is_cut_at_the_others(pair: Deployment) -> None:
    pair.join("t", attach("east", "a", "web", "db"), attach("west", "a", "pods", "jobs"))
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        pair.sites["west"].nb.stop()
        serving.until(lambda: "west" in serving.serve.report.troubles)
        pair.join("t", attach("east", "a", "web"), attach("west", "a", "pods"))

        def cut() -> bool:
            rows = owned({"nb/east": pair.sites["east"].nb.snapshot()})["nb/east"]
            return not [k for k in rows if "10.2.2.0/24" in k or "10.1.2.0/24" in k]

        serving.until(cut)
        rows = owned({"nb/east": pair.sites["east"].nb.snapshot()})["nb/east"]
        assert any("vpc/route/10.2.1.0/24" in k for k in rows), "the rest went too"
        pair.sites["west"].nb.start()
        serving.until_condition("t", "Programmed", "True")
        rows = owned(pair.snapshot())["nb/west"]
        assert not [k for k in rows if "10.2.2.0/24" in k or "10.1.2.0/24" in k]


def test_apply_and_disconnect_wait_for_serve_and_name_it(pair: Deployment) -> None:
    both(pair)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        text = (pair.config / "interconnects.yaml").read_text()
        before = pair.northbound()
        for words in (("apply",), ("disconnect", "t")):
            code, found = pair.run(*words, "--timeout", "1")
            assert code == 1
            (error,) = found["errors"]
            assert error["code"] == "LockHeld" and "isthmus serve" in error["message"]
        assert (pair.config / "interconnects.yaml").read_text() == text
        assert pair.northbound() == before
        assert pair.run("plan", "--exit-code")[0] == 0, "plan needs no lock"
    pair.apply()


def test_a_second_serve_stands_by_and_takes_over(pair: Deployment) -> None:
    both(pair)
    with pair.serving() as first:
        first.until_condition("t", "Programmed", "True")
        with pair.serving() as second:
            second.until(lambda: second.serve.report.passes > 2)
            assert not second.serve.report.active
            first.stop()
            second.until(lambda: second.serve.report.active)
            pair.sites["east"].nbctl("lr-policy-del isthmus-default.t.east.edge")
            second.until(lambda: any("edge/policy/drop" in k for k in owned(pair.snapshot())["nb/east"]))


def test_the_interconnect_database_restored_empty_is_filled_again(pair: Deployment) -> None:
    both(pair)
    with pair.serving() as serving:
        serving.until_condition("t", "Programmed", "True")
        stood = owned(pair.snapshot())
        pair.ic_nb.transact(
            {"op": "delete", "table": "Transit_Switch", "where": []},
            {"op": "update", "table": "IC_NB_Global", "where": [], "row": {"external_ids": ["map", []]}},
        )
        serving.until(
            lambda: {d: set(r) for d, r in owned(pair.snapshot()).items()} == {d: set(r) for d, r in stood.items()}
        )
        serving.until_condition("t", "Programmed", "True")
        ids = {r["external_ids"]["isthmus:id"] for rows in owned(pair.snapshot()).values() for r in rows.values()}
        assert len(ids) == 1


def test_the_transit_switch_goes_last(pair: Deployment) -> None:
    """While a site's chassis have confirmed nothing the switch stays, and with it its key."""
    both(pair)
    pair.apply()
    pair.pretender.frozen.add("west")
    pair.interconnects = {}
    pair.write()
    with pair.serving() as serving:
        serving.until(lambda: not owned(pair.snapshot())["nb/west"] and not owned(pair.snapshot())["nb/east"])
        serving.settled(5)
        assert pair.ic_nb.snapshot("Transit_Switch")["Transit_Switch"]
        pair.pretender.frozen.clear()
        serving.until(lambda: not pair.ic_nb.snapshot("Transit_Switch")["Transit_Switch"])
