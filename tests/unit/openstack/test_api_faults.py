"""A cloud's API that fails: how often it is asked, what is told, and that no change is ever sent twice.

A real Neutron refuses in tests/lab; here a small server says what a real one cannot be made to say.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from isthmus.backends.changes import Change
from isthmus.backends.openstack import api as module
from isthmus.backends.openstack.api import Api, Refused
from isthmus.backends.openstack.calls import Calls
from isthmus.backends.openstack.listing import Listing, project_names
from isthmus.backends.openstack.lost import Turns
from isthmus.errors import Unreachable, WorldError
from isthmus.model.rows import Parent

Answer = tuple[int, Any]
HANG = 0.6
"""Seconds without an answer, longer than the test lets us wait."""


class Cloud:
    """Keystone and Neutron on one port. `answers` are given in order, then 200; `seen` is what Neutron was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer | float] = []
        self.seen: list[tuple[str, str, str]] = []
        self.guarded: list[tuple[str | None, Any]] = []
        """Of each of `seen`, the revision that it names, and its body."""
        self.tokens = 0
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _reply(self, status: int, body: Any, **headers: str) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(text)

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.endswith("/auth/tokens"):
                    cloud.tokens += 1
                    self._reply(201, cloud.token(), X_Subject_Token=f"token-{cloud.tokens}")
                    return
                if self.path.strip("/") in ("", "v3"):
                    links = [{"rel": "self", "href": f"{cloud.url}/v3"}]
                    self._reply(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})
                    return
                cloud.seen.append((self.command, self.path, self.headers.get("X-Auth-Token", "")))
                cloud.guarded.append((self.headers.get("If-Match"), json.loads(body or "null")))
                answer = cloud.answers.pop(0) if cloud.answers else (200, {"networks": []})
                if isinstance(answer, float):
                    time.sleep(answer)
                    return
                self._reply(*answer, x_openstack_request_id=f"req-{len(cloud.seen)}")

            do_GET = do_PUT = do_POST = do_DELETE = _any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def token(self) -> dict[str, Any]:
        endpoints = [{"id": "e", "interface": "public", "region": "R", "region_id": "R", "url": self.url}]
        catalog = [{"type": t, "id": t, "name": t, "endpoints": endpoints} for t in ("network", "identity")]
        return {
            "token": {
                "methods": ["password"],
                "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
                "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "Default"}},
                "roles": [],
                "catalog": catalog,
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "expires_at": "2099-01-01T00:00:00.000000Z",
            }
        }

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    made = Cloud()
    auth = {
        "auth_url": f"{made.url}/v3", "username": "u", "password": "p", "project_name": "p",
        "user_domain_name": "Default", "project_domain_name": "Default",
    }  # fmt: skip
    entry = {"auth": auth, "region_name": "R", "identity_api_version": 3}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"faulty": entry}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    monkeypatch.setattr(module, "LONG_TIMEOUT", 0.2)
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.02))
    yield made
    made.stop()


def error(kind: str) -> dict[str, Any]:
    return {"NeutronError": {"type": kind, "message": f"Neutron says {kind}", "detail": ""}}


@pytest.mark.parametrize("failure", [(500, error("Internal")), (503, {}), (429, {}), HANG])
def test_a_question_is_asked_again_until_it_is_answered(cloud: Cloud, failure: Answer | float) -> None:
    cloud.answers = [failure, failure]
    assert Api("faulty").get("network", "/networks") == {"networks": []}
    assert len(cloud.seen) == 3


@pytest.mark.parametrize("failure", [(500, error("Internal")), (429, {}), HANG])
def test_a_question_that_nobody_answers_is_given_up_after_three_tries(cloud: Cloud, failure: Answer | float) -> None:
    cloud.answers = [failure] * 5
    with pytest.raises((Refused, Unreachable)) as found:
        Api("faulty").get("network", "/networks")
    assert len(cloud.seen) == 3
    (problem,) = found.value.problems
    assert "GET network /networks" in problem.message and "'faulty'" in problem.message
    assert problem.remedy


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (409, "OverQuota", "OverQuota"),
        (400, "RoutesExhausted", "RoutesExhausted"),
        (409, "AddressGroupInUse", "AddressGroupInUse"),
        (409, "RouterInUse", "ApiRefused"),
        (403, "PolicyNotAuthorized", "ApiForbidden"),
        (404, "NetworkNotFound", "ApiRefused"),
        (429, "", "ApiBusy"),
        (500, "", "ApiFailed"),
    ],
)
def test_a_refused_change_is_sent_once_and_told_with_its_request(
    cloud: Cloud, status: int, kind: str, code: str
) -> None:
    api = Api("faulty")
    cloud.answers = [(status, error(kind))]
    with pytest.raises(Refused) as found:
        api.send("PUT", "/routers/r", {"router": {}})
    (problem,) = found.value.problems
    assert (problem.code, len(cloud.seen), api.accepted) == (code, 1, 0)
    assert f"HTTP {status}" in problem.message and "req-1" in problem.message and problem.remedy


def test_a_change_that_was_not_answered_is_not_sent_again(cloud: Cloud) -> None:
    """It may have happened: the next pass lists, and sees."""
    cloud.answers = [HANG]
    with pytest.raises(Unreachable):
        Api("faulty").send("POST", "/networks", {"network": {}})
    assert len(cloud.seen) == 1


def test_a_token_that_has_expired_is_renewed(cloud: Cloud) -> None:
    api = Api("faulty")
    api.get("network", "/networks")
    cloud.answers = [(401, {"error": {"message": "token expired", "code": 401}})]
    assert api.get("network", "/networks") == {"networks": []}
    assert [token for _, _, token in cloud.seen] == ["token-1", "token-1", "token-2"]


def test_an_api_that_is_gone_is_told(cloud: Cloud) -> None:
    api = Api("faulty")
    api.get("network", "/networks")
    cloud.stop()
    with pytest.raises(Unreachable) as found:
        api.get("network", "/networks")
    assert found.value.problems[0].code == "ApiUnreachable"


HERS, HERS_TOO = ({"destination": d, "nexthop": "10.1.1.9"} for d in ("192.0.2.0/24", "198.51.100.0/24"))
OURS = {"destination": "10.2.0.0/16", "nexthop": "169.254.0.1"}


def routed(op: Literal["add", "remove"]) -> Change:
    return Change(op, "extra_route", "i/s/vpc/route", None, dict(OURS), Parent("router", "routes", uuid="r"))


def router(revision: int, *routes: dict[str, str]) -> Answer:
    return 200, {"router": {"routes": list(routes), "revision_number": revision}}


@pytest.mark.parametrize(("op", "before", "after"), [("add", [], [OURS]), ("remove", [OURS], [])])
def test_where_the_list_is_set_whole_a_route_of_the_tenants_survives(
    cloud: Cloud, op: Literal["add", "remove"], before: list[dict[str, str]], after: list[dict[str, str]]
) -> None:
    """She adds one between our reading and our writing: the API says that the router has changed, we read again."""
    old = Listing("p", frozenset({"router", "extraroute", "revision-if-match"}), {})
    changed = (412, error("RevisionNumberConstraintFailed"))
    cloud.answers = [router(3, HERS, *before), changed, router(4, HERS, HERS_TOO, *before)]
    Calls(Api("faulty"), old, {}, lambda: True, Turns()).run([routed(op)])
    assert [method for method, _, _ in cloud.seen] == ["GET", "PUT", "GET", "PUT"]
    assert [cloud.guarded[n] for n in (1, 3)] == [
        ("revision_number=3", {"router": {"routes": [HERS, *after]}}),
        ("revision_number=4", {"router": {"routes": [HERS, HERS_TOO, *after]}}),
    ]


@pytest.mark.parametrize("atomic", [True, False])
def test_routes_of_a_router_that_is_gone_are_removed_already(cloud: Cloud, atomic: bool) -> None:
    extensions = frozenset({"router", "extraroute", "extraroute-atomic" if atomic else "revision-if-match"})
    cloud.answers = [(404, error("RouterNotFound"))]
    Calls(Api("faulty"), Listing("p", extensions, {}), {}, lambda: True, Turns()).run([routed("remove")])
    assert len(cloud.seen) == 1


def gone(group: str, *, stray: bool = False) -> Change:
    return Change("remove", "address_group", f"i/s/{group}", group, {}, stray=stray)


def test_a_removal_that_is_refused_keeps_nothing_else_and_is_told(cloud: Cloud) -> None:
    cloud.answers = [(409, error("AddressGroupInUse"))]
    calls = Calls(Api("faulty"), Listing("p", frozenset(), {}), {}, lambda: True, Turns())
    with pytest.raises(Refused, match="AddressGroupInUse"):
        calls.run([gone("g-1"), gone("g-2")])
    assert [method for method, _, _ in cloud.seen] == ["DELETE", "DELETE"]
    assert not calls.left


def test_a_stray_that_cannot_be_removed_is_left(cloud: Cloud) -> None:
    cloud.answers = [(200, {}), (409, error("AddressGroupInUse")), (200, {})]
    calls = Calls(Api("faulty"), Listing("p", frozenset(), {}), {}, lambda: True, Turns())
    calls.run([gone("hers", stray=True), gone("ours"), gone("hers-too", stray=True)])
    assert [path.rpartition("/")[2] for _, path, _ in cloud.seen] == ["ours", "hers", "hers-too"]
    assert calls.left == {"hers"}


def test_nothing_is_asked_when_it_is_not_wanted_any_more(cloud: Cloud) -> None:
    api = Api("faulty")
    api.closed = True
    with pytest.raises(Unreachable, match="stopping"):
        api.get("network", "/networks")
    assert not cloud.seen


def test_a_list_of_projects_that_keystone_cuts_off_is_not_believed(cloud: Cloud) -> None:
    some = [{"id": f"{n:032x}", "name": f"p{n}"} for n in range(50)]
    cloud.answers = [(200, {"projects": some, "truncated": True})] * 2
    with pytest.raises(WorldError, match="list_limit"):
        project_names(Api("faulty"))


def test_projects_are_listed_page_by_page_whatever_keystone_says_of_it(cloud: Cloud) -> None:
    """Keystone 28 and later cut the list off without a word; older ones repeat all of it."""
    every = [{"id": f"{n:032x}", "name": f"p{n}"} for n in range(250)]
    for pages in ([every[:100], every[100:200], every[200:]], [every, every]):
        cloud.seen.clear()
        cloud.answers = [(200, {"projects": page}) for page in pages]
        assert project_names(Api("faulty")) == {p["id"]: p["name"] for p in every}
        assert len(cloud.seen) == len(pages)
        assert [f"marker={every[-1 if len(pages) == 2 else 99]['id']}" in path for _, path, _ in cloud.seen][1]
