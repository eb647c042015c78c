"""`serve`: who holds the lock, drift, and sources that are late, empty or half."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import median
from subprocess import Popen
from typing import Any

import pytest

from isthmus.lab import rpc
from isthmus.lab.lab import Lab
from proxy import Spoil
from snapshots import foreign, owned
from unixes import Unixes, logged, look, total, until

pytestmark = pytest.mark.lab

Wrong = tuple[str, Any]

CHANGES: dict[str, list[Wrong]] = {
    "Logical_Router": [
        ("name", "somebody"),
        ("enabled", False),
        ("options", ["map", [["chassis", "cloud-1"]]]),
        ("external_ids", {"isthmus:sides": "{"}),
    ],
    "Logical_Router_Port": [
        ("mac", "02:00:00:00:00:99"),
        ("networks", ["set", ["192.0.2.1/24"]]),
        ("enabled", False),
        ("options", ["map", [["gateway_mtu", "600"]]]),
        ("external_ids", {"isthmus:path": "?"}),
    ],
    "Logical_Router_Static_Route": [
        ("ip_prefix", "192.0.2.0/24"),
        ("nexthop", "192.0.2.1"),
        ("policy", "src-ip"),
        ("route_table", "other"),
        ("external_ids", {"isthmus:key": "tenant-a/cloud/nothing"}),
    ],
    "Logical_Router_Policy": [
        ("priority", 7),
        ("match", "1"),
        ("action", "reroute"),
        ("options", ["map", [["a", "b"]]]),
    ],
    "Logical_Switch": [("name", "somebody"), ("other_config", ["map", [["mcast_snoop", "true"]]])],
    "Logical_Switch_Port": [
        ("type", ""),
        ("options", ["map", [["router-port", "nothing"]]]),
        ("addresses", ["set", ["unknown"]]),
        ("enabled", False),
        ("port_security", ["set", ["02:00:00:00:00:99"]]),
        ("name", "somebody"),
    ],
    "Gateway_Chassis": [("priority", 1), ("chassis_name", "cloud-3")],
    "Transit_Switch": [
        ("other_config", ["map", [["subnet", "192.0.2.0/24"]]]),
        ("external_ids", {"isthmus:path": "?"}),
    ],
}
"""What somebody may do to a row of ours: (column, value); of external_ids, the key that is overwritten."""

PARENTS = {
    "Logical_Router_Port": ("Logical_Router", "ports"),
    "Logical_Router_Static_Route": ("Logical_Router", "static_routes"),
    "Logical_Router_Policy": ("Logical_Router", "policies"),
    "Logical_Switch_Port": ("Logical_Switch", "ports"),
    "Gateway_Chassis": ("Logical_Router_Port", "gateway_chassis"),
}

REFERENCES = ("_uuid", "ports", "static_routes", "policies", "gateway_chassis", "up")


@pytest.fixture(autouse=True)
def mended(unixes: Unixes) -> Iterator[None]:
    yield
    for proxy in unixes.proxies.values():
        proxy.mend()


@pytest.fixture
def serving(unixes: Unixes) -> Iterator[Popen[str]]:
    """Tenant a joined under a `serve` that has nothing left to do."""
    unixes.want("tenant-a")
    unixes.apply("--prune")
    with unixes.serving() as process:
        holds(unixes, process)
        yield process


def holds(unixes: Unixes, process: Popen[str]) -> None:
    """Wait until this `serve` says that it is the one."""
    until("serve is the holder", lambda: f"process {process.pid}" in unixes.lab.fabric.nbctl("list", "IC_NB_Global"))


def content(lab: Lab) -> dict[str, dict[str, Any]]:
    """What we own, by database and key, without what refers to uuids and what OVN adds."""
    found = {}
    for database, rows in owned(look(lab)).items():
        found[database] = {k: {c: v for c, v in row.items() if c not in REFERENCES} for k, row in rows.items()}
        for row in found[database].values():
            row["options"] = {k: v for k, v in row.get("options", {}).items() if k != "requested-tnl-key"}
            row["mac"] = row.get("mac", "").lower()  # its letters say which number ovn-ic gave the port
    return found


class Drift:
    """Changes and deletes one owned row after the other and waits for each to come back."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.took: list[float] = []
        self._sockets = lab.databases()

    def every_row(self) -> Iterator[tuple[str, str, str]]:
        """(database, table, key) of all rows that are owned now."""
        for database, rows in owned(look(self.lab)).items():
            for name in rows:
                table, key = name.split(" ", 1)
                yield database, table, key

    def delete(self, database: str, table: str, key: str) -> None:
        uuid = self._rows(database, table, key)[0]["_uuid"]
        self._spoil(database, table, key, uuid, self._removal(table, uuid))

    def change(self, database: str, table: str, key: str, wrong: Wrong) -> None:
        row = self._rows(database, table, key)[0]
        column, value = wrong
        if isinstance(value, dict):
            value = rpc.ovsdb_map(rpc.mapping(row["external_ids"]) | value)
        where = [["_uuid", "==", row["_uuid"]]]
        self._spoil(
            database,
            table,
            key,
            row["_uuid"],
            [{"op": "update", "table": table, "where": where, "row": {column: value}}],
        )

    def _removal(self, table: str, uuid: Any) -> list[dict[str, Any]]:
        if table not in PARENTS:
            return [{"op": "delete", "table": table, "where": [["_uuid", "==", uuid]]}]
        parent, column = PARENTS[table]
        where, mutation = [[column, "includes", uuid]], [column, "delete", uuid]
        return [{"op": "mutate", "table": parent, "where": where, "mutations": [mutation]}]

    def _spoil(self, database: str, table: str, key: str, uuid: Any, operations: list[dict[str, Any]]) -> None:
        before = self._plain(self._rows(database, table, key))
        assert len(before) == 1, f"{table} {key} is there {len(before)} times"
        results = rpc.transact(*self._sockets[database], *operations)
        assert results[0]["count"] == 1, (table, key, results)
        self.took.append(
            until(
                f"{database} {table} {key} is as before, after {operations}",
                lambda: self._plain(self._rows(database, table, key)) == before,
            )
        )

    def _rows(self, database: str, table: str, key: str) -> list[dict[str, Any]]:
        where = [["external_ids", "includes", ["map", [["isthmus:key", key]]]]]
        return list(rpc.transact(*self._sockets[database], {"op": "select", "table": table, "where": where})[0]["rows"])

    def _plain(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        plain = [{c: v for c, v in row.items() if c not in (*REFERENCES, "_version")} for row in rows]
        for row in plain:
            if "mac" in row:
                row["mac"] = row["mac"].lower()
            if "options" in row:
                row["options"] = {k: v for k, v in rpc.mapping(row["options"]).items() if k != "requested-tnl-key"}
        return plain

    def say(self, what: str) -> None:
        took = sorted(self.took)
        print(
            f"{what}: {len(took)} rows came back after {median(took) * 1000:.0f} ms (median), "
            f"{took[-1] * 1000:.0f} ms (longest)"
        )


@pytest.mark.usefixtures("serving")
def test_every_row_deleted_by_hand_comes_back(unixes: Unixes) -> None:
    lab = unixes.lab
    before, others = content(lab), foreign(look(lab))
    drift = Drift(lab)
    for place in list(drift.every_row()):
        drift.delete(*place)
    drift.say("deleted")
    until("all is as before, numbers included", lambda: content(lab) == before)
    assert foreign(look(lab)) == others


@pytest.mark.usefixtures("serving")
def test_every_row_changed_by_hand_comes_back(unixes: Unixes) -> None:
    lab = unixes.lab
    before, others = content(lab), foreign(look(lab))
    drift = Drift(lab)
    for place in list(drift.every_row()):
        for wrong in CHANGES[place[1]]:
            drift.change(*place, wrong)
    drift.say("changed")
    until("all is as before, numbers included", lambda: content(lab) == before)
    assert foreign(look(lab)) == others


@pytest.mark.usefixtures("serving")
def test_a_claim_taken_away_by_hand_comes_back(unixes: Unixes) -> None:
    nbctl = unixes.lab.fabric.nbctl
    key = '"isthmus:claim:default"'
    claim = nbctl("get", "IC_NB_Global", ".", f"external_ids:{key}")
    nbctl("remove", "IC_NB_Global", ".", "external_ids", key)
    until("the claim is back", lambda: f'"isthmus:claim:default"={claim.strip()}' in nbctl("list", "IC_NB_Global"))


def test_two_applies_at_once_do_the_work_of_one(unixes: Unixes) -> None:
    unixes.remove_all()
    unixes.want("tenant-a", "tenant-b")
    lab, before = unixes.lab, total(logged(unixes.lab))
    first = [unixes.start("apply", "--wait", "programmed", "--timeout", "20") for _ in range(2)]
    said = [process.communicate(timeout=30)[0] for process in first]
    assert [p.returncode for p in first] == [0, 0], said
    assert no_doubles(lab)
    assert sum('"transactions": 0' in text for text in said) == 1, "one found everything done"
    print(f"two applies: {total(logged(lab)) - before} transactions")
    assert unixes.run("plan", "--exit-code")["databases"] == []


def no_doubles(lab: Lab) -> bool:
    places = Counter(
        (database, table, row["external_ids"]["isthmus:key"])
        for database, tables in look(lab).items()
        for table, rows in tables.items()
        for row in rows.values()
        if row.get("external_ids", {}).get("isthmus:owner")
    )
    assert places
    return max(places.values()) == 1


def test_a_running_serve_is_named_to_who_wants_to_write(unixes: Unixes, serving: Popen[str]) -> None:
    before = content(unixes.lab)
    text = unixes.text.read_text()
    for words in (("apply",), ("disconnect", "tenant-a"), ("disconnect", "tenant-a", "--subnet", "a-web")):
        refused = unixes.run(*words, "--timeout", "0.7", code=1)
        assert refused["errors"][0]["code"] == "LockHeld"
        assert f"process {serving.pid}" in refused["errors"][0]["message"]
        assert unixes.text.read_text() == text
        assert content(unixes.lab) == before
    assert unixes.run("plan", "--exit-code")["databases"] == []
    assert unixes.run("status")["objects"]


def test_a_second_serve_stands_by_and_takes_over(unixes: Unixes, serving: Popen[str]) -> None:
    place = ("nb/cloud", "Logical_Router", "tenant-a/cloud/edge")
    drift = Drift(unixes.lab)
    with unixes.serving() as second:
        drift.delete(*place)
        serving.kill()
        serving.wait()
        drift.delete(*place)
        print(f"after kill -9 of the first: {drift.took[-1] * 1000:.0f} ms")
        holds(unixes, second)
    assert no_doubles(unixes.lab)


SOURCES = ("nb/cloud", "sb/cloud", "nb/cluster", "ic-nb", "ic-sb")


@pytest.mark.usefixtures("serving")
@pytest.mark.parametrize("how", ["late", "empty", "half"])
@pytest.mark.parametrize("source", SOURCES)
def test_serve_removes_nothing_for_a_source_that_lists_badly(unixes: Unixes, source: str, how: Spoil) -> None:
    proxy = unixes.proxies[source]
    before = content(unixes.lab)
    listings, passes = proxy.listings, len(unixes.turnstile.committed)
    proxy.spoil(how)
    until("the source was asked again", lambda: proxy.listings > listings + (how == "half"))
    # A row elsewhere makes passes happen: they must act on what they know, or not at all.
    elsewhere = "nb/cluster" if source == "nb/cloud" else "nb/cloud"
    site = unixes.lab.site(elsewhere.removeprefix("nb/"))
    site.nbctl("set", "NB_Global", ".", "external_ids:touched=yes")
    site.nbctl("remove", "NB_Global", ".", "external_ids", "touched")
    for _ in range(10):
        assert content(unixes.lab) == before
    assert len(unixes.turnstile.committed) == passes, "something was written"
    proxy.mend()
    drift = Drift(unixes.lab)
    drift.delete("nb/cloud", "Logical_Router_Policy", policy(unixes.lab))
    until("all is as before", lambda: content(unixes.lab) == before)


def policy(lab: Lab) -> str:
    """Key of some policy of the cloud."""
    return next(k for k in owned(look(lab, "nb/cloud"))["nb/cloud"] if k.startswith("Logical_Router_Policy")).split(
        " "
    )[1]


@pytest.mark.parametrize("how", ["late", "empty", "half"])
@pytest.mark.parametrize("source", ["nb/cloud", "sb/cloud", "ic-nb"])
def test_apply_removes_nothing_for_a_source_that_lists_badly(unixes: Unixes, source: str, how: Spoil) -> None:
    unixes.want("tenant-a")
    unixes.apply("--prune")
    before = content(unixes.lab)
    proxy = unixes.proxies[source]
    listings, committed = proxy.listings, len(unixes.turnstile.committed)
    proxy.spoil(how)
    process = unixes.start("apply", "--prune", "--wait", "programmed", "--timeout", "10")
    try:
        until("the source was asked", lambda: proxy.listings > listings)
        for _ in range(5):
            assert content(unixes.lab) == before
    finally:
        proxy.mend()
    said = process.communicate(timeout=20)[0]
    assert content(unixes.lab) == before
    assert len(unixes.turnstile.committed) == committed, said
    assert process.returncode in (0, 1), said


@pytest.mark.usefixtures("serving")
def test_serve_removes_nothing_for_documents_that_are_gone_or_half(unixes: Unixes) -> None:
    lab, drift = unixes.lab, Drift(unixes.lab)
    before, text = content(lab), unixes.text.read_text()
    away = unixes.config.with_name("away")

    def unharmed() -> None:
        passes = len(unixes.log())
        drift.delete("nb/cluster", "Logical_Switch", "tenant-a/cluster/link")
        until("serve said what it wrote", lambda: len(unixes.log()) > passes)
        until("as before", lambda: content(lab) == before)

    unixes.config.rename(away)
    unharmed()
    away.rename(unixes.config)
    unharmed()
    for name in ("interconnects.yaml", "fabric.yaml"):
        file = unixes.config / name
        whole = file.read_text()
        for broken in ("", whole[: whole.index("spec:") + 3], "[" + whole, "\0"):
            file.write_text(broken)
            unharmed()
        file.write_text(whole)
    assert unixes.text.read_text() == text
    unixes.want("tenant-a", "tenant-b")
    until(
        "it goes on as soon as the documents are whole", lambda: any("tenant-b/" in k for k in content(lab)["nb/cloud"])
    )
