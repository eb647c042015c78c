"""One HTTP request to a service of a lab, from any process of the machine: its socket is opened inside the lab."""

from __future__ import annotations

import json
import ssl
from http.client import HTTPConnection, HTTPMessage, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from isthmus.agent.namespaces import inside
from isthmus.errors import Problem, WorldError

Json = dict[str, Any]
TIMEOUT = 120.0


def request(
    net: str,
    method: str,
    url: str,
    body: Json | bytes | None,
    headers: dict[str, str],
    tls: ssl.SSLContext | None = None,
) -> tuple[Json, HTTPMessage]:
    """One request from the network namespace at path `net`; the answer's body and headers.

    tls  where the URL is one of https
    Raises WorldError unless it is a success.
    """
    place = urlsplit(url)
    assert place.hostname
    where = (place.hostname, place.port)
    connection = (
        HTTPSConnection(*where, timeout=TIMEOUT, context=tls) if tls else HTTPConnection(*where, timeout=TIMEOUT)
    )
    text = body if body is None or isinstance(body, bytes) else json.dumps(body)
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    try:
        with inside(net):
            connection.connect()
        target = f"{place.path}?{place.query}" if place.query else place.path
        connection.request(method, target, text, {"Content-Type": kind, **headers})
        response = connection.getresponse()
        answer = response.read()
    except OSError as error:
        raise WorldError(Problem("NoAnswer", f"{method} {url}: {error}", remedy="`isthmus lab logs`")) from error
    finally:
        connection.close()
    if response.status >= 400:
        said = answer.decode(errors="replace")[:2000]
        raise WorldError(Problem("Refused", f"{method} {url}: {response.status} {said}"))
    return (json.loads(answer) if answer else {}), response.headers
