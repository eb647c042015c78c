"""The peer without Isthmus: VPC routers directly on a transit switch, as OVN's tutorial has it, by OVN's own tools."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from isthmus.lab.lab import Lab
from isthmus.lab.layout import mac

NETWORK = "169.254.100"


def join(lab: Lab, tenant: str, gateways: Mapping[str, Sequence[str]], routes: Mapping[str, Sequence[str]]) -> None:
    """Put the tenant's router of each site on one transit switch.

    gateways  site -> chassis, the preferred one first
    routes    site -> prefixes that it reaches at the other sites; none where ovn-ic learns them
    """
    switch = f"ts-{tenant}"
    lab.fabric.nbctl("ts-add", switch)
    hosts = {site: number for number, site in enumerate(gateways, start=1)}
    for site, number in hosts.items():
        port = f"{tenant}-ts-{site}"
        lab.site(site).nbctl("wait-until", "Logical_Switch", switch, f"name={switch}")
        command = ["lrp-add", tenant, port, mac(site, tenant, "ts"), f"{NETWORK}.{number}/24"]
        for place, chassis in enumerate(gateways[site]):
            command += ["--", "lrp-set-gateway-chassis", port, chassis, str(10 - place)]
        peer = f"{switch}-{site}"
        command += ["--", "lsp-add", switch, peer, "--", "lsp-set-type", peer, "router"]
        command += ["--", "lsp-set-addresses", peer, "router", "--", "lsp-set-options", peer, f"router-port={port}"]
        other = next(n for s, n in hosts.items() if s != site)
        for prefix in routes.get(site, ()):
            command += ["--", "lr-route-add", tenant, prefix, f"{NETWORK}.{other}"]
        lab.site(site).nbctl(*command)


def learn(lab: Lab) -> None:
    """Let every zone's ovn-ic advertise and learn routes."""
    for site in lab.sites:
        options = ["options:ic-route-adv=true", "options:ic-route-learn=true"]
        site.nbctl("set", "NB_Global", ".", *options)


def carrier(lab: Lab, site: str, port: str) -> str:
    """Name of the chassis that carries a gateway port, or ""."""
    handle = lab.site(site)
    found = handle.sbctl("--bare", "--columns=chassis", "find", "Port_Binding", f"logical_port=cr-{port}").strip()
    return handle.sbctl("--bare", "--columns=name", "list", "Chassis", found).strip() if found else ""


def wait_carried(lab: Lab, site: str, port: str, chassis: str, timeout: float = 20.0) -> None:
    """Until that chassis carries the port. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while carrier(lab, site, port) != chassis:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{port} is not on {chassis}")
        time.sleep(0.1)
