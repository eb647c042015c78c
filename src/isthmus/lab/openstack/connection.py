"""An openstacksdk connection to a cloud of a lab, from a process outside: its sockets are opened inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from openstack.connection import Connection
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from isthmus.agent.namespaces import inside


class NamespaceAdapter(HTTPAdapter):
    """HTTP of a `requests` session, with sockets of the network namespace at path `net`."""

    def __init__(self, net: str) -> None:
        self._net = net
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        net = self._net

        class Inside(HTTPConnection):
            def _new_conn(self) -> Any:
                with inside(net):
                    return super()._new_conn()

        class Pool(HTTPConnectionPool):
            ConnectionCls = Inside

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


def connect(net: str, entry: Mapping[str, Any]) -> Connection:
    """An entry of a clouds.yaml, from the network namespace at path `net`."""
    session = requests.Session()
    session.trust_env = False  # no proxy of the caller's leads into a lab
    session.mount("http://", NamespaceAdapter(net))
    authenticated = Session(auth=Password(**entry["auth"]), session=session)
    return Connection(session=authenticated, region_name=entry["region_name"])
