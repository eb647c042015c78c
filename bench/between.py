"""Round trip and TCP throughput between Pods of a VPC, against plain ports of a switch on the same OVN and hosts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import inlab
from bench.crossing import TCP_SECONDS, Run, throughput
from bench.echo import ECHOES
from bench.joining import order
from bench.report import Aim, Row, compared, progress
from isthmus.lab.lab import Lab

FILE = Path(__file__).with_name("pods-between.yaml")
PODS = ("cluster-a-pods-1", "cluster-a-pods-2", "cluster-a-pods-3")
HOSTS = ("n1", "n1", "n2")
WAYS = {"same-node": (0, 1), "other-node": (0, 2)}
MTU = 1442
PLUG = """
set -e
ip netns add plain{n}
ip link add eth0 netns plain{n} address 0a:00:00:00:77:0{n} mtu {mtu} type veth peer plain{n}
ip link set plain{n} up
ip -n plain{n} link set lo up
ip -n plain{n} addr add 10.77.0.{n}/24 dev eth0
ip -n plain{n} link set eth0 up
ip netns exec plain{n} ethtool -K eth0 tx off sg off tso off gso off gro off
ethtool -K plain{n} tx off sg off tso off gso off gro off
db=--db=unix:/run/openvswitch/db.sock
ovs-vsctl $db add-port br-int plain{n} -- set Interface plain{n} external_ids:iface-id=plain{n}
ovs-vsctl $db wait-until Interface plain{n} external_ids:ovn-installed=true
"""


def between(rounds: int) -> Iterator[Row]:
    figures: dict[str, dict[str, tuple[list[float], list[float]]]] = {
        way: {"pods": ([], []), "plain": ([], [])} for way in WAYS
    }
    with inlab.lab(FILE, name="between", tenants=1) as lab:
        _plug(lab)
        for number in range(rounds):
            for way, (source, target) in WAYS.items():
                for whose in _order(number):
                    times, rates = figures[way][whose]
                    time, rate = (_pods if whose == "pods" else _plain)(lab, source, target)
                    times.append(time)
                    rates.append(rate)
            said = ", ".join(f"{w} {f['pods'][0][-1]:.0f}/{f['plain'][0][-1]:.0f} us" for w, f in figures.items())
            progress(f"  between {number + 1}/{rounds}: {said}")
    for way, found in figures.items():
        peer = "plain ports of a switch, same hosts"
        (times, rates), (plain_times, plain_rates) = found["pods"], found["plain"]
        yield compared(
            f"pod-to-pod-round-trip-{way}", "us", times, plain_times, peer=peer,
            command=f"median of {ECHOES} ICMP echoes", aim=Aim("<=", 1.05, "x"),
        )  # fmt: skip
        yield compared(
            f"pod-to-pod-throughput-{way}", "Mbit/s", rates, plain_rates, command=f"iperf3 -t {TCP_SECONDS}", peer=peer,
            aim=Aim(">=", 0.97, "x"),
        )  # fmt: skip


def _order(number: int) -> tuple[str, ...]:
    return tuple("pods" if way == "ours" else "plain" for way in order(number))


def _plug(lab: Lab) -> None:
    site = lab.site("cluster")
    site.nbctl("ls-add", "plain")
    for n, host in enumerate(HOSTS, 1):
        own = f"0a:00:00:00:77:0{n} 10.77.0.{n}"
        site.nbctl("lsp-add", "plain", f"plain{n}", "--", "lsp-set-addresses", f"plain{n}", own)
        done = lab.exec(host, ["sh", "-c", PLUG.format(n=n, mtu=MTU)])
        if done.returncode:
            raise RuntimeError(done.stderr)


def _pods(lab: Lab, source: int, target: int) -> tuple[float, float]:
    def run(index: int, argv: list[str]) -> subprocess.Popen[str]:
        return lab.popen(PODS[index], argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    return _measured(partial(run, source), partial(run, target), str(lab.machine(PODS[target]).addresses[0].ip))


def _plain(lab: Lab, source: int, target: int) -> tuple[float, float]:
    def run(index: int, argv: list[str]) -> subprocess.Popen[str]:
        inside = ["ip", "netns", "exec", f"plain{index + 1}", *argv]
        return lab.popen(HOSTS[index], inside, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    return _measured(partial(run, source), partial(run, target), f"10.77.0.{target + 1}")


def _measured(source: Run, target: Run, address: str) -> tuple[float, float]:
    said, _ = source([sys.executable, str(FILE.with_name("echo.py")), address]).communicate(timeout=60)
    return float(said), throughput(source, target, address)
