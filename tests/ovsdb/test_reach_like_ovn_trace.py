"""`reach` against the real thing: random topologies through ovn-northd, random packets through ovn-trace."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.verify.path import End, Packet, Trace
from isthmus.verify.reach import Entry, World, traces
from northd import Northd

TOPOLOGIES, PACKETS = 12, 40
POOL = ["10.1.0.0/24", "10.1.0.0/16", "10.2.0.0/24", "10.2.0.128/25", "10.3.0.0/24", "10.0.0.0/8", "0.0.0.0/0"]
POOL6 = ["fd00:1::/64", "fd00:2::/64", "fd00::/16", "::/0", "fd00:3::/64"]


@dataclass
class Topology:
    """Commands that build it, and its machines: (switch, port, MAC, addresses, routers' MACs)."""

    seed: int
    commands: list[list[str]] = field(default_factory=list)
    machines: list[tuple[str, str, str, list[str], list[str]]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    """Every address that is somewhere."""
    ports: list[str] = field(default_factory=list)

    def do(self, *words: str) -> None:
        self.commands.append(list(words))


class Maker:
    """Draws a topology: routers, switches with router ports and machines, routes, policies, ACLs, faults."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.made = Topology(seed)
        self.macs = 0
        self.routers = [f"r{seed}x{n}" for n in range(self.random.randint(2, 4))]
        self.router_addresses: list[str] = []
        self.near: dict[str, list[str]] = {r: [] for r in self.routers}
        """Router -> addresses of other routers in its networks."""

    def mac(self) -> str:
        self.macs += 1
        return f"02:00:00:{self.made.seed:02x}:00:{self.macs:02x}"

    def draw(self) -> Topology:
        for router in self.routers:
            self.made.do("lr-add", router)
        for number in range(self.random.randint(3, 5)):
            self.switch(f"s{self.made.seed}x{number}", number + 1)
        self.peers()
        for router in self.routers:
            for _ in range(self.random.randint(1, 6)):
                self.route(router)
            for _ in range(self.random.choice([0, 0, 1, 2, 4])):
                self.policy(router)
        self.faults()
        return self.made

    def switch(self, name: str, number: int) -> None:
        self.made.do("ls-add", name)
        doors = []
        here = self.random.sample(self.routers, self.random.randint(1, 2))
        if len(here) == 2:
            for own, other in ((0, 2), (1, 1)):
                self.near[here[own]] += [f"10.{number}.0.{other}", f"fd00:{number}::{other}"]
        for host, router in enumerate(here, 1):
            port, mac = f"{router}-{name}", self.mac()
            networks = [f"10.{number}.0.{host}/24", f"fd00:{number}::{host}/64"]
            self.made.do("lrp-add", router, port, mac, *networks)
            self.made.do("lsp-add", name, f"{name}-{router}")
            self.made.do("lsp-set-type", f"{name}-{router}", "router")
            self.made.do("lsp-set-addresses", f"{name}-{router}", "router")
            self.made.do("lsp-set-options", f"{name}-{router}", f"router-port={port}")
            addresses = [str(ip_interface(n).ip) for n in networks]
            self.router_addresses += addresses
            self.made.addresses += addresses
            self.made.ports.append(port)
            doors.append(mac)
        for host in range(10, 10 + self.random.randint(1, 2)):
            mac, addresses = self.mac(), [f"10.{number}.0.{host * 13}", f"fd00:{number}::{host}"]
            port = f"{name}-vm{host}"
            self.made.do("lsp-add", name, port)
            self.made.do("lsp-set-addresses", port, " ".join([mac, *addresses]))
            self.made.addresses += addresses
            self.made.machines.append((name, port, mac, addresses, doors))
        for _ in range(self.random.choice([0, 0, 1, 3])):
            self.acl(name)

    def peers(self) -> None:
        if len(self.routers) < 3 or self.random.random() < 0.3:
            return
        one, other = self.random.sample(self.routers, 2)
        ports = [f"{one}-to-{other}", f"{other}-to-{one}"]
        self.made.do("lrp-add", one, ports[0], self.mac(), "10.99.0.1/30", "fd00:99::1/64", f"peer={ports[1]}")
        back = [f"peer={ports[0]}"] if self.random.random() < 0.8 else []
        self.made.do("lrp-add", other, ports[1], self.mac(), "10.99.0.2/30", "fd00:99::2/64", *back)
        self.near[one] += ["10.99.0.2", "fd00:99::2"] * 2
        self.near[other] += ["10.99.0.1", "fd00:99::1"] * 2
        self.router_addresses += ["10.99.0.1", "10.99.0.2", "fd00:99::1", "fd00:99::2"]

    def route(self, router: str) -> None:
        six = self.random.random() < 0.3
        prefix = self.random.choice(POOL6 if six else POOL)
        hops = self.near[router] if self.near[router] and self.random.random() < 0.9 else self.router_addresses
        hop = self.random.choice([a for a in hops if (":" in a) == six])
        if self.random.random() < 0.05:
            hop = "discard"
        options = ["--ecmp"] if hop != "discard" else []
        if self.random.random() < 0.15:
            options = ["--policy=src-ip", *options]
        elif self.random.random() < 0.15:
            options = ["--route-table=t1", *options]
        port = self.random.choice(self.made.ports)
        out = [port] if self.random.random() < 0.1 and hop != "discard" else []
        self.made.do("--may-exist", *options, "lr-route-add", router, prefix, hop, *out)

    def policy(self, router: str) -> None:
        six = self.random.random() < 0.3
        prefixes = [p for p in (POOL6 if six else POOL)]
        family = "6" if six else "4"
        first, second = self.random.sample(prefixes, 2)
        port = self.random.choice(self.made.ports)
        match = self.random.choice(
            [
                f"ip{family}.dst == {first}",
                f"ip{family}.src == {{{first}, {second}}} && ip{family}.dst != {second}",
                f'inport == "{port}" && ip{family}',
                f'inport != "{port}" && (icmp{family} || tcp.dst == 80)',
                f"!(ip{family}.dst == {first}) && ip{family}",
                f"ip{family} && !tcp && ip.ttl > 62",
                f"icmp{family}.type == {{8, 128}} && ip{family}.src != {{{first}, {second}}}",
                "udp.dst >= 1000 && udp.dst < 3000",
                f'outport == "{port}"',
            ]
        )
        hops = self.near[router] or self.router_addresses
        hop = self.random.choice([a for a in hops if (":" in a) == six])
        action = self.random.choice([["allow"], ["allow"], ["drop"], ["reroute", hop]])
        priority = str(len(self.made.commands))
        self.made.do("lr-policy-add", router, priority, match, *action)

    def acl(self, switch: str) -> None:
        direction = self.random.choice(["from-lport", "to-lport"])
        prefix = self.random.choice(POOL)
        end = "src" if self.random.random() < 0.5 else "dst"
        match = self.random.choice([f"ip4.{end} == {prefix}", f"ip4.{end} != {prefix}", "icmp6", "tcp || udp"])
        action = self.random.choice(["allow", "drop"])
        self.made.do("acl-add", switch, direction, str(len(self.made.commands)), match, action)

    def faults(self) -> None:
        for port in self.made.ports:
            if self.random.random() < 0.05:
                self.made.do("lrp-set-enabled", port, "disabled")
            if self.random.random() < 0.15:
                self.made.do("lrp-set-options", port, "route_table=t1")
        for _switch, port, *_ in self.made.machines:
            if self.random.random() < 0.05:
                self.made.do("lsp-set-enabled", port, "disabled")
        if self.random.random() < 0.2:
            self.made.do("set", "Logical_Router", self.random.choice(self.routers), "enabled=false")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Northd, list[Topology], World]]:
    """All topologies at once, each with names of its own, in one pair of databases."""
    northd = Northd(tmp_path_factory.mktemp("n"))
    try:
        topologies = [Maker(seed).draw() for seed in range(TOPOLOGIES)]
        for topology in topologies:
            northd.nbctl_all(topology.commands)
        northd.start_tracer()
        yield northd, topologies, World({"one": northd.snapshot()})
    finally:
        northd.stop()


def microflow(port: str, mac: str, door: str, packet: Packet) -> str:
    words = [f'inport=="{port}"', f"eth.src=={mac}", f"eth.dst=={door}", f"ip.ttl=={packet.ttl}"]
    words += [f"ip{packet.family}.src=={packet.source}", f"ip{packet.family}.dst=={packet.target}"]
    if packet.proto in (6, 17):
        name = "tcp" if packet.proto == 6 else "udp"
        words += [f"{name}.src=={packet.sport}", f"{name}.dst=={packet.dport}"]
        words += ["tcp.flags==2"] if packet.proto == 6 else []
    else:
        name = f"icmp{packet.family}"
        words += [f"{name}.type=={packet.kind}", f"{name}.code==0"]
    return " && ".join(words)


def what_ovn_says(text: str) -> str:
    """`to PORT`, `router`, `asks` (for a next hop that no row knows), or `lost`."""
    if re.search(r"Time exceeded|icmp4.type = 11;|icmp6.type = 3;", text):
        return "lost"
    if re.search(r"icmp4.type = 0;|icmp6.type = 129;|tcp_reset \{|icmp4.type = 3;|icmp6.code = 4;", text):
        return "router"
    if re.search(r"^\s*(arp|nd_ns) \{", text, re.MULTILINE):
        return "asks"
    outputs = re.findall(r'output to "([^"]+)", type "([^"]*)"', text)
    return f"to {outputs[-1][0]}" if outputs and outputs[-1][1] == "" else "lost"


def what_reach_says(trace: Trace) -> str:
    if trace.end is End.DELIVERED:
        return f"to {trace.lsp}" if trace.lsp else "asks"
    if trace.end is End.ROUTER:
        return "router"
    if trace.end is End.LEFT or "next hop's address" in trace.reason:
        return "asks"
    return "lost" if trace.end is End.DROPPED else "unknown"


def draw_packet(random_: random.Random, topology: Topology, sources: list[str]) -> Packet | None:
    source = random_.choice(sources)
    family = ip_address(source).version
    extra = ["10.7.7.7", "fd00:7::7", "10.2.0.200", "10.3.0.77"]
    if random_.random() < 0.1:
        source = random_.choice([a for a in [*topology.addresses, *extra] if ip_address(a).version == family])
    target = random_.choice([a for a in topology.addresses + extra if ip_address(a).version == family])
    network = ip_network(f"{sources[family == 6]}/{24 if family == 4 else 64}", strict=False)
    if ip_address(target) in network:
        return None
    protocol = random_.choice(["icmp", "icmp", "tcp", "udp"])
    more = {"dport": random_.choice([80, 443, 2000])} if protocol != "icmp" else {}
    ttl = random_.choice([64, 64, 64, 1, 2, 3])
    return Packet.make(source, target, protocol, ttl=ttl, **more)


@pytest.mark.parametrize("number", range(TOPOLOGIES))
def test_packets_end_where_ovn_trace_says(built: tuple[Northd, list[Topology], World], number: int) -> None:
    northd, topologies, world = built
    topology = topologies[number]
    random_ = random.Random(1000 + number)
    zone = world.zones["one"]
    compared = 0
    while compared < PACKETS:
        switch, port, mac, sources, doors = random_.choice(topology.machines)
        packet = draw_packet(random_, topology, sources)
        if packet is None:
            continue
        door = random_.choice(doors)
        text = northd.traced(switch, flow := microflow(port, mac, door, packet))
        if not text:
            continue
        said = what_ovn_says(text)
        uuid = zone.switch_ports[port].switch
        name = next(
            (p.name for p in zone.router_ports.values() if p.mac == int(door.replace(":", ""), 16)), "(disabled)"
        )
        branches = traces(world, Entry("one", uuid, port, door=name), packet)
        ours = {what_reach_says(t) for t in branches}
        assert said in ours or (said == "asks" and "lost" in ours), (flow, ours, text, branches)
        assert len(ours) == 1 or len(branches) > 1
        compared += 1
