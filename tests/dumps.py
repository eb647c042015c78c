"""Rows that a real Neutron, or a real cluster's networks, have, and what is wanted of them, as a file.

For `verify` without a cloud and without a cluster.

`python tests/dumps.py LAB FILE` writes such a file from a lab that stands (as root, in the project's environment).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from isthmus.agent.namespaces import inside
from isthmus.backends.files import load as documents
from isthmus.controller.survey import Wanted, expectation, survey
from isthmus.lab.lab import Lab
from isthmus.model.intent import Endpoint
from isthmus.model.networks import Route
from isthmus.verify.admission import Gate
from isthmus.verify.cluster import Home, Networks, Resident, Way
from isthmus.verify.expect import Expectation
from isthmus.verify.place import Place

HERE = Path(__file__).parent / "unit" / "verify" / "dumps"
TABLES = (
    *("Logical_Router", "Logical_Router_Port", "Logical_Router_Static_Route", "Logical_Router_Policy", "NAT"),
    *("Logical_Switch", "Logical_Switch_Port", "Port_Group", "ACL", "Address_Set", "Gateway_Chassis", "DHCP_Options"),
    "Load_Balancer",
)


@dataclass(frozen=True)
class Dump:
    """`sites` is what `World` takes; `groups` are names of security groups by id."""

    sites: dict[str, Any]
    expectation: Expectation
    gates: tuple[Gate, ...]
    groups: Mapping[str, str]
    networks: tuple[Networks, ...]


def load(name: str) -> Dump:
    found = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    places = {_read_place(p): frozenset((one, other) for one, other in p["listed"]) for p in found["places"]}
    gates = tuple(
        Gate(
            g["interconnect"],
            g["attachment"],
            g["site"],
            tuple(g["groups"]),
            frozenset(g["rules"]),
            (g["peers"][0], g["peers"][1]),
            tuple(map(ip_network, g["away"])),
        )
        for g in found["gates"]
    )
    sites = {site: {t: _rows(rows) for t, rows in tables.items()} for site, tables in found["sites"].items()}
    clusters = tuple(map(_read_networks, found.get("networks", ())))
    kept = frozenset(home.place for each in clusters for home in each.homes)
    return Dump(sites, Expectation(tuple(places), places, kept), gates, found["groups"], clusters)


def _read_place(found: Any) -> Place:
    prefixes = tuple(map(ip_network, found["prefixes"]))
    return Place(found["site"], found["vpc"], found["name"], tuple(found["doors"]), prefixes)


def _read_networks(found: Any) -> Networks:
    return Networks(
        found["site"],
        tuple(Home(h["vpc"], _read_place(h["place"]), tuple(map(ip_interface, h["gateways"]))) for h in found["homes"]),
        tuple(
            Resident(r["name"], r["port"], r["node"], frozenset(map(tuple, r["addresses"])), frozenset(r["subnets"]))
            for r in found["residents"]
        ),
        {
            vpc: tuple(Route(ip_network(r["prefix"]), ip_address(r["nexthop"]), r["by"]) for r in routes)
            for vpc, routes in found["routes"].items()
        },
        frozenset(found["moving"]),
        Way(
            found["way"]["doors"],
            frozenset(map(tuple, found["way"]["addresses"])),
            found["way"]["nodes"],
            found["way"]["home"],
        ),
    )


def _rows(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        uuid: {c: frozenset(v) if isinstance(v, list) else v for c, v in row.items()} | {"_uuid": uuid}
        for uuid, row in rows.items()
    }


def write(lab: Lab, path: Path) -> None:
    with inside(lab.state.path("operator")):  # API servers are on the underlay
        rows, wanted = asyncio.run(survey(_configuration(lab), 20, objects=True))
    assert not rows.problems, rows.problems
    expected = expectation(_configuration(lab), wanted, rows.sites)
    text = {
        "sites": {site: {t: _written(tables[t]) for t in TABLES if tables[t]} for site, tables in rows.sites.items()},
        "places": [_place(p, expected) for p in expected.places],
        "gates": _gates(wanted),
        "groups": dict(sorted(wanted.groups.items())),
        "networks": [_networks(each) for each in wanted.networks],
    }
    path.write_text(_lines(text, {"sites": 3, "places": 1, "gates": 1, "networks": 1}) + "\n", encoding="utf-8")


def _lines(value: Any, depths: Mapping[str, int] | int) -> str:
    """JSON with one line for each row."""
    if isinstance(value, Mapping) and depths:
        deeper = {k: depths.get(k, 0) if isinstance(depths, Mapping) else depths - 1 for k in value}
        return "{\n" + ",\n".join(f"{json.dumps(k)}: {_lines(v, deeper[k])}" for k, v in sorted(value.items())) + "\n}"
    if isinstance(value, list) and depths:
        return "[\n" + ",\n".join(json.dumps(v, sort_keys=True) for v in value) + "\n]"
    return json.dumps(value, sort_keys=True)


def _configuration(lab: Lab) -> Any:
    """The operator's documents, by unix sockets. The cloud is found by OS_CLIENT_CONFIG_FILE."""
    found = documents(lab.environment("operator")["ISTHMUS_CONFIG"])

    def by_socket(one: Any, place: Any) -> Any:
        return replace(
            one,
            northbound=Endpoint((f"unix:{place.nb_unix}",)),
            southbound=Endpoint((f"unix:{place.sb_unix}",)),
        )

    return replace(
        found,
        sites=tuple(by_socket(s, lab.site(s.name)) for s in found.sites),
        fabrics=tuple(by_socket(f, lab.fabric) for f in found.fabrics),
    )


def _written(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without columns that hold nothing."""
    return {
        uuid: {
            c: sorted(v, key=str) if isinstance(v, frozenset) else dict(v) if isinstance(v, Mapping) else v
            for c, v in row.items()
            if c != "_uuid" and v not in (None, "", frozenset(), {})
        }
        for uuid, row in rows.items()
    }


def _place(place: Place, expected: Expectation) -> dict[str, Any]:
    return _bare(place) | {"listed": sorted(map(list, expected.memberships[place]))}


def _bare(place: Place) -> dict[str, Any]:
    return {
        "site": place.site,
        "vpc": place.vpc,
        "name": place.name,
        "doors": list(place.doors),
        "prefixes": list(map(str, place.prefixes)),
    }


def _networks(found: Networks) -> dict[str, Any]:
    return {
        "site": found.site,
        "homes": [{"vpc": h.vpc, "place": _bare(h.place), "gateways": list(map(str, h.gateways))} for h in found.homes],
        "residents": [
            {
                "name": r.name,
                "port": r.port,
                "node": r.node,
                "addresses": sorted(map(list, r.addresses)),
                "subnets": sorted(r.subnets),
            }
            for r in found.residents
        ],
        "routes": {
            vpc: [{"prefix": str(r.prefix), "nexthop": str(r.nexthop), "by": r.by} for r in routes]
            for vpc, routes in sorted(found.routes.items())
        },
        "moving": sorted(found.moving),
        "way": {
            "doors": dict(found.way.doors),
            "addresses": sorted(map(list, found.way.addresses)),
            "nodes": dict(found.way.nodes),
            "home": found.way.home,
        },
    }


def _gates(wanted: Wanted) -> list[dict[str, Any]]:
    return [
        {
            "interconnect": g.interconnect,
            "attachment": g.attachment,
            "site": g.site,
            "groups": list(g.groups),
            "rules": sorted(g.rules),
            "peers": list(g.peers),
            "away": list(map(str, g.away or ())),
        }
        for g in wanted.gates
    ]


if __name__ == "__main__":
    write(Lab.open(sys.argv[1]), Path(sys.argv[2]))
