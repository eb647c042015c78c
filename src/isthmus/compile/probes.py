"""Probe ports: per link and per gateway chassis with an agent, a tagged child of that chassis' trunk (ADR 0007)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256

from isthmus.compile import link, names
from isthmus.compile.edge import Maker
from isthmus.compile.view import Joined, Side
from isthmus.model.rows import Parent, Row, Value, nb

SITE = "~site"
"""Takes the place of the Interconnect's name in keys of rows that all Interconnects of a site share."""


def rows(joined: Joined, side: Side) -> Iterator[Row]:
    maker = Maker(joined, side)
    on_link = link.on_switch(joined, side)
    tags = joined.numbers[side.name].tags
    # A site that cannot be read has no tags: what it was given is in its own rows.
    for chassis in (c for c in side.probes if c in tags):
        addresses = [str(i.ip) for i in joined.link(side, joined.probe_host(side, chassis))]
        columns: dict[str, Value] = {
            "name": maker.name(f"probe.{chassis}"),
            "addresses": frozenset({" ".join((maker.mac(f"probe.{chassis}"), *addresses))}),
            "parent_name": names.trunk(joined.owner, chassis),
            "tag": tags[chassis],
            "options": {"requested-chassis": chassis},
            "external_ids": {"isthmus:probe": request(joined, side, addresses)},
        }
        yield maker.row("Logical_Switch_Port", f"probe/{chassis}", columns, on_link)


def request(joined: Joined, side: Side, addresses: list[str]) -> str:
    """What the agent is asked to do, as JSON; `generation` tells answers to this request from older ones."""
    maker = Maker(joined, side)
    body = {
        "addresses": addresses,
        "router_macs": {str(i.version): maker.mac(link.vpc_port(side, i.version)) for i in joined.link(side, link.VPC)},
        "targets": [
            {"subnet": f"{other.name}/{subnet.name}", "address": str(address.ip)}
            for other in joined.others(side)
            for subnet in other.subnets
            for address in subnet.addresses
        ],
    }
    text = json.dumps(body, sort_keys=True)
    return json.dumps(body | {"generation": sha256(text.encode()).hexdigest()[:12]}, sort_keys=True)


def trunk_rows(owner: str, site: str, chassis: Iterable[str]) -> Iterator[Row]:
    """The switch that holds the trunks of a site's probing chassis."""
    database, path = nb(site), "spec.gateways"
    yield Row(database, "Logical_Switch", f"{SITE}/probe", {"name": names.trunk_switch(owner)}, None, path)
    for name in sorted(chassis):
        columns: dict[str, Value] = {
            "name": names.trunk(owner, name),
            "addresses": frozenset({names.mac(names.trunk(owner, name))}),
            "options": {"requested-chassis": name},
            "external_ids": {"isthmus:trunk": "true"},
        }
        parent = Parent("Logical_Switch", "ports", key=f"{SITE}/probe")
        yield Row(database, "Logical_Switch_Port", f"{SITE}/probe/{name}", columns, parent, path)
