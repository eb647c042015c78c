"""Ports of Pods by the names that people know them by."""

from __future__ import annotations

import pytest

from isthmus.errors import IntentError
from isthmus.verify.reach import World
from isthmus.verify.trace import Drawing, trace
from worlds import Rows

KUBE_OVN = {"vendor": "kube-ovn", "pod": "red/web.v1"}


def ours(who: str) -> dict[str, str]:
    return {"isthmus:pod-uid": "u", "isthmus:key": f"pod.{who}/port"}


OURS = ours("red.web.v1")


def world(ids: dict[str, str]) -> World:
    """Pods `web.v1` and `db` of namespace red, `db` of blue, and a node; the first is marked by `ids`."""
    rows = Rows("cluster")
    switch = rows.switch("red-web")
    for name, address, marks in (
        ("web.v1.red", "10.1.0.2", ids),
        ("db.red", "10.1.0.3", ours("red.db")),
        ("db.blue", "10.1.0.4", ours("blue.db")),
        ("node-n1.lab", "100.64.0.2", ours(".n1.lab")),
    ):
        port = rows.machine(switch, name, [address])
        rows.tables["Logical_Switch_Port"][port].update(external_ids=marks, options={"requested-chassis": "n1"})
    return World({"cluster": rows.tables})


@pytest.mark.parametrize("ids", [OURS, KUBE_OVN])
def test_a_pod_is_named_by_its_namespace_and_its_name(ids: dict[str, str]) -> None:
    (found,) = trace(world(ids), "cluster/red/web.v1", "cluster/blue/db")
    assert isinstance(found, Drawing)
    assert found.arrives
    assert found.wanted == ("cluster", "db.blue")
    assert found.ends == (
        "from  Pod red/web.v1; Subnet red-web; node n1; no port security",
        "  to  Pod blue/db; Subnet red-web; node n1; no port security",
    )


@pytest.mark.parametrize(
    "word", ["cluster/blue/web.v1", "cluster/red/v1.web", "cluster/green/db", "cluster/lab/node-n1"]
)
def test_a_pod_without_a_port(word: str) -> None:
    with pytest.raises(IntentError) as caught:
        trace(world(OURS), word, "10.1.0.4")
    (problem,) = caught.value.problems
    assert problem.code == "UnknownPod"
    assert "kubectl describe pod" in problem.remedy


def test_a_port_of_nobodys_pod_is_not_named_like_one() -> None:
    with pytest.raises(IntentError):
        trace(world({}), "cluster/red/web.v1", "10.1.0.4")
    assert trace(world({}), "cluster/web.v1.red", "10.1.0.4")
