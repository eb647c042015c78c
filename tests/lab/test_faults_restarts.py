"""Everything that may be restarted is restarted while Isthmus writes and while another tenant's packets flow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.lab import bfd
from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Matrix, Streams, matrix, pairs
from snapshots import foreign, owned
from unixes import Databases, Unixes, look, until

pytestmark = pytest.mark.lab

NEIGHBOURS = [("cloud-b-web-1", "cluster-b-pods-1"), ("cluster-b-pods-1", "cloud-b-web-1")]

CONTROL = (
    "cloud/nb", "cloud/sb", "cluster/nb", "cluster/sb", "fabric/ic-nb", "fabric/ic-sb",
    "cloud/northd", "cluster/northd", "cloud/ovn-ic", "cluster/ovn-ic",
)  # fmt: skip


@pytest.fixture(scope="module")
def joined(unixes: Unixes) -> Unixes:
    """Tenant b is joined."""
    unixes.want("tenant-b")
    unixes.apply()
    until("tenant b's packets flow, all of them", lambda: steady(unixes.lab))
    bfd.settle(unixes.lab)
    return unixes


def steady(lab: Lab) -> bool:
    return all(c.received == c.sent for c in matrix(lab, NEIGHBOURS, count=50, interval=0.01).values())


@pytest.fixture
def apart(joined: Unixes) -> Iterator[Unixes]:
    """Tenant a is not joined, before and after."""
    joined.want("tenant-b")
    joined.apply("--prune")
    yield joined
    joined.want("tenant-b")
    joined.apply("--prune")


def tenants(lab: Lab) -> Matrix:
    """All listed machines of both tenants, each to each."""
    return matrix(lab, pairs(lab.machines), count=3, interval=0.02)


def isolated(lab: Lab) -> None:
    """Each tenant's machines reach all of hers and nobody else's."""
    tenant = {m.name: m.tenant for m in lab.machines}
    until("all of a tenant's reach each other", lambda: complete(tenants(lab), tenant))


def complete(found: Matrix, tenant: dict[str, str | None]) -> bool:
    assert not found.strays, found.strays
    assert all(tenant[a] == tenant[b] for a, b in found.open)
    return all((a, b) in found.open for a, b in found if tenant[a] == tenant[b])


def restart_during_apply(unixes: Unixes, daemon: str, number: int = 1) -> None:
    """Restart when the n-th transaction of `apply` was committed and its answer is still under way."""
    unixes.turnstile.committed.clear()

    def restart(count: int) -> bool:
        if count == number:
            unixes.lab.daemon(daemon).restart()
        return True

    unixes.want("tenant-a", "tenant-b")
    unixes.turnstile.on_commit = restart
    try:
        unixes.apply()
    finally:
        unixes.turnstile.on_commit = lambda _: True
    assert len(unixes.turnstile.committed) >= number
    assert unixes.run("plan", "--exit-code")["databases"] == []


@pytest.mark.parametrize("daemon", CONTROL)
def test_a_server_restarted_during_apply_costs_others_no_packet(apart: Unixes, daemon: str) -> None:
    lab = apart.lab
    before = foreign(look(lab))
    with Streams(lab, NEIGHBOURS, interval=0.01) as streams:
        restart_during_apply(apart, daemon)
        lab.daemon(daemon).restart()
        apart.run("disconnect", "tenant-a", "--timeout", "20")
        reports = streams.stop()
    for pair, report in reports.items():
        assert not report.lost, f"{daemon}: {len(report.lost)} of {report.sent} lost from {pair[0]} to {pair[1]}"
    assert foreign(look(lab)) == before


@pytest.mark.parametrize(("host", "carries"), [("cloud-1", True), ("cloud-3", False)])
def test_a_controller_restarted_during_apply_is_waited_for(apart: Unixes, host: str, carries: bool) -> None:
    """One that carries the packets hands them to another gateway; of any other nobody notices."""
    lab = apart.lab
    before = foreign(look(lab))
    with Streams(lab, NEIGHBOURS, interval=0.01) as streams:
        restart_during_apply(apart, f"{host}/controller", 2)
        reports = streams.stop()
    for pair, report in reports.items():
        print(f"ovn-controller of {host} stopped and started: {len(report.lost)} of {report.sent} packets lost")
        assert carries or not report.lost, pair
    isolated(lab)
    assert foreign(look(lab)) == before


def names(lab: Lab) -> dict[str, set[str]]:
    """Tables, keys and addresses of what we own."""
    return {
        database: {f"{key} {sorted(row.get('networks', ()))} {row.get('mac', '').lower()}" for key, row in rows.items()}
        for database, rows in owned(look(lab)).items()
    }


def test_an_interconnect_database_lost_is_rebuilt_by_serve(joined: Unixes) -> None:
    others = foreign(look(joined.lab))
    joined.want("tenant-a", "tenant-b")
    joined.apply("--prune")
    with joined.serving():
        until("serve runs", lambda: "process" in joined.lab.fabric.nbctl("list", "IC_NB_Global"))
        before = lost_and_empty(joined)
        took = until("every row is back", lambda: names(joined.lab) == before)
        isolated(joined.lab)
        until("ovn-ic's copies hold our ports again", lambda: names(joined.lab) == before)
    print(f"IC-NB lost under serve: every row back after {took:.2f} s")
    assert sites_only(foreign(look(joined.lab))) == sites_only(others)


def lost_and_empty(unixes: Unixes) -> dict[str, set[str]]:
    """Lose IC-NB; what we owned before that."""
    isolated(unixes.lab)
    before = names(unixes.lab)
    unixes.lab.fabric.lose("ic-nb")
    return before


def test_an_interconnect_database_lost_is_rebuilt_by_apply(joined: Unixes) -> None:
    others = foreign(look(joined.lab))
    joined.want("tenant-a", "tenant-b")
    joined.apply("--prune")
    before = lost_and_empty(joined)
    joined.apply()
    assert names(joined.lab) == before
    isolated(joined.lab)
    assert joined.run("plan", "--exit-code")["databases"] == []
    assert sites_only(foreign(look(joined.lab))) == sites_only(others)


def sites_only(databases: Databases) -> Databases:
    """A new IC-NB has a new row IC_NB_Global."""
    return {name: tables for name, tables in databases.items() if name != "ic-nb"}
