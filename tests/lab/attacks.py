"""The attacks of `test_attacks`: a lab for them, and frames, each with whom it must not reach."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import IPv6Address, ip_address
from itertools import product
from typing import Any

from isthmus.compile import names
from isthmus.lab import packets
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine, mac
from isthmus.lab.traffic import Pair

TENANTS = 5

Frame = Callable[[bytes], bytes]
"""From a mark to a whole Ethernet frame."""

WEB, QUIET, PODS, HIDDEN = "cloud-a-web-1", "cloud-a-quiet-1", "cluster-a-pods-1", "cluster-a-hidden-1"
OWN, REMOTE = "10.1.1.11", "10.2.1.11"
UNLISTED_REMOTE, UNLISTED_OWN = "10.2.9.11", "10.1.9.11"
X_NEAR, X_FAR = "10.8.1.11", "10.9.1.11"
EDGE, TRANSIT, FAR_TRANSIT = "169.254.128.1", "169.254.64.1", "169.254.64.2"


def switch(name: str, router: str, cidrs: list[str], *hosts: str, listed: bool = True) -> dict[str, Any]:
    endpoints = [{"host": h} for h in hosts]
    return {"name": name, "router": router, "cidrs": cidrs, "endpoints": endpoints, "listed": listed}


def site(name: str, things: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    hosts = [{"name": f"{name}-{n}", "gateway": n < 3} for n in (1, 2, 3)]
    return {"name": name, "hosts": hosts, "perTenant": things, **shared}


FILE: dict[str, Any] = {
    "name": "attacks",
    "sites": [
        site(
            "cloud",
            {
                "routers": [
                    {
                        "name": "{tenant}",
                        "attach": [{"switch": "ext", "addresses": ["203.0.113.11/24"], "hosts": ["cloud-1"]}],
                    }
                ],
                "switches": [
                    switch("{tenant}-web", "{tenant}", ["10.1.1.0/24", "fd00:1:1::/64"], "cloud-1", "cloud-3"),
                    switch("{tenant}-quiet", "{tenant}", ["10.1.9.0/24"], "cloud-2", listed=False),
                ],
            },
            {
                "routers": [{"name": "x"}],
                "switches": [
                    switch("x-web", "x", ["10.8.1.0/24", "fd00:8:1::/64"], "cloud-1", "cloud-3"),
                    {
                        "name": "ext",
                        "cidrs": ["203.0.113.0/24"],
                        "external": True,
                        "endpoints": [
                            {"name": "neighbour", "host": "cloud-2", "addresses": ["203.0.113.1"], "gateway": False}
                        ],
                    },
                ],
            },
        ),
        site(
            "cluster",
            {
                "routers": [{"name": "{tenant}"}],
                "switches": [
                    switch("{tenant}-pods", "{tenant}", ["10.2.1.0/24", "fd00:2:1::/64"], "cluster-1", "cluster-3"),
                    switch("{tenant}-hidden", "{tenant}", ["10.2.9.0/24"], "cluster-2", listed=False),
                ],
            },
            {
                "routers": [{"name": "x"}],
                "switches": [switch("x-pods", "x", ["10.9.1.0/24", "fd00:9:1::/64"], "cluster-1", "cluster-3")],
            },
        ),
    ],
}


def owner(machine: Machine) -> str | None:
    return machine.router


@dataclass(frozen=True)
class Attack:
    """Frames, each from a place and link; and at whose interfaces they must not be seen."""

    name: str
    shots: tuple[tuple[str, str, Frame], ...]
    victims: Callable[[Machine], bool]
    setting: Callable[[Lab], Any] | None = None
    """What the attacker arranged before: a context manager."""


def anybody(_: Machine) -> bool:
    return True


def others(machine: Machine) -> bool:
    return owner(machine) != "a"


def away(machine: Machine) -> bool:
    """Everybody but the attacker's own machines of her own site."""
    return others(machine) or machine.site != "cloud"


def to(target: str, source: str = OWN, *, via: str = mac("cloud", "a-web", "router"), **more: Any) -> Frame:
    """A UDP packet handed to a router (default: the attacker's own), from any source that one likes."""
    return lambda mark: packets.frame(mac(WEB), via, source, target, mark, **more)


def shots(place: str, *frames: Frame) -> tuple[tuple[str, str, Frame], ...]:
    return tuple((place, "eth0", frame) for frame in frames)


def icmp(kind: tuple[int, int], source: str, target: str, quoted: Pair, rest: bytes = bytes(4), via: str = "") -> Frame:
    """An ICMP message that quotes a UDP packet between two addresses."""

    def frame(mark: bytes) -> bytes:
        here, there, one, other = (ip_address(a) for a in (source, target, *quoted))
        inner = packets.ip(one, other, 17, packets.udp(one, other, mark))
        message = packets.icmp(here, there, *kind, rest, inner)
        number, ethertype = (1, packets.ETH_IPV4) if here.version == 4 else (58, packets.ETH_IPV6)
        whole = packets.ip(here, there, number, message)
        return packets.ethernet(via or mac("cloud", "a-web", "router"), mac(WEB), ethertype, whole)

    return frame


def ours(tenant: str, where: str, what: str) -> str:
    """MAC address of a router port of ours: anybody who reads the code can guess it."""
    return names.mac(names.of("default", f"tenant-{tenant}", where, what))


LINKS = [f"169.254.128.{8 * link + host}" for link in range(2 * (TENANTS + 1)) for host in (1, 2, 3)]
TRANSITS = [f"169.254.64.{n}" for n in range(1, 9)]


@contextmanager
def routes(lab: Lab, *prefixes: str, router: str = "a", at: str = "cloud", via: str = EDGE) -> Iterator[None]:
    """A tenant who may change her own router sends more to the edge than she should."""
    for prefix in prefixes:
        lab.site(at).nbctl("--wait=hv", "lr-route-add", router, prefix, via)
    try:
        yield
    finally:
        for prefix in prefixes:
            lab.site(at).nbctl("lr-route-del", router, prefix, via)


def forged_sources() -> Iterator[Attack]:
    outside = mac("cloud", "a", "ext")
    remote6, own6 = "fd00:2:1::b", "fd00:1:1::b"
    yield Attack(
        "source of another tenant's listed prefix",
        shots(WEB, to(REMOTE, X_NEAR), to(REMOTE, X_FAR), to(remote6, "fd00:8:1::b")),
        anybody,
    )
    yield Attack("source of an unlisted subnet of the own VPC", shots(WEB, to(REMOTE, UNLISTED_OWN)), anybody)
    yield Attack("source of the far side, of link, transit and loopback", shots(
        WEB, *(to(REMOTE, s) for s in ("10.2.1.12", UNLISTED_REMOTE, EDGE, TRANSIT, FAR_TRANSIT, "127.0.0.1"))
    ), anybody)  # fmt: skip
    probes = [f"169.254.128.{host}" for host in (3, 4, 11, 12)]
    yield Attack(
        "source of a probe",
        shots(WEB, *(to(t, p, protocol="icmp") for t in (REMOTE, X_FAR, UNLISTED_REMOTE) for p in probes)),
        anybody,
    )
    quiet = mac("cloud", "a-quiet", "router")
    yield Attack("from an unlisted subnet, own source", shots(QUIET, to(REMOTE, UNLISTED_OWN, via=quiet)), anybody)
    yield Attack("from an unlisted subnet, listed source", shots(QUIET, to(REMOTE, OWN, via=quiet)), anybody)
    yield Attack(
        "neighbour on the external network, own source",
        shots("neighbour", to(REMOTE, "203.0.113.1", via=outside)),
        anybody,
    )
    yield Attack(
        "neighbour on the external network, listed source",
        shots("neighbour", to(REMOTE, OWN, via=outside), to(remote6, own6, via=outside)),
        anybody,
    )
    yield Attack(
        "neighbour on the external network, source of the far side",
        shots("neighbour", to(OWN, REMOTE, via=outside), to("fd00:1:1::b", remote6, via=outside)),
        anybody,
    )
    yield Attack("from an unlisted subnet, source of the far side", shots(QUIET, to(OWN, REMOTE, via=quiet)), anybody)


def addresses_of_ours() -> Iterator[Attack]:
    macs = [
        mac("cloud", "a-web", "router"),
        *(ours(t, s, w) for t in "ab" for s in ("cloud", "cluster") for w in ("link-edge", "link-vpc", "transit")),
    ]
    targets = [*LINKS, *TRANSITS, "fd69:7374::1", "fd69:7374:0:1::1", "fd69:7375::1", "fd69:7375::2"]
    yield Attack("straight at link, transit and edge addresses, UDP", shots(WEB, *(to(t) for t in targets)), away)
    yield Attack(
        "straight at link, transit and edge addresses, ICMP echo",
        shots(WEB, *(to(t, protocol="icmp") for t in targets)),
        away,
    )
    yield Attack(
        "the same with other tenants' sources",
        shots(WEB, *(to(t, s) for t in (*LINKS[:8], *TRANSITS[:3]) for s in (X_NEAR, X_FAR, EDGE))),
        anybody,
    )
    guessed = [*macs, *(mac(s, f"{t}-{w}", "router") for t in "bx" for s, w in (("cloud", "web"), ("cluster", "pods")))]
    guessed += [mac(f"{s}-{t}-{w}-1") for t in "bx" for s, w in (("cloud", "web"), ("cluster", "pods"))]
    yield Attack(
        "guessed MACs of edges, links, other tenants' routers and machines",
        shots(WEB, *(to(t, via=m) for m in guessed[1:] for t in (REMOTE, OWN, X_NEAR, X_FAR, EDGE, TRANSIT))),
        away,
    )

    def claim(target_mac: str, address: str) -> Frame:
        return lambda mark: packets.arp("reply", mac(WEB), address, target_mac, REMOTE) + mark

    yield Attack(
        "ARP answers for routers and machines that one is not",
        shots(WEB, *(claim(m, a) for m in guessed for a in ("10.1.1.1", EDGE, TRANSIT, REMOTE))),
        away,
    )


def icmp_messages() -> Iterator[Attack]:
    flows = [(X_NEAR, X_FAR), (X_FAR, X_NEAR), (OWN, REMOTE), (REMOTE, OWN)]
    senders = [EDGE, "169.254.128.2", TRANSIT, FAR_TRANSIT, "10.8.1.1", "10.1.1.1", X_NEAR]
    redirect = ip_address(OWN).packed
    yield Attack(
        "ICMP redirects to oneself for another tenant's flow",
        shots(WEB, *(icmp((5, 1), s, f[0], f, redirect) for s in senders for f in flows if f[0] != OWN)),
        others,
    )
    yield Attack(
        "forged ICMP errors that quote another tenant's flow",
        shots(
            WEB,
            *(
                icmp(kind, s, target, flow, struct.pack("!HH", 0, 600))
                for kind, s, flow in product(((3, 4), (3, 1), (11, 0)), senders, flows[:2])
                for target in (flow[0], UNLISTED_REMOTE, UNLISTED_OWN)
            ),
        ),
        others,
    )
    yield Attack(
        "forged ICMP errors from link and transit addresses to what is not listed",
        shots(
            WEB,
            *(icmp((3, 4), s, UNLISTED_REMOTE, (UNLISTED_REMOTE, OWN), struct.pack("!HH", 0, 600)) for s in senders),
        ),
        away,
        lambda lab: routes(lab, "10.2.9.0/24"),
    )
    senders6 = ["fd69:7374::1", "fd69:7375::1", "fd69:7375::2", "fe80::1"]
    yield Attack(
        "ICMPv6 redirects and forged errors for another tenant's flow",
        shots(
            WEB,
            *(
                icmp(kind, s, "fd00:8:1::b", ("fd00:8:1::b", "fd00:9:1::b"), struct.pack("!I", 1280))
                for kind, s in product(((137, 0), (2, 0), (1, 0), (3, 0)), senders6)
            ),
        ),
        others,
    )

    def advertise(mark: bytes) -> bytes:
        here, everybody = IPv6Address("fe80::bad"), IPv6Address("ff02::1")
        prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 86400, 0) + IPv6Address("fd00:bad::").packed
        option = struct.pack("!BB6x", 253, 1 + len(mark) // 8) + mark
        message = packets.icmp(here, everybody, 134, 0, struct.pack("!BBH", 64, 0, 1800), bytes(8) + prefix + option)
        whole = packets.ip(here, everybody, 58, message, 255)
        return packets.ethernet("33:33:00:00:00:01", mac(WEB), packets.ETH_IPV6, whole)

    yield Attack("IPv6 router advertisement", shots(WEB, advertise), away)


def own_router() -> Iterator[Attack]:
    beyond = (X_NEAR, X_FAR, UNLISTED_REMOTE, *LINKS[3:9], *TRANSITS[:4], "10.3.1.11")
    yield Attack(
        "default route to the edge on the own router",
        shots(WEB, *(to(t) for t in (*beyond, "fd00:8:1::b", "fd00:9:1::b"))),
        away,
        lambda lab: routes(lab, "0.0.0.0/0"),
    )
    yield Attack(
        "default route to the edge, forged sources",
        shots(WEB, *(to(t, s) for t in beyond for s in (X_NEAR, X_FAR, UNLISTED_OWN))),
        anybody,
        lambda lab: routes(lab, "0.0.0.0/0"),
    )
    prefixes = ("10.8.1.0/24", "10.9.1.0/24", "10.2.9.0/24", "169.254.64.0/18", "169.254.128.16/29")
    yield Attack(
        "static routes to the edge for others' and unlisted prefixes",
        shots(WEB, *(to(t) for t in beyond)),
        away,
        lambda lab: routes(lab, *prefixes),
    )
    yield Attack(
        "unlisted subnets of both sites, with routes to the edges on both routers",
        shots(WEB, to(UNLISTED_REMOTE))
        + shots(QUIET, to(UNLISTED_REMOTE, UNLISTED_OWN, via=mac("cloud", "a-quiet", "router")))
        + shots(HIDDEN, to(OWN, UNLISTED_REMOTE, via=mac("cluster", "a-hidden", "router"))),
        anybody,
        both_routers,
    )
    yield Attack(
        "the same over IPv6: a default route to the edge",
        shots(WEB, *(to(t, "fd00:1:1::b") for t in ("fd00:8:1::b", "fd00:9:1::b", "fd69:7375::2", "fd69:7374:0:1::2"))),
        away,
        lambda lab: routes(lab, "::/0", via="fd69:7374::1"),
    )


@contextmanager
def both_routers(lab: Lab) -> Iterator[None]:
    with routes(lab, "10.2.9.0/24"), routes(lab, "10.1.9.0/24", at="cluster", via="169.254.128.9"):
        yield


@cache
def keys(lab: Lab, where: str) -> tuple[dict[str, int], dict[str, int]]:
    """Tunnel keys of a zone: of datapaths by name, of ports by name."""
    tables = lab.snapshot(f"sb/{where}")[f"sb/{where}"]
    datapaths = {dict(r["external_ids"][1])["name"]: r["tunnel_key"] for r in tables["Datapath_Binding"].values()}
    return datapaths, {r["logical_port"]: r["tunnel_key"] for r in tables["Port_Binding"].values()}


def tunnelled(lab: Lab, worker: str, outer: str, gateway: str, victim: str) -> Iterator[Frame]:
    """Frames that claim to be on the victim's switch, on her routers, on her transit switch."""
    machine, nodes = lab.machine(victim), lab.layout.nodes
    where, tenant = machine.site, machine.router
    datapaths, ports = keys(lab, where)
    owned = f"isthmus-default.tenant-{tenant}"
    source = "10.2.1.11" if where == "cloud" else "10.1.1.11"
    port_to_router = f"{where}-{machine.switch}-router"
    for datapath, ingress, egress, target_mac in (
        (machine.switch, ports[port_to_router], ports[victim], machine.mac),
        (machine.switch, ports[victim], ports[port_to_router], machine.gateway_mac),
        (tenant, ports[f"{owned}.{where}.link-vpc"], ports[f"{tenant}-{machine.switch}"], machine.mac),
        (owned, 1, ports[f"{owned}.{where}.transit-port"], ours(str(tenant), where, "transit")),
        (owned, 2, ports[f"{owned}.{where}.transit-port"], ours(str(tenant), where, "transit")),
        (f"{owned}.{where}.edge", ports[f"{owned}.{where}.transit"], ports[f"{owned}.{where}.link-edge"], machine.mac),
    ):
        yield partial(
            encapsulated,
            partial(packets.frame, machine.gateway_mac, target_mac, source, str(machine.address(4))),
            source_mac=nodes[worker].mac,
            target_mac=nodes[worker].router_mac,
            source=outer,
            target=lab.host(gateway).address,
            key=datapaths[str(datapath)],
            ingress=ingress,
            egress=egress,
        )


def encapsulated(inner: Frame, mark: bytes, **outer: Any) -> bytes:
    return packets.geneve(inner(mark), **outer)


def from_hosts(lab: Lab, worker: str, source: str, what: str) -> Attack:
    """All hosts of the other site, with keys of two tenants there."""
    far = "cloud" if worker.startswith("cluster") else "cluster"
    kind = "web" if far == "cloud" else "pods"
    frames = [
        (worker, "under", frame)
        for n in (1, 2, 3)
        for tenant in "ax"
        for victim in (f"{far}-{tenant}-{kind}-1", f"{far}-{tenant}-{kind}-2")
        for frame in tunnelled(lab, worker, lab.host(source).address, f"{far}-{n}", victim)
    ]
    return Attack(f"Geneve with tenants' keys from {worker} to {far}'s hosts, {what}", tuple(frames), anybody)


def geneve(lab: Lab) -> Iterator[Attack]:
    yield from_hosts(lab, "cluster-3", "cluster-3", "own outer source")
    yield from_hosts(lab, "cloud-3", "cloud-3", "own outer source")
    yield from_hosts(lab, "cluster-3", "cluster-1", "outer source of its gateway")
    yield from_hosts(lab, "cluster-3", "cloud-1", "outer source of the far gateway")
    yield from_hosts(lab, "cloud-3", "cloud-1", "outer source of its gateway")


def attacks(lab: Lab) -> Iterator[Attack]:
    yield from forged_sources()
    yield from addresses_of_ours()
    yield from icmp_messages()
    yield from own_router()
    yield from geneve(lab)


# -- a cluster per tenant ---------------------------------------------------------------------------------------------

CLUSTERS: dict[str, Any] = {
    "name": "clusters",
    "sites": [
        FILE["sites"][0]
        | {
            "routers": (),
            "switches": (),
            "perTenant": {
                "routers": [{"name": "{tenant}"}],
                "switches": [
                    switch("{tenant}-web", "{tenant}", ["10.1.1.0/24", "fd00:1:1::/64"], "cloud-1", "cloud-3")
                ],
            },
        },
        *(
            site(
                f"of-{tenant}",
                {
                    "routers": [{"name": "{tenant}"}],
                    "switches": [
                        switch("{tenant}-pods", "{tenant}", ["10.2.1.0/24"], f"of-{tenant}-1", f"of-{tenant}-3")
                    ],
                },
                {"tenants": [tenant]},
            )
            for tenant in "ab"
        ),
    ],
}


def from_the_own_cluster(lab: Lab, source: str, what: str) -> Attack:
    """Tenant a's worker to every gateway there is, with the keys of tenant b's transit switch, which every zone has."""
    worker, nodes = "of-a-3", lab.layout.nodes
    datapaths, ports = keys(lab, "cloud")
    owned = "isthmus-default.tenant-b"
    frames = [
        partial(
            encapsulated,
            partial(packets.frame, ours("b", here, "transit"), ours("b", there, "transit"), one, other),
            source_mac=nodes[worker].mac,
            target_mac=nodes[worker].router_mac,
            source=lab.host(source).address,
            target=lab.host(gateway).address,
            key=datapaths[owned],
            ingress=ports[f"{owned}.{here}.transit-port"],
            egress=ports[f"{owned}.{there}.transit-port"],
        )
        for here, there, one, other in (("of-b", "cloud", REMOTE, OWN), ("cloud", "of-b", OWN, REMOTE))
        for gateway in ("of-a-1", "of-a-2", "of-b-1", "of-b-2", "cloud-1", "cloud-2")
    ]
    return Attack(
        f"Geneve with tenant b's transit keys from tenant a's cluster, {what}",
        tuple((worker, "under", f) for f in frames),
        anybody,
    )
