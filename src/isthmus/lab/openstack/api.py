"""A cloud's APIs by plain HTTP, from any process of the machine: sockets are opened inside the lab."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from urllib.parse import quote

from isthmus.lab.http import Json, request


@dataclass(slots=True)
class Api:
    """Who asks, in which project, and what she got for her password: a token and the catalog.

    net  the network namespace that requests leave from, e.g. the central node's own
    """

    net: str
    keystone: str
    user: str
    password: str = field(repr=False)
    project: str
    _token: str = field(default="", repr=False)
    _project_id: str = ""
    _catalog: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, service: str, path: str, **query: str) -> Json:
        terms = "&".join(f"{key}={quote(value)}" for key, value in query.items())
        return self.ask("GET", service, f"{path}?{terms}" if terms else path)

    def post(self, service: str, path: str, body: Json) -> Json:
        return self.ask("POST", service, path, body)

    def put(self, service: str, path: str, body: Json | None = None) -> Json:
        return self.ask("PUT", service, path, body)

    def delete(self, service: str, path: str) -> None:
        self.ask("DELETE", service, path)

    def ask(self, method: str, service: str, path: str, body: Json | None = None) -> Json:
        """One request to a service of the catalog, by its type. Raises WorldError with the service's own words."""
        self.log_in()
        return request(self.net, method, self._catalog[service] + path, body, {"X-Auth-Token": self._token})[0]

    def upload(self, service: str, path: str, data: bytes) -> None:
        """PUT bytes as they are. Raises WorldError."""
        self.log_in()
        request(self.net, "PUT", self._catalog[service] + path, data, {"X-Auth-Token": self._token})

    @property
    def project_id(self) -> str:
        self.log_in()
        return self._project_id

    def log_in(self) -> None:
        """Get a token, once: a lab is built before it ends."""
        with self._lock:
            if self._token:
                return
            domain = {"name": "Default"}
            user = {"name": self.user, "domain": domain, "password": self.password}
            body = {
                "auth": {
                    "identity": {"methods": ["password"], "password": {"user": user}},
                    "scope": {"project": {"name": self.project, "domain": domain}},
                }
            }
            answer, headers = request(self.net, "POST", f"{self.keystone}/auth/tokens", body, {})
            self._project_id = answer["token"]["project"]["id"]
            for service in answer["token"]["catalog"]:
                public = [e["url"] for e in service["endpoints"] if e["interface"] == "public"]
                if public:
                    self._catalog[service["type"]] = public[0]
            self._token = headers["X-Subject-Token"]
