"""Between a client and a real API server: passes everything on, and may be slow, refuse, or forget what it saw."""

from __future__ import annotations

import json
import ssl
import threading
import time
from contextlib import suppress
from http.client import HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from isthmus.agent.namespaces import inside
from isthmus.lab.kubernetes.cluster import ADMIN, API_PORT, operators_keys
from isthmus.lab.lab import Lab

OTHERS = ("connection", "transfer-encoding", "content-length", "host", "accept-encoding")
"""Headers that are of one connection."""
EXPIRED = {
    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
    "message": "too old resource version",
}  # fmt: skip
BUSY = EXPIRED | {"code": 429, "reason": "TooManyRequests", "message": "try again later"}


class Front(ThreadingHTTPServer):
    """Listens on the operator's loopback address, by plain HTTP, and asks a cluster as its administrator.

    delay     seconds before a request is passed on
    busy      every request is answered 429, and what was open is closed
    expired   how every watch that is begun is answered: by a `status` 410, or by an `event` that says so; or ""
    refused   how many requests were not passed on
    """

    daemon_threads = True

    def __init__(self, lab: Lab, site: str) -> None:
        self.delay, self.expired, self.refused = 0.0, "", 0
        self._busy = False
        self._open: set[HTTPSConnection] = set()
        self._where, self._host = lab.state.path("operator"), lab.site(site).address
        keys = operators_keys(lab.paths, site)
        self._tls = ssl.create_default_context(cafile=str(keys / "ca.pem"))
        self._tls.load_cert_chain(keys / f"{ADMIN}.pem", keys / f"{ADMIN}-key.pem")
        with inside(self._where):
            super().__init__(("127.0.0.1", 0), _Request)
        threading.Thread(target=self.serve_forever, name="front", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def busy(self) -> bool:
        return self._busy

    @busy.setter
    def busy(self, value: bool) -> None:
        self._busy = value
        if value:
            self.drop()

    def drop(self) -> None:
        """End whatever is under way."""
        for connection in list(self._open):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(2)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HTTPSConnection:
        """A connection whose answer is to be read; `done` with it afterwards."""
        connection = HTTPSConnection(self._host, API_PORT, context=self._tls)
        with inside(self._where):
            connection.connect()
        self._open.add(connection)
        connection.request(method, path, body or None, headers)
        return connection

    def done(self, connection: HTTPSConnection) -> None:
        self._open.discard(connection)
        connection.close()

    def stop(self) -> None:
        self.shutdown()
        self.drop()
        self.server_close()


class _Request(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        watch = "watch=" in urlsplit(self.path).query
        time.sleep(self.server.delay)
        if self.server.busy:
            self._refuse(429, json.dumps(BUSY))
        elif watch and self.server.expired == "status":
            self._refuse(410, json.dumps(EXPIRED))
        elif watch and self.server.expired == "event":
            self._refuse(200, json.dumps({"type": "ERROR", "object": EXPIRED}) + "\n")
        else:
            with suppress(OSError, HTTPException):
                self._pass_on()

    def _refuse(self, code: int, text: str) -> None:
        self.server.refused += 1
        self._begin(code, "application/json")
        self.wfile.write(text.encode())

    def _begin(self, code: int, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OTHERS}
        connection = self.server.ask(self.command, self.path, body, headers)
        try:
            answer = connection.getresponse()
            self._begin(answer.status, answer.headers.get("Content-Type", "application/json"))
            while data := answer.read1(1 << 16):
                self.wfile.write(data)
        finally:
            self.server.done(connection)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
