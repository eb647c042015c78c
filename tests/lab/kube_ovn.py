"""What Kube-OVN's controller does to a cluster and its OVN, as far as it could meet what we write there.

From its source at 1533681d7 (`pkg/controller`: vpc.go, subnet.go, gc.go; docs/kube-ovn.md). The rest is real.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any

from isthmus.errors import WorldError
from isthmus.lab import rpc
from isthmus.lab.http import request
from isthmus.lab.kubernetes.cluster import ADMIN, operators_keys, server
from isthmus.lab.lab import Lab
from isthmus.lab.layout import mac

Object = dict[str, Any]
VENDOR = "kube-ovn"
PERIOD = 0.2
DEFAULT = "ovn-cluster"
OTHERS_POLICIES = ("subnet", "vpc-egress-gateway", "isU2ORoutePolicy")
"""Keys of external_ids of policies that it keeps although no `Vpc` has them."""


@contextmanager
def alongside(work: Callable[[], None], pause: float = PERIOD) -> Iterator[None]:
    """Meanwhile `work` is done again and again, `pause` seconds apart. Raises what it raised."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(pause):
            work()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            done.set()
        running.result()


class KubeOvn:
    def __init__(self, lab: Lab, site: str = "cluster") -> None:
        self._lab, self._site = lab, lab.site(site)
        keys = operators_keys(lab.paths, site)
        self._tls = ssl.create_default_context(cafile=str(keys / "ca.pem"))
        self._tls.load_cert_chain(keys / f"{ADMIN}.pem", keys / f"{ADMIN}-key.pem")
        self._server = server(self._site.address)

    # -- the API server -------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        url, net = f"{self._server}{path}", self._lab.state.path("operator")
        return request(net, method, url, body, {"Content-Type": kind}, self._tls)[0]

    def all(self, plural: str) -> list[Object]:
        return list(self.ask("GET", f"/apis/kubeovn.io/v1/{plural}")["items"])

    def vpc(self, name: str) -> Object:
        return self.ask("GET", f"/apis/kubeovn.io/v1/vpcs/{name}")

    def replace(self, vpc: Object) -> bool:
        """False where somebody was faster."""
        try:
            self.ask("PUT", f"/apis/kubeovn.io/v1/vpcs/{vpc['metadata']['name']}", vpc)
        except WorldError as error:
            if ": 409 " not in str(error):
                raise
            return False
        return True

    def _say(self, vpc: str, **status: Any) -> None:
        path = f"/apis/kubeovn.io/v1/vpcs/{vpc}/status"
        self.ask("PATCH", path, {"status": status}, "application/merge-patch+json")

    # -- its work -------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Works again and again until the end. Raises what went wrong meanwhile."""
        with alongside(self.work):
            yield

    def work(self) -> None:
        subnets = self.all("subnets")
        for vpc in self.all("vpcs"):
            self._work_on(vpc, [s for s in subnets if s["spec"]["vpc"] == vpc["metadata"]["name"]])

    def _work_on(self, vpc: Object, subnets: list[Object]) -> None:
        name, spec = vpc["metadata"]["name"], vpc.get("spec") or {}
        lacking = [r for r in spec.get("staticRoutes", ()) if not r.get("policy")]
        for route in lacking:
            route["policy"] = "policyDst"
        if lacking and not self.replace(vpc):
            return
        rows = self._rows()
        commands: list[list[str]] = []
        if name not in _names(rows, "Logical_Router"):
            options = ["options:mac_binding_age_threshold=300", "options:dynamic_neigh_routers=true"]
            commands += [["lr-add", name], ["set", "Logical_Router", name, f"external_ids:vendor={VENDOR}", *options]]
        for subnet in subnets:
            if subnet["metadata"]["name"] not in _names(rows, "Logical_Switch"):
                commands += _switch(name, subnet)
        self._send(commands)
        self._send(list(_routes(self._rows(), name, spec, subnets if name != DEFAULT else [])))
        if name != DEFAULT:
            self._send(list(_policies(self._rows(), name, spec)))
        status = {"standby": True, "router": name, "default": name == DEFAULT}
        if any(vpc.get("status", {}).get(key) != value for key, value in status.items()):
            self._say(name, **status)

    def collect(self) -> None:
        """Its garbage collection when it starts, with --enable-external-vpc=true."""
        rows = self._rows()
        vpcs = {v["metadata"]["name"] for v in self.all("vpcs")}
        subnets = {s["metadata"]["name"] for s in self.all("subnets")}
        commands = []
        for table, known, command in (("Logical_Switch", subnets, "ls-del"), ("Logical_Router", vpcs, "lr-del")):
            for uuid, row in rows[table].items():
                if _ids(row).get("vendor") == VENDOR and row["name"] not in known:
                    commands.append([command, uuid])
        for uuid, row in rows["Logical_Switch_Port"].items():
            if row["type"] == "" and _ids(row).get("vendor") == VENDOR and "pod" not in _ids(row):
                commands.append(["lsp-del", uuid])
        self._send(commands)

    def _rows(self) -> dict[str, rpc.Rows]:
        return rpc.snapshot(self._site.nb_unix, "OVN_Northbound")

    def _send(self, commands: list[list[str]]) -> None:
        if commands:
            self._site.nbctl(*chain.from_iterable(["--", *command] for command in commands))


def _ids(row: Object) -> dict[str, str]:
    return rpc.mapping(row["external_ids"])


def _names(rows: dict[str, rpc.Rows], table: str) -> set[str]:
    return {str(row["name"]) for row in rows[table].values()}


def _set(value: Any) -> list[Any]:
    """An OVSDB set's elements; a reference as its UUID."""
    elements = value[1] if isinstance(value, list) and value[0] == "set" else [value]
    return [e[1] if isinstance(e, list) else e for e in elements]


def _switch(vpc: str, subnet: Object) -> Iterator[list[str]]:
    name, spec = subnet["metadata"]["name"], subnet["spec"]
    port, peer, mark = f"{vpc}-{name}", f"{name}-{vpc}", f"external_ids:vendor={VENDOR}"
    cidrs, gateways = spec["cidrBlock"].split(","), spec["gateway"].split(",")
    networks = [f"{g}/{c.partition('/')[2]}" for g, c in zip(gateways, cidrs, strict=True)]
    yield ["ls-add", name]
    yield ["set", "Logical_Switch", name, mark]
    yield ["lrp-add", vpc, port, mac(vpc, name), *networks]
    yield ["set", "Logical_Router_Port", port, mark, f"external_ids:lr={vpc}"]
    yield ["lsp-add", name, peer]
    yield ["lsp-set-type", peer, "router"]
    yield ["lsp-set-addresses", peer, "router"]
    yield ["lsp-set-options", peer, f"router-port={port}"]
    yield ["set", "Logical_Switch_Port", peer, mark, f"external_ids:ls={name}"]


def _routes(rows: dict[str, rpc.Rows], vpc: str, spec: Object, subnets: list[Object]) -> Iterator[list[str]]:
    """Those of the `Vpc`, and a source route for each Subnet; of others' routes it lists those with its own mark."""
    wanted = {(r["policy"], r["cidr"], r["nextHopIP"], r.get("routeTable", "")) for r in spec.get("staticRoutes", ())}
    for each in (s["spec"] for s in subnets):
        pairs = zip(each["cidrBlock"].split(","), each["gateway"].split(","), strict=True)
        wanted |= {("policySrc", cidr, gateway, "") for cidr, gateway in pairs}
    router = next(r for r in rows["Logical_Router"].values() if r["name"] == vpc)
    there = {}
    for uuid in _set(router["static_routes"]):
        row = rows["Logical_Router_Static_Route"][uuid]
        if _ids(row).get("vendor") == VENDOR:
            policy = "policySrc" if _set(row["policy"]) == ["src-ip"] else "policyDst"
            there[policy, row["ip_prefix"], row["nexthop"], row["route_table"]] = uuid
    for key in there.keys() - wanted:
        yield ["remove", "Logical_Router", vpc, "static_routes", there[key]]
    for number, (policy, cidr, hop, table) in enumerate(sorted(wanted - there.keys())):
        columns = [
            f'ip_prefix="{cidr}"',
            f'nexthop="{hop}"',
            f"policy={'src-ip' if policy == 'policySrc' else 'dst-ip'}",
        ]
        columns += [f"route_table={table}"] if table else []
        route = ["create", "Logical_Router_Static_Route", *columns, f"external_ids:vendor={VENDOR}"]
        yield [f"--id=@r{number}", *route]
        yield ["add", "Logical_Router", vpc, "static_routes", f"@r{number}"]


def _policies(rows: dict[str, rpc.Rows], vpc: str, spec: Object) -> Iterator[list[str]]:
    """Those of the `Vpc`; every other one goes, whoever made it."""
    wanted = {(r["priority"], r["match"], r["action"]) for r in spec.get("policyRoutes", ())}
    router = next(r for r in rows["Logical_Router"].values() if r["name"] == vpc)
    policies = {u: rows["Logical_Router_Policy"][u] for u in _set(router["policies"])}
    there = {
        (p["priority"], p["match"], p["action"]): uuid
        for uuid, p in policies.items()
        if not any(_ids(p).get(key) for key in OTHERS_POLICIES)
    }
    for key in there.keys() - wanted:
        yield ["remove", "Logical_Router", vpc, "policies", there[key]]
    for number, (priority, match, action) in enumerate(sorted(wanted - there.keys())):
        columns = [f"priority={priority}", f"match={json.dumps(match)}", f"action={action}"]
        yield [f"--id=@p{number}", "create", "Logical_Router_Policy", *columns, f"external_ids:vendor={VENDOR}"]
        yield ["add", "Logical_Router", vpc, "policies", f"@p{number}"]
