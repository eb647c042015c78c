"""A tenant of an OpenStack is connected; many are; nobody does anything; a tenant changes something herself.

The reference of connecting is the same calls, sent back to back by a process that holds a token already, and then the
time that a route takes from Neutron's answer to the first packet where all else stands.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import quantiles
from typing import Any

import yaml

from bench import inlab
from bench.joining import order
from bench.report import Aim, Row, compared, progress, single
from isthmus.lab.lab import Lab
from isthmus.lab.traffic import Pair, Streams

FILE = Path(__file__).with_name("cloud.yaml")
THOUSAND = Path(__file__).with_name("cloud-thousand.yaml")
ON_A_ROUTER = 20
"""Interconnects on each router there."""
INTERVAL = 0.005
IDLE = 120.0
"""Seconds in which nobody does anything: two of the clock's listings."""

BOTH: list[Pair] = [("cloud-a-web-1", "cluster-a-pods-1"), ("cluster-a-pods-1", "cloud-a-web-1")]
CALL = "isthmus apply, of one tenant"


def connect(rounds: int) -> Iterator[Row]:
    """Start of the command, interpreter included, until a packet has crossed in both directions."""
    with inlab.lab(FILE, name="cloud") as lab:
        documents, counts = _documents(lab), []
        ours, theirs = [], []
        cloud = _Cloud(lab)
        for number in range(rounds):
            for way in order(number):
                if way == "ours":
                    documents.write_text(_text("a"), encoding="utf-8")
                    taken, said = _joined(lab)
                    ours.append(taken)
                    counts.append(len(said["calls"]))
                    converging = cloud.route_again()
                    inlab.operator(lab, "disconnect", "tenant-a")
                else:
                    theirs.append(cloud.back_to_back() + (converging if number else 0.0))
                    cloud.clean()
            if not number:
                theirs[0] += converging
            progress(f"  connect {number + 1}/{rounds}: {ours[-1]:.3f} s, reference {theirs[-1]:.3f} s")
        sent = cloud.sent
    if set(counts) != {sent}:
        raise RuntimeError(f"{set(counts)} calls were accepted of ours, and {sent} make the reference")
    yield single("cloud-connect-calls", "calls", counts, command=CALL, note="dual stack, security group opened")
    yield compared(
        "cloud-connect-first-packet", "s", ours, theirs, command=CALL, aim=Aim("<=", 1.2, "x"),
        peer="the same calls back to back with a token at hand, and a route's way from Neutron's answer to a packet",
        note="two sites, over ssl:; packets every 5 ms in both directions",
    )  # fmt: skip


def many(rounds: int) -> Iterator[Row]:
    """Many tenants, by one command each and by one for all; the API is the same process for both."""
    tenants = int(os.environ.get("BENCH_TENANTS", "50"))
    each, together, reference = [], [], []
    with inlab.lab(FILE, name="cloud", tenants=tenants) as lab:
        documents, cloud = _documents(lab), _Cloud(lab)
        names = list(lab.layout.file.tenant_names)
        cloud.lift_quotas()
        for _ in range(rounds):
            reference += [cloud.back_to_back(name) for name in names[:10]]
            cloud.clean()
            for number, name in enumerate(names):
                documents.write_text(_text(*names[: number + 1]), encoding="utf-8")
                begin = time.monotonic()
                inlab.operator(lab, "apply", "--wait", "programmed", "--timeout", "300", timeout=330)
                each.append(time.monotonic() - begin)
                if number % 10 == 9:
                    progress(f"  {name}: {number + 1} of {tenants} joined, the last in {each[-1]:.2f} s")
            yield from _idle(lab, f"{tenants}-attachments")
            _emptied(lab, documents)
            documents.write_text(_text(*names), encoding="utf-8")
            begin = time.monotonic()
            inlab.operator(lab, "apply", "--wait", "programmed", "--timeout", "1200", timeout=1230)
            together.append((time.monotonic() - begin) / tenants)
            progress(f"  at once: {together[-1] * tenants:.1f} s")
            _emptied(lab, documents)
    peer = "one tenant's calls back to back, without rows"
    yield compared(
        f"cloud-{tenants}-tenants-one-by-one", "s", each, reference, command="isthmus apply, once for each", peer=peer,
        note="each with all documents so far",
    )  # fmt: skip
    yield compared(
        f"cloud-{tenants}-tenants-at-once", "s", together, reference, command="isthmus apply, once for all", peer=peer,
        note="seconds for each tenant of them all",
    )  # fmt: skip


def idle(rounds: int) -> Iterator[Row]:
    """Calls that a running `serve` makes while nobody does anything, with one attachment."""
    with inlab.lab(FILE, name="cloud") as lab:
        _documents(lab).write_text(_text("a"), encoding="utf-8")
        inlab.operator(lab, "apply", "--wait", "programmed")
        yield from _idle(lab, "1-attachment", rounds)


def thousand(rounds: int) -> Iterator[Row]:
    """The same with a thousand: twenty Interconnects on each router of fifty tenants, all made by one command."""
    attachments = int(os.environ.get("BENCH_ATTACHMENTS", "1000"))
    with inlab.lab(THOUSAND, name="cloud", tenants=attachments // ON_A_ROUTER) as lab:
        _Cloud(lab).lift_quotas()
        _documents(lab).write_text(_twenties(lab.layout.file.tenant_names), encoding="utf-8")
        progress(f"  {attachments} attachments in one command")
        begin = time.monotonic()
        inlab.operator(lab, "apply", "--wait", "programmed", "--timeout", "7200", timeout=7230)
        taken = time.monotonic() - begin
        progress(f"  {taken:.0f} s; nobody does anything now")
        yield single(
            f"cloud-{attachments}-attachments-at-once", "s", [taken / attachments],
            command="isthmus apply, once for all", note=f"seconds for each; {ON_A_ROUTER} on each router, IPv4",
        )  # fmt: skip
        yield from _idle(lab, f"{attachments}-attachments", rounds)


def change(rounds: int) -> Iterator[Row]:
    """A tenant adds a subnet to her router: until packets cross to the other site, and within her own router."""
    far, near = ("cluster-a-pods-1", "late-1"), ("cloud-a-web-1", "late-1")
    ours, native = [], []
    with inlab.lab(FILE, name="cloud") as lab:
        _documents(lab).write_text(_text("a", subnets=["*"]), encoding="utf-8")
        inlab.operator(lab, "apply", "--wait", "programmed")
        member = lab.site("cloud").cloud("a").network
        router, network = member.find_router("a"), member.create_network(name="late")
        subnet = member.create_subnet(network_id=network.id, name="late", ip_version=4, cidr="10.1.7.0/24")
        lab.plug("late-1", site="cloud", switch="late", host="cloud-2", addresses=["10.1.7.11/24"],
                 gateways=["10.1.7.1"], tenant="a")  # fmt: skip
        with inlab.serving(lab, 5.0):
            for number in range(rounds):
                with Streams(lab, [far, near], interval=INTERVAL) as streams:
                    time.sleep(0.5)
                    begin = time.time_ns()
                    member.add_interface_to_router(router, subnet=subnet.id)
                    ours.append((streams.wait(far, timeout=30.0) - begin) / 1e9)
                    native.append((streams.wait(near, timeout=30.0) - begin) / 1e9)
                member.remove_interface_from_router(router, subnet=subnet.id)
                time.sleep(3.0)
                progress(f"  change {number + 1}/{rounds}: {ours[-1]:.3f} s, in the router {native[-1]:.3f} s")
    command = "isthmus serve; openstack router add subnet"
    peer = "within the tenant's own router, by Neutron alone"
    yield compared("cloud-change-p50", "s", ours, native, command=command, peer=peer, note="packets every 5 ms")
    last = [quantiles(v, n=100, method="inclusive")[98] for v in (ours, native)]
    yield compared("cloud-change-p99", "s", last[:1], last[1:], command=command, peer=peer, note=f"of {rounds} changes")


# -- documents ------------------------------------------------------------------------------------------------------


def _documents(lab: Lab) -> Path:
    return lab.paths.config / "interconnects.yaml"


def _text(*tenants: str, subnets: list[str] | None = None) -> str:
    def one(tenant: str) -> dict[str, Any]:
        vpc = {"project": tenant, "name": tenant}
        cloud = {"site": "cloud", "vpc": vpc, "subnets": subnets or [f"{tenant}-web"], "securityGroups": ["default"]}
        cluster = {"site": "cluster", "vpc": {"name": tenant}, "subnets": [f"{tenant}-pods"]}
        return _interconnect(f"tenant-{tenant}", cloud, cluster)

    return yaml.safe_dump_all([one(tenant) for tenant in tenants], sort_keys=False)


def _twenties(tenants: Iterable[str]) -> str:
    """Each tenant's subnet of the cloud is joined with many VPCs of her own elsewhere."""

    def one(tenant: str, number: int) -> dict[str, Any]:
        cloud = {"site": "cloud", "vpc": {"project": tenant, "name": tenant}, "subnets": [f"{tenant}-web"]}
        cluster = {"site": "cluster", "vpc": {"name": f"{tenant}-{number}"}, "subnets": [f"{tenant}-pods-{number}"]}
        return _interconnect(f"tenant-{tenant}-{number}", cloud, cluster)

    numbers = range(1, ON_A_ROUTER + 1)
    return yaml.safe_dump_all([one(tenant, number) for tenant in tenants for number in numbers], sort_keys=False)


def _interconnect(name: str, *attachments: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "Interconnect",
        "metadata": {"name": name},
        "spec": {"attachments": list(attachments)},
    }


def _emptied(lab: Lab, documents: Path) -> None:
    documents.unlink()
    inlab.operator(lab, "apply", "--prune", "--timeout", "1200", timeout=1230)


def _joined(lab: Lab) -> tuple[float, Mapping[str, Any]]:
    """Seconds from the start of `apply` to the first packet of the slower direction, and what it said."""
    gate = inlab.Gate(lab, ["isthmus", "apply", "--wait", "programmed", "--output", "json"])
    with Streams(lab, BOTH, interval=INTERVAL) as streams:
        time.sleep(0.2)
        at = gate.open()
        first = max(streams.wait(pair, timeout=60.0) for pair in BOTH)
        said = json.loads(gate.end())
    return (first - at) / 1e9, said


# -- what idles -----------------------------------------------------------------------------------------------------


def _idle(lab: Lab, what: str, rounds: int = 1) -> Iterator[Row]:
    """Calls a minute by Neutron's and Keystone's own logs."""
    found = []
    with inlab.serving(lab, 40.0):  # past the first listing, before the second
        for _ in range(rounds):
            before = _requests(lab)
            time.sleep(IDLE)
            found.append((_requests(lab) - before) * 60 / IDLE)
    note = f"{IDLE:g} s each; requests in the logs of Neutron and Keystone"
    yield single(f"cloud-idle-{what}", "calls/min", found, command="isthmus serve", note=note)


def _requests(lab: Lab) -> int:
    logs = ("/run/log/neutron.log", "/run/log/keystone.log")
    return sum(int(lab.exec("cloud", ["grep", "-c", "(HTTP/1", log]).stdout) for log in logs)


# -- the reference --------------------------------------------------------------------------------------------------


class _Cloud:
    """The same calls as ours, by hand: as the service user, one connection, a token at hand."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._api = lab.site("cloud").cloud("isthmus").network
        self._admin = lab.site("cloud").cloud("admin").network
        self._made: list[tuple[str, str, str, str]] = []
        self.sent = self._count = 0
        self._projects = {p.name: p.id for p in lab.site("cloud").cloud("admin").identity.projects()}
        # Modules and a token.
        list(self._api.networks())

    def back_to_back(self, tenant: str = "a") -> float:
        """Seconds of all calls that connect a tenant."""
        router = next(self._admin.routers(name=tenant))
        groups = self._admin.security_groups(project_id=self._projects[tenant], name="default")
        group = next(iter(groups)).id
        self._count, words = 0, {"description": "as ours"}
        begin = time.monotonic()
        network = self._post("network", name="by-hand", **words)
        subnets = []
        for version, cidr, pool in ((4, "169.254.128.0/29", "169.254.128.2"), (6, "fd69:7374::/64", "fd69:7374::2")):
            pools = [{"start": pool, "end": pool}]
            subnets.append(
                self._post("subnet", network_id=network, ip_version=version, cidr=cidr, gateway_ip=None,
                           enable_dhcp=False, allocation_pools=pools, name="by-hand", **words)
            )  # fmt: skip
        ports = []
        for pool in ("169.254.128.2", "fd69:7374::2"):
            fixed = [{"ip_address": pool}]
            ports.append(self._post("port", network_id=network, fixed_ips=fixed, name="by-hand", **words))
            self._put(f"/routers/{router.id}/add_router_interface", {"port_id": ports[-1]})
        peers = ["10.2.1.0/24", "fd00:2:1::/64"]
        routes = [
            {"destination": d, "nexthop": h} for d, h in zip(peers, ("169.254.128.1", "fd69:7374::1"), strict=True)
        ]
        addresses = self._post("address_group", name="by-hand", addresses=peers, project_id=self._projects[tenant],
                               **words)  # fmt: skip
        for version in (4, 6):
            self._post("security_group_rule", security_group_id=group, direction="ingress",
                       ethertype=f"IPv{version}", remote_address_group_id=addresses, **words)  # fmt: skip
        for path in (f"/networks/{network}", *(f"/subnets/{s}" for s in subnets), *(f"/ports/{p}" for p in ports)):
            self._put(f"{path}/tags", {"tags": ["by-hand=1", "by-hand=2", "by-hand=3"]})
        self._put(f"/routers/{router.id}/add_extraroutes", {"router": {"routes": routes}})
        taken, self.sent = time.monotonic() - begin, self._count
        self._made.append((router.id, network, addresses, group))
        return taken

    def lift_quotas(self) -> None:
        """Of our project: Neutron's own are enough for 48 tenants."""
        lifted = dict.fromkeys(("networks", "subnets", "ports", "security_group_rules"), -1)
        self._admin.update_quota(self._projects["service"], **lifted)

    def clean(self) -> None:
        """Take away what `back_to_back` made."""
        for router, network, addresses, group in self._made:
            self._put(f"/routers/{router}", {"router": {"routes": []}})
            for port in list(self._api.ports(network_id=network)):
                self._put(f"/routers/{router}/remove_router_interface", {"port_id": port.id})
            self._api.delete_network(network)
            for rule in list(self._api.security_group_rules(security_group_id=group, direction="ingress")):
                if rule.remote_address_group_id == addresses:
                    self._api.delete_security_group_rule(rule)
            self._api.delete_address_group(addresses)
        self._made = []

    def route_again(self) -> float:
        """Seconds from the answer to a route that is added, where all else stands, to a packet in both directions."""
        router = next(self._admin.routers(name="a"))
        body = {"router": {"routes": router.routes}}
        self._put(f"/routers/{router.id}/remove_extraroutes", body)
        with Streams(self._lab, BOTH, interval=INTERVAL) as streams:
            time.sleep(0.5)
            self._put(f"/routers/{router.id}/add_extraroutes", body)
            begin = time.time_ns()
            return max(0.0, (max(streams.wait(pair, timeout=30.0) for pair in BOTH) - begin) / 1e9)

    def _post(self, resource: str, **body: Any) -> str:
        self._count += 1
        plural = f"{resource}s".replace("_", "-")
        answer = self._api.post(f"/{plural}", json={resource: body})
        if answer.status_code >= 400:
            raise RuntimeError(f"{resource}: {answer.text}")
        return str(answer.json()[resource]["id"])

    def _put(self, path: str, body: dict[str, Any]) -> None:
        self._count += 1
        answer = self._api.put(path, json=body)
        if answer.status_code >= 400:
            raise RuntimeError(f"{path}: {answer.text}")
