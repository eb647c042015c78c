"""A gateway port that its chassis have lost sight of is claimed after its row was written once more (ADR 0017)."""

from __future__ import annotations

from typing import Any

from deployment import Deployment, attach
from unixes import until

PORT = "isthmus-default.tenant-a.east.transit"


def joined(pair: Deployment) -> dict[str, Any]:
    pair.join("tenant-a", attach("east", "a", "web"), attach("west", "a", "pods"))
    pair.apply()
    return port(pair)


def port(pair: Deployment) -> dict[str, Any]:
    rows = pair.sites["east"].nb.snapshot("Logical_Router_Port")["Logical_Router_Port"]
    return next(r for r in rows.values() if r["name"] == PORT)


def overlook(pair: Deployment, mac: str) -> None:
    """Returns when no chassis carries the port any more."""
    pair.pretender.overlooked[PORT] = mac
    until("nobody carries it", lambda: not carried(pair), within=5)


def carried(pair: Deployment) -> bool:
    rows = pair.sites["east"].sb.snapshot("Port_Binding")["Port_Binding"].values()
    return any(r["chassis"] for r in rows if r["logical_port"] == f"cr-{PORT}")


def test_serve_nudges_a_port_that_nobody_carries(pair: Deployment) -> None:
    before = joined(pair)
    with pair.serving() as serving:
        serving.until_condition("tenant-a", "Programmed", "True")
        for count in (1, 2):
            overlook(pair, port(pair)["mac"])
            serving.until_condition("tenant-a", "Programmed", "False", "NoChassis")
            serving.until_condition("tenant-a", "Programmed", "True")
            assert port(pair)["external_ids"]["isthmus:nudges"] == str(count)
            assert port(pair)["mac"] != before["mac"]
            assert port(pair)["mac"].lower() == before["mac"].lower()


def test_apply_nudges_and_the_next_finds_nothing_to_do(pair: Deployment) -> None:
    overlook(pair, joined(pair)["mac"])
    found = pair.apply()
    assert found["transactions"] == 1
    assert pair.apply()["transactions"] == 0
    assert pair.run("plan", "--exit-code")[0] == 0


def test_where_no_gateway_lives_nothing_is_written(pair: Deployment) -> None:
    mac = joined(pair)["mac"]
    pair.pretender.frozen.add("east")
    pair.sites["east"].nb.transact({"op": "update", "table": "NB_Global", "where": [], "row": {"nb_cfg": 1000}})
    overlook(pair, mac)
    code, found = pair.run("apply", "--wait", "programmed", "--timeout", "4")
    assert (code, found["transactions"]) == (4, 0)
    assert port(pair)["mac"] == mac


def test_a_port_that_is_not_claimed_after_all_is_nudged_more_and_more_rarely(pair: Deployment) -> None:
    joined(pair)
    overlook(pair, "*")
    code, found = pair.run("apply", "--wait", "programmed", "--timeout", "7.5")
    assert (code, found["transactions"]) == (4, 2), "one after 2 s, the next 4 s later"
