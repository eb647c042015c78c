"""`kill -9` after every single write, and writes that come twice."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from isthmus.lab.lab import Lab
from snapshots import foreign, owned
from unixes import Unixes, logged, look, replayed, total

pytestmark = pytest.mark.lab


def killed_after(unixes: Unixes, number: int, *words: str) -> tuple[bool, int]:
    """Run a command and kill it when its n-th transaction was committed: whether that happened; how many there were."""
    unixes.turnstile.committed.clear()
    process = unixes.start(*words)

    def kill(count: int) -> bool:
        if count == number:
            process.kill()
        return count < number

    unixes.turnstile.on_commit = kill
    try:
        process.wait(30)
    finally:
        unixes.turnstile.on_commit = lambda _: True
    assert process.returncode in (0, -9), process.returncode
    return process.returncode == -9, len(unixes.turnstile.committed)


def enumerate_kills(unixes: Unixes, prepare: Callable[[], object], check: Callable[[], object], *words: str) -> int:
    """Kill after the first write, then after the second …, until the command ends by itself; how many writes it has."""
    number = 0
    while True:
        number += 1
        prepare()
        before = total(logged(unixes.lab))
        killed, committed = killed_after(unixes, number, *words)
        in_logs = total(logged(unixes.lab)) - before
        assert committed == in_logs, f"{committed} counted, {in_logs} in the databases' logs"
        check()
        if not killed:
            print(
                f"isthmus {words[0]}: killed after each of {number - 1} transactions; the last run's logs say {in_logs}"
            )
            # Fewer where sites confirmed together that had confirmed one by one in a run before.
            assert committed < number
            return number - 1


def test_apply_killed_after_any_write_is_finished_by_the_next(unixes: Unixes) -> None:
    lab = unixes.lab
    unixes.want("tenant-a")
    unixes.apply()
    whole = rows(lab)
    unixes.remove_all()
    before = foreign(look(lab))

    def check() -> None:
        unixes.want("tenant-a")
        unixes.apply()
        assert unixes.run("plan", "--exit-code")["databases"] == []
        assert foreign(look(lab)) == before
        assert rows(lab) == whole, "other rows than of an apply that nobody killed"

    def prepare() -> None:
        unixes.remove_all()
        unixes.want("tenant-a")

    assert enumerate_kills(unixes, prepare, check, "apply", "--wait", "programmed", "--timeout", "20") >= 5


def test_disconnect_killed_after_any_write_is_finished_by_the_next(unixes: Unixes) -> None:
    lab = unixes.lab
    unixes.want("tenant-a", "tenant-b")
    unixes.apply()
    before = foreign(look(lab))
    others = rows(lab, "tenant-b")

    def prepare() -> None:
        unixes.want("tenant-a", "tenant-b")
        unixes.apply()

    def check() -> None:
        found = subprocess.run(unixes.argv("disconnect", "tenant-a"), capture_output=True, text=True, check=False)
        # 2 where the killed one had already cut the last of it.
        assert found.returncode == 0 or "UnknownInterconnect" in found.stdout, found.stdout + found.stderr
        assert "tenant-a" not in unixes.text.read_text()
        assert unixes.run("plan", "--prune", "--exit-code")["databases"] == []
        assert foreign(look(lab)) == before
        assert not rows(lab, "tenant-a")
        assert rows(lab, "tenant-b") == others

    assert enumerate_kills(unixes, prepare, check, "disconnect", "tenant-a", "--timeout", "20") >= 3


def rows(lab: Lab, interconnect: str = "") -> dict[str, dict[str, object]]:
    """What we own, without uuids; "" for all."""
    found: dict[str, dict[str, object]] = {}
    for database, ours in owned(look(lab)).items():
        for key, row in ours.items():
            if key.split(" ")[1].startswith(interconnect):
                kept: dict[str, object] = {
                    c: row[c] for c in ("name", "networks", "match", "ip_prefix", "nexthop") if c in row
                }
                kept["mac"] = row.get("mac", "").lower()
                found.setdefault(database, {})[key] = kept
    return found


def test_a_transaction_that_comes_twice_happens_once(unixes: Unixes) -> None:
    lab = unixes.lab
    unixes.remove_all()
    unixes.turnstile.committed.clear()
    unixes.want("tenant-a")
    unixes.apply()
    unixes.want()
    unixes.apply("--prune")
    committed = list(unixes.turnstile.committed)
    assert {name for name, _ in committed} == {"ic-nb", "nb/cloud", "nb/cluster"}
    unixes.want("tenant-a")
    unixes.apply()
    before = look(lab)
    for database, (_, *operations) in committed:
        # The lock belongs to a connection; a replay comes by the very one that holds it.
        without_lock = [op for op in operations if op["op"] != "assert"]
        results = replayed(lab, database, without_lock)
        errors = [r["error"] for r in results if isinstance(r, dict) and r.get("error")]
        assert errors or database == "ic-nb", f"{database} took it twice"
    assert owned(look(lab)) == owned(before)
    assert unixes.run("plan", "--exit-code")["databases"] == []


def test_rows_of_another_installation_are_left_alone_until_adopted(unixes: Unixes) -> None:
    lab = unixes.lab
    unixes.want("tenant-a")
    unixes.apply()
    before = look(lab)
    unixes.want("tenant-a", "tenant-b")
    text = unixes.text.read_text()
    lab.fabric.nbctl("set", "IC_NB_Global", ".", 'external_ids:"isthmus:claim:default"=somebody-else')
    for words in (("apply",), ("apply", "--prune"), ("disconnect", "tenant-a")):
        refused = unixes.run(*words, "--timeout", "5", code=1)
        assert refused["errors"][0]["code"] == "ForeignInstallation", refused
        assert owned(look(lab)) == owned(before)
        assert unixes.text.read_text() == text, f"{words[0]} changed the file"
    unixes.apply("--adopt")
    ids = {row["external_ids"]["isthmus:id"] for found in owned(look(lab)).values() for row in found.values()}
    assert ids == {"somebody-else"}
    assert unixes.run("plan", "--exit-code")["databases"] == []
