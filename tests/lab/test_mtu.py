"""Path MTU discovery and traceroute across, with our policies on: the kernels of the machines are the judges.

Machines may send 1500 bytes and the underlay carries them, so that nothing but the edges says what fits: with the
Sites' MTU of 1442 and 1400 that is 1400, the lesser. The kernel believes an ICMP error only if its checksum is right
and it quotes a packet of the socket's own.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from isthmus.agent.namespaces import inside
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.spec import BUILTIN, load, parse
from isthmus.lab.traffic import Pair

from .icmp_errors import (
    DISCOVER,
    DO,
    FRAGMENTATION_NEEDED,
    HEADERS,
    PATH_MTU,
    PORT,
    PORT_UNREACHABLE,
    PROBE,
    TIME_EXCEEDED,
    IcmpError,
    answer,
    error,
    mouth,
)
from .steps import apply, set_site, warm

pytestmark = pytest.mark.lab

WEB, PODS = "cloud-a-web-1", "cluster-a-pods-1"
BOTH = [(WEB, PODS), (PODS, WEB)]
MTU = {"cloud": 1442, "cluster": 1400}
BIG = 1500

EDGE = {
    (WEB, 4): "169.254.128.1",
    (WEB, 6): "fd69:7374::1",
    (PODS, 4): "169.254.128.9",
    (PODS, 6): "fd69:7374:0:1::1",
}
"""The near edge's address on its link, as each machine sees it."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two sites of different MTU, over an underlay that carries more than the machines may send."""
    file = load("two-sites").model_dump(mode="json", by_alias=True)
    file["underlay"]["mtu"] = BIG + 100
    for site in file["sites"]:
        for switch in site["perTenant"]["switches"]:
            for endpoint in switch["endpoints"]:
                endpoint["mtu"] = BIG
    with Lab.up(parse(file, str(BUILTIN), name=unique_name(), tenants=2)) as made:
        for site, mtu in MTU.items():
            set_site(made, site, mtu=mtu)
        apply(made)
        for version in (4, 6):
            warm(made, BOTH, version)
        yield made


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("pair", BOTH)
def test_the_near_edge_says_the_lesser_mtu_to_what_does_not_fit(lab: Lab, pair: Pair, version: int) -> None:
    said = IcmpError(FRAGMENTATION_NEEDED[version], min(MTU.values()), EDGE[pair[0], version])
    assert answer(lab, pair, version, BIG) == said
    assert answer(lab, pair, version, min(MTU.values()) + 1) == said


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("pair", BOTH)
def test_what_just_fits_arrives(lab: Lab, pair: Pair, version: int) -> None:
    found = answer(lab, pair, version, min(MTU.values()))
    assert found == IcmpError(PORT_UNREACHABLE[version], 0, str(lab.machine(pair[1]).address(version)))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("pair", BOTH)
def test_the_kernel_learns_the_path_mtu(lab: Lab, pair: Pair, version: int) -> None:
    with mouth(lab, pair[0], version, DO) as made:
        made.connect((str(lab.machine(pair[1]).address(version)), PORT))
        made.send(b"x" * 100)
        assert error(made) is not None, "the way is open"
        made.setsockopt(*DISCOVER[version], PROBE)
        made.send(b"x" * (BIG - HEADERS[version]))
        assert error(made) is not None
        assert made.getsockopt(*PATH_MTU[version]) == min(MTU.values())


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("pair", BOTH)
def test_tcp_gets_through_although_its_segments_are_too_large_at_first(lab: Lab, pair: Pair, version: int) -> None:
    total = 300_000
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with inside(lab.state.path(pair[1])):
        server = socket.create_server(("", 0), family=family)
    with inside(lab.state.path(pair[0])):
        client = socket.socket(family)
    # What the kernel learned of this path before is forgotten: the connection must find out by itself.
    for end in pair:
        lab.exec(end, ["ip", f"-{version}", "route", "flush", "cache"])
    with server, client:
        server.settimeout(5)
        client.settimeout(5)
        client.connect((str(lab.machine(pair[1]).address(version)), server.getsockname()[1]))
        far, _ = server.accept()
        assert client.getsockopt(*PATH_MTU[version]) == BIG
        thread = threading.Thread(target=client.sendall, args=(b"x" * total,))
        with far:
            far.settimeout(5)
            thread.start()
            received = 0
            while received < total:
                received += len(far.recv(65536)) or total
            thread.join()
        assert client.getsockopt(*PATH_MTU[version]) == min(MTU.values())
    assert received == total


@pytest.mark.parametrize("pair", BOTH)
def test_every_router_on_the_way_answers_when_the_ttl_is_used_up(lab: Lab, pair: Pair) -> None:
    """The far edge's answer carries the address that was asked: OVN swaps addresses on a distributed gateway port."""
    gateways = {m.name: str(m.gateways[0]) for m in lab.machines}
    target = str(lab.machine(pair[1]).address(4))
    far_vpc = str(ip_address(EDGE[pair[1], 4]) + 1)
    found = [answer(lab, pair, 4, 100, hops) for hops in range(1, 6)]
    assert found == [
        IcmpError(TIME_EXCEEDED[4], 0, gateways[pair[0]]),
        IcmpError(TIME_EXCEEDED[4], 0, EDGE[pair[0], 4]),
        IcmpError(TIME_EXCEEDED[4], 0, target),
        IcmpError(TIME_EXCEEDED[4], 0, far_vpc),
        IcmpError(PORT_UNREACHABLE[4], 0, target),
    ]


@pytest.mark.parametrize("pair", BOTH)
def test_ipv6_tells_of_the_first_and_the_last_hop(lab: Lab, pair: Pair) -> None:
    """OVN's routers answer "time exceeded" over IPv6 to neighbours only: hops 2 to 4 stay silent, none misleads."""
    first = str(lab.machine(pair[0]).gateways[1])
    found = [answer(lab, pair, 6, 100, hops, seconds=0.3) for hops in range(1, 6)]
    last = IcmpError(PORT_UNREACHABLE[6], 0, str(lab.machine(pair[1]).address(6)))
    assert found == [IcmpError(TIME_EXCEEDED[6], 0, first), None, None, None, last]
