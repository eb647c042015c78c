"""The OVSDB client: TLS identities side by side, replicas that survive restarts, transactions that say no."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployment import Deployment, Server, attach
from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.tables import NORTHBOUND
from isthmus.errors import Conflict, Unreachable, WorldError
from isthmus.lab.pki import Authority, bundle
from isthmus.model.intent import Endpoint, Tls


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Place:
    """An NB behind TLS with a CA of its own, and an operator's key that it trusts."""

    def __init__(self, directory: Path, *names: str, days: int | None = None, start: bool = True) -> None:
        directory.mkdir()
        self.directory, self.authority = directory, Authority(directory.name)
        self.port = free_port()
        self.remote = f"ssl:127.0.0.1:{self.port}"
        own = self.authority.issue(directory, "server", names=names, days=days)
        operator = self.authority.issue(directory, "operator")
        ca = bundle(directory / "ca.pem", self.authority)
        self.tls = Tls(ca, operator.cert, operator.key)
        self.server = Server(
            directory, "nb", f"--private-key={own.key}", f"--certificate={own.cert}", f"--ca-cert={ca}",
            f"--remote=pssl:{self.port}:127.0.0.1",
        )  # fmt: skip
        self.server.transact({"op": "insert", "table": "NB_Global", "row": {"name": directory.name}})


MakePlace = Callable[..., Place]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[MakePlace]:
    made: list[Place] = []

    def make(name: str, *names: str, days: int | None = None) -> Place:
        made.append(Place(tmp_path / name, *names, days=days))
        return made[-1]

    yield make
    for one in made:
        one.server.stop()


def client(remote: str, tls: Tls | None = None, **more: Any) -> tuple[Client, asyncio.Event]:
    woken = asyncio.Event()
    found = Client(Endpoint((remote,), tls), "OVN_Northbound", NORTHBOUND, wake=woken.set, **more)
    found.start()
    return found, woken


async def until(what: Callable[[], object], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def name_of(found: Client) -> str:
    return str(next(iter(found.rows["NB_Global"].values()))["name"])


def failure(remote: str, tls: Tls) -> Any:
    """Why a connection is refused."""

    async def run() -> Any:
        found, _ = client(remote, tls)
        try:
            await until(lambda: found.failure or found.synced)
            assert not found.synced
            return found.failure
        finally:
            await found.stop()

    return asyncio.run(run())


def test_one_process_speaks_to_two_sites_of_two_authorities(place: MakePlace) -> None:
    one, two = place("one", "127.0.0.1"), place("two", "127.0.0.1")

    async def run() -> None:
        clients = [client(p.remote, p.tls)[0] for p in (one, two)]
        try:
            await until(lambda: all(c.synced for c in clients))
            assert [name_of(c) for c in clients] == ["one", "two"]
        finally:
            for c in clients:
                await c.stop()

    asyncio.run(run())


def test_the_other_site_s_authority_and_key_are_refused(place: MakePlace) -> None:
    one, two = place("one", "127.0.0.1"), place("two", "127.0.0.1")
    problem = failure(one.remote, two.tls)
    assert problem.code == "CertificateRefused" and one.remote in problem.message and problem.remedy
    crossed = Tls(one.tls.ca_file, two.tls.cert_file, two.tls.key_file)
    problem = failure(one.remote, crossed)
    assert problem.code == "TlsFailed", problem
    assert "certFile" in problem.remedy


def test_a_certificate_of_another_name_is_refused_unless_that_name_is_asked_for(place: MakePlace) -> None:
    one = place("one", "nb.example")
    problem = failure(one.remote, one.tls)
    assert problem.code == "CertificateRefused" and "127.0.0.1" in problem.message
    assert "serverName" in problem.remedy
    named = Tls(one.tls.ca_file, one.tls.cert_file, one.tls.key_file, "nb.example")

    async def run() -> None:
        found, _ = client(one.remote, named)
        await until(lambda: found.synced)
        await found.stop()

    asyncio.run(run())


def test_an_expired_server_certificate_is_refused(place: MakePlace) -> None:
    one = place("one", "127.0.0.1", days=-2)
    problem = failure(one.remote, one.tls)
    assert problem.code == "CertificateRefused" and "expired" in problem.message


def test_an_expired_client_certificate_is_refused_with_a_remedy(place: MakePlace) -> None:
    one = place("one", "127.0.0.1")
    old = one.authority.issue(one.directory, "old", days=-2)
    problem = failure(one.remote, Tls(one.tls.ca_file, old.cert, old.key))
    assert problem.code == "TlsFailed" and "expired" in f"{problem.message} {problem.remedy}"


def test_apply_says_which_site_s_certificate_is_refused(pair: Deployment, place: MakePlace) -> None:
    """Through the command: exit 1, the document named, nothing written."""
    one = place("one", "other.example")
    files = {"caFile": one.tls.ca_file, "certFile": one.tls.cert_file, "keyFile": one.tls.key_file}
    pair.site_specs["west"] |= {"northbound": [one.remote], "tls": {k: str(v) for k, v in files.items()}}
    pair.join("t", attach("east", "a", "web"), attach("west", "a", "pods"))
    before = pair.northbound()
    code, found = pair.run("apply", "--timeout", "4")
    assert code == 1
    (error,) = found["errors"]
    assert error["code"] == "CertificateRefused"
    assert "'west'" in error["message"] and error["file"].endswith("fabric.yaml") and error["document"] == 2
    assert pair.northbound() == before


def test_a_replica_follows_a_restart_and_what_changed_meanwhile(pair: Deployment) -> None:
    server = pair.sites["east"].nb

    async def run() -> None:
        changes: list[tuple[str, bool, bool]] = []
        found, _ = client(
            server.remote,
            changed=lambda table, _, old, new: changes.append((table, old is not None, new is not None)),
        )
        await until(lambda: found.synced)
        server.stop()
        await until(lambda: not found.synced)
        with pytest.raises(Unreachable):
            await found.transact([])
        server.start()
        pair.sites["east"].nbctl("lr-add late -- lr-del a")
        await until(lambda: found.synced)
        await until(lambda: {r["name"] for r in found.rows["Logical_Router"].values()} == {"late"})
        assert found.rows["Logical_Router"] == trimmed(server, "Logical_Router")
        assert ("Logical_Router", True, False) in changes
        await found.stop()

    asyncio.run(run())


def trimmed(server: Server, table: str) -> dict[str, dict[str, Any]]:
    rows = server.snapshot(table)[table]
    return {u: {c: v for c, v in row.items() if c in (*NORTHBOUND[table], "_uuid")} for u, row in rows.items()}


def test_a_replica_equals_the_database_after_every_kind_of_change(pair: Deployment) -> None:
    site = pair.sites["east"]

    async def run() -> None:
        found, _ = client(site.nb.remote)
        await until(lambda: found.synced)
        for command in (
            "lr-route-add a 10.9.0.0/16 10.1.1.9", "lr-policy-add a 7 ip4 drop",
            "set Logical_Router a options:x=1 options:y=2", "remove Logical_Router a options x",
            "set Logical_Router a options:y=3", "set Logical_Router a enabled=false", "clear Logical_Router a enabled",
            "lrp-set-gateway-chassis a-web east-gw1 5", "lrp-del-gateway-chassis a-web east-gw1", "lr-route-del a",
            "add Logical_Router_Port a-web networks 10.99.0.1/24",
            "remove Logical_Router_Port a-web networks 10.99.0.1/24",
            "lrp-del a-db", "lr-del a",
        ):  # fmt: skip
            site.nbctl(command)
        await until(lambda: not found.rows["Logical_Router"])
        for table in NORTHBOUND:
            assert found.rows[table] == trimmed(site.nb, table), table
        await found.stop()

    asyncio.run(run())


def test_transactions_conflict_are_refused_or_done(pair: Deployment) -> None:
    async def run() -> None:
        found, _ = client(pair.sites["east"].nb.remote, lock="l")
        rival, _ = client(pair.sites["east"].nb.remote, lock="l")
        await until(lambda: found.synced and rival.synced)
        holder, waiter = (found, rival) if found.has_lock else (rival, found)
        assert holder.has_lock and not waiter.has_lock
        wait = {"op": "wait", "table": "NB_Global", "where": [], "columns": ["nb_cfg"], "until": "==",
                "rows": [{"nb_cfg": 77}], "timeout": 0}  # fmt: skip
        with pytest.raises(Conflict):
            await holder.transact([wait])
        with pytest.raises(Conflict):
            await waiter.transact([{"op": "comment", "comment": "not mine"}])
        with pytest.raises(WorldError, match=r"Logical_Router|constraint|nonsense"):
            await holder.transact([{"op": "insert", "table": "Logical_Router", "row": {"nonsense": 1}}])
        results = await holder.transact([{"op": "insert", "table": "Logical_Router", "row": {"name": "new"}}])
        assert results[0]["uuid"]
        await until(lambda: "new" in {r["name"] for r in waiter.rows["Logical_Router"].values()})
        await holder.stop()
        await until(lambda: waiter.has_lock)
        await waiter.stop()

    asyncio.run(run())
