"""What a Pod may try: the list of `attacks` from where it stands, and what only a neighbour in a cluster can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

from isthmus.lab import packets, rpc
from isthmus.lab.lab import Lab
from isthmus.lab.layout import Machine, mac

from .attacks import (
    OWN,
    QUIET,
    REMOTE,
    UNLISTED_OWN,
    WEB,
    Attack,
    Frame,
    addresses_of_ours,
    anybody,
    encapsulated,
    forged_sources,
    icmp_messages,
    keys,
    others,
    own_router,
    shots,
    to,
)

NEIGHBOUR = "10.1.1.12"
"""Another Pod's address in the attacker's Subnet."""


@cache
def router_macs(lab: Lab) -> dict[str, str]:
    """Of the ports that the tenants' Vpcs have in their Subnets, by VPC/SUBNET."""
    rows = rpc.snapshot(lab.site("cloud").nb_unix, "OVN_Northbound")["Logical_Router_Port"].values()
    return {str(row["name"]): str(row["mac"]) for row in rows}


def attacks(lab: Lab) -> Iterator[Attack]:
    """All of them, by tenant `a`."""
    for attack in (*forged_sources(), *addresses_of_ours(), *icmp_messages(), *own_router()):
        if mine := tuple(shot for shot in attack.shots if shot[0] in (WEB, QUIET)):
            yield replace(attack, shots=mine)
    yield from forged_in_the_own_vpc()
    yield others_gateways(lab)
    yield tunnelled(lab)


def as_pods(lab: Lab, attack: Attack) -> Attack:
    """The same with the MACs of this cluster's routers, where those of `attacks` are the lab's own."""
    known = {
        _raw(mac("cloud", subnet.name, "router")): _raw(router_macs(lab)[f"{subnet.router}/{subnet.name}"])
        for subnet in lab.site("cloud").layout.subnets
    }

    def translated(frame: Frame, mark: bytes) -> bytes:
        made = frame(mark)
        return known.get(made[:6], made[:6]) + known.get(made[6:12], made[6:12]) + made[12:]

    return replace(attack, shots=tuple((p, link, partial(translated, frame)) for p, link, frame in attack.shots))


def forged_in_the_own_vpc() -> Iterator[Attack]:
    """Only its own address and MAC leave a Pod's port, to its own tenant too."""
    quiet = mac("cloud", "a-quiet", "router")
    yield Attack(
        "source of a neighbour, of a gateway, of nobody, to Pods of the own Vpc",
        shots(
            WEB,
            *(to(UNLISTED_OWN, source) for source in (NEIGHBOUR, "10.1.1.1", "10.1.9.12", "203.0.113.77")),
            *(to(NEIGHBOUR, source, via=mac("cloud-a-web-2")) for source in ("10.1.1.13", "10.1.1.1", REMOTE)),
            to("fd00:1:1::c", "fd00:1:1::d", via=mac("cloud-a-web-2")),
        ),
        anybody,
    )
    yield Attack(
        "MAC of a neighbour, of a gateway, of nobody, with the own address",
        shots(
            WEB,
            *(
                partial(packets.frame, source, target_mac, OWN, target)
                for source in (mac("cloud-a-web-2"), mac("cloud", "a-web", "router"), "02:00:00:00:00:66")
                for target_mac, target in (
                    (mac("cloud", "a-web", "router"), UNLISTED_OWN),
                    (mac("cloud-a-web-2"), NEIGHBOUR),
                )
            ),
        ),
        anybody,
    )
    yield Attack(
        "from a Pod of another Subnet, source of the first",
        shots(QUIET, *(partial(packets.frame, mac(QUIET), quiet, source, NEIGHBOUR) for source in (OWN, REMOTE))),
        anybody,
    )


def others_gateways(lab: Lab) -> Attack:
    """By their MACs: their addresses are the own gateway's. Whoever answers an echo sends the mark back."""
    frames = [
        to(target, via=router_macs(lab)[f"{tenant}/{tenant}-{what}"], protocol=protocol)
        for tenant in lab.site("cloud").layout.tenants
        for what in ("web", "quiet")
        if tenant != "a"
        for target in ("10.1.1.1", "10.1.9.1", NEIGHBOUR, UNLISTED_OWN, REMOTE)
        for protocol in ("udp", "icmp")
    ]
    return Attack("to the routers of every other tenant", shots(WEB, *frames), anybody)


def tunnelled(lab: Lab) -> Attack:
    """Geneve out of a Pod, with keys of the other tenants' switches, to the nodes."""
    datapaths, ports = keys(lab, "cloud")
    victims = [m for m in lab.site("cloud").machines if m.tenant != "a" and m.listed]
    frames = [
        partial(
            encapsulated,
            partial(packets.frame, mac("cloud", victim.switch, "router"), victim.mac, REMOTE, _four(victim)),
            source_mac=mac(WEB),
            target_mac=mac("cloud", "a-web", "router"),
            source=source,
            target=lab.host(host).address,
            key=datapaths[victim.switch],
            ingress=ports[f"{victim.switch}/{victim.tenant}"],
            egress=ports[lab.port(victim.name)],
        )
        for victim in victims
        for host in ("cloud-1", "cloud-2")
        for source in (OWN, lab.host("cloud-1").address)
    ]
    return Attack("Geneve with other tenants' keys to the nodes", shots(WEB, *frames), others)


def _four(machine: Machine) -> str:
    return str(machine.address(4))


def _raw(word: str) -> bytes:
    return bytes.fromhex(word.replace(":", ""))
