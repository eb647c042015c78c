"""Calls to the APIs of one cloud: blocking, thread-safe, bounded in time and tries; every refusal as a Problem.

`openstack.config` finds cloud and credentials as the openstack command does; keystoneauth keeps the token. Calls are
made without openstacksdk's resource classes: a listing of thousands costs them more time than it costs Neutron.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from isthmus.backends.changes import Call
from isthmus.errors import Problem, Unreachable, WorldError

log = logging.getLogger(__name__)

TIMEOUT, LONG_TIMEOUT = 20.0, 60.0
"""Seconds for one answer, and for that of a change: Neutron takes a while for a router's port on a busy day, and
whoever gives up does not know whether it happened."""

PAUSES = (0.2, 0.6)
"""Seconds before a question is asked again that nobody answered, or that was answered with 5xx or 429.

Only questions: of a change nobody knows whether it happened, so the next pass lists and sees.
"""

REMEMBERED = 1000
"""Changes of which the request id is kept."""

VERSIONS = {"network": "/v2.0", "identity": "/v3"}
"""Service -> the version that we speak; catalogs name a service with it or without."""


class Refused(WorldError):
    """The API answered, and it was a no. `status` is HTTP's."""

    def __init__(self, problem: Problem, status: int, kind: str) -> None:
        super().__init__(problem)
        self.status, self.kind = status, kind


class Api:
    """One cloud of clouds.yaml. `calls` counts everything that was sent, `accepted` the changes among it."""

    def __init__(self, cloud: str) -> None:
        self.cloud = cloud
        self.calls = 0
        self.accepted = 0
        self.recent: deque[Call] = deque(maxlen=REMEMBERED)
        self.closed = False
        """Nobody waits for answers any more: what fails is not tried again."""
        self.project = ""
        """Id of the project that our credentials are of: the owner of what no tenant may touch. Known after a call."""
        self._session: Any = None
        self._services: dict[str, tuple[Any, str]] = {}
        self._lock = threading.Lock()

    # -- calls ----------------------------------------------------------------------------------------------

    def get(self, service: str, path: str, **query: Any) -> Any:
        """The body of the answer. Raises Refused, Unreachable."""
        return self._tried(service, "GET", path, PAUSES, params=query, timeout=TIMEOUT)

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, revision: int | None = None) -> Any:
        """A change in Neutron. Raises Refused, Unreachable (then it may or may not have happened).

        revision  refused with 412 where the resource has another `revision_number` by now
        """
        begin = time.monotonic()
        headers = {} if revision is None else {"If-Match": f"revision_number={revision}"}
        answer, request = self._once("network", method, path, json=body, timeout=LONG_TIMEOUT, headers=headers)
        call = Call(f"{method} {path}", request, time.monotonic() - begin)
        with self._lock:
            self.accepted += 1
            self.recent.append(call)
        log.info("cloud %s: %s (%s, %.2f s)", self.cloud, call.what, call.request, call.seconds)
        return answer

    def _tried(self, service: str, method: str, path: str, pauses: tuple[float, ...], **more: Any) -> Any:
        for pause in pauses:
            if self.closed:
                raise Unreachable(self._problem("ApiUnreachable", f"{method} {path}", "not asked: we are stopping", ""))
            try:
                return self._once(service, method, path, **more)[0]
            except (Refused, Unreachable) as error:
                if self.closed or (isinstance(error, Refused) and error.status < 500 and error.status != 429):
                    raise
                time.sleep(pause)
        return self._once(service, method, path, **more)[0]

    def _once(self, service: str, method: str, path: str, **more: Any) -> tuple[Any, str]:
        from keystoneauth1 import exceptions  # noqa: PLC0415  # only where there is a cloud

        session, base = self._service(service)
        what = f"{method} {service} {path}"
        with self._lock:
            self.calls += 1
        try:
            answer = session.request(f"{base}{path}", method, raise_exc=False, **more)
        except exceptions.Unauthorized as error:
            # clouds.yaml may have others by now.
            with self._lock:
                self._services, self._session = {}, None
            raise Refused(self._problem("CredentialsRefused", what, str(error), CHECK_CLOUDS), 401, "") from error
        except exceptions.ConnectFailure as error:
            raise Unreachable(self._problem("ApiUnreachable", what, str(error), CHECK_SERVICE)) from error
        except exceptions.ClientException as error:
            raise Unreachable(self._problem("ApiFailed", what, str(error), CHECK_SERVICE)) from error
        request = answer.headers.get("x-openstack-request-id", "")
        if answer.status_code >= 400:
            raise self._refused(what, answer, request)
        return (answer.json() if answer.content else None), request

    def _service(self, service: str) -> tuple[Any, str]:
        """A session, and the address that paths are of."""
        with self._lock:
            if service not in self._services:
                self._services[service] = self._open(service)
            return self._services[service]

    def _open(self, service: str) -> tuple[Any, str]:
        import openstack.config  # noqa: PLC0415
        from keystoneauth1 import exceptions  # noqa: PLC0415
        from openstack.exceptions import ConfigException  # noqa: PLC0415

        try:
            # Without it a Keystone that never answers is waited for as long.
            region = openstack.config.OpenStackConfig().get_one(cloud=self.cloud, api_timeout=TIMEOUT)
            session = self._session or region.get_session()
            base = region.get_session_endpoint(service)
            self.project = session.get_project_id() or ""
        except ConfigException as error:
            raise WorldError(self._problem("UnknownCloud", "clouds.yaml", str(error), CHECK_CLOUDS)) from error
        except exceptions.Unauthorized as error:
            problem = self._problem("CredentialsRefused", "a token", str(error), CHECK_CLOUDS)
            raise Refused(problem, 401, "") from error
        except exceptions.ClientException as error:
            raise Unreachable(self._problem("ApiUnreachable", "a token", str(error), CHECK_SERVICE)) from error
        if not base:
            text = f"the catalog has no service {service!r} in region {region.get_region_name()!r}"
            raise WorldError(self._problem("NoEndpoint", "the catalog", text, "check region_name in clouds.yaml"))
        self._session, version = session, VERSIONS[service]
        base = base.rstrip("/")
        return session, base if base.endswith(version) else base + version

    # -- refusals -------------------------------------------------------------------------------------------

    def _problem(self, code: str, what: str, said: str, remedy: str) -> Problem:
        return Problem(code, f"cloud {self.cloud!r}: {what}: {' '.join(said.split())[:600]}", remedy=remedy)

    def _refused(self, what: str, answer: Any, request: str) -> Refused:
        kind, said = _said(answer)
        status = answer.status_code
        code, remedy = next(
            (v for k, v in REFUSALS.items() if k in (kind, status)),
            ("ApiFailed", CHECK_SERVICE) if status >= 500 else ("ApiRefused", "see the cloud's log for the request"),
        )
        more = f" (HTTP {status}, {request})" if request else f" (HTTP {status})"
        return Refused(self._problem(code, what, f"{said}{more}", remedy), status, kind)


CHECK_CLOUDS = "check the entry in clouds.yaml: auth_url, user, project, password"
CHECK_SERVICE = "check that the service runs; what stands is left as it is, and we ask again"

REFUSALS: Mapping[str | int, tuple[str, str]] = {
    "OverQuota": ("OverQuota", "raise that quota of the project: openstack quota set"),
    "RoutesExhausted": (
        "RoutesExhausted",
        "raise max_routes in neutron.conf (quota_router_route since 2026.2), or list fewer or adjacent subnets",
    ),
    "AddressGroupInUse": (
        "AddressGroupInUse",
        "a rule of the project still names our address group: remove that rule; the group goes with it",
    ),
    403: (
        "ApiForbidden",
        "give our user the role that docs/openstack.md names, or install the policy file that it shows",
    ),
    429: ("ApiBusy", "the API asks for fewer calls; we ask again"),
}
"""Neutron's own name of a refusal, or HTTP's number -> our code and what to do."""


def _said(answer: Any) -> tuple[str, str]:
    """Type and message of an error as Neutron or Keystone write it."""
    try:
        body = answer.json()
    except ValueError:
        return "", answer.text
    found = body.get("NeutronError") or body.get("error") or body if isinstance(body, dict) else body
    if isinstance(found, dict):
        return str(found.get("type", "")), str(found.get("message", found))
    return "", str(found)
