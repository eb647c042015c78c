"""What the databases ask of this chassis, and what it should say there. Pure: rows in, plain data out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from isthmus.agent.packets import Address, mac
from isthmus.agent.probe import Probe, Target, Verdict
from isthmus.errors import Problem, WorldError
from isthmus.model.intent import Endpoint, Tls
from isthmus.model.rows import Record, mapping

TRUNK = "isthmus:trunk"
PROBE = "isthmus:probe"
AGENT = "isthmus:agent"
RESULT = "isthmus:probe:"

PORT_BINDING = ("logical_port", "type", "mac", "tag", "parent_port", "chassis", "options", "external_ids")
CHASSIS = ("name", "external_ids")


@dataclass(frozen=True, slots=True)
class Child:
    """A probe port on a link, behind `trunk` with 802.1Q tag `tag`."""

    trunk: str
    tag: int
    mac: bytes
    router_macs: Mapping[int, bytes]
    """IP version -> MAC of the VPC router's port on the link that has an address of it."""
    sources: tuple[Address, ...]
    probe: Probe
    bound: bool
    """ovn-controller has claimed it: packets can go."""

    def source(self, target: Address) -> Address:
        """Our address of the target's family."""
        return next(address for address in self.sources if address.version == target.version)


@dataclass(slots=True)
class Ports:
    """The ports of this chassis by name; `complaints` about those that cannot be understood, one line each."""

    trunks: set[str] = field(default_factory=set)
    children: dict[str, Child] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


def read_ports(bindings: Iterable[Record], names: frozenset[str]) -> Ports:
    """Trunks and children among SB Port_Binding rows that are requested for a chassis known by `names`."""
    ports = Ports()
    for row in bindings:
        marks, options = mapping(row["external_ids"]), mapping(row["options"])
        name = str(row["logical_port"])
        if options.get("requested-chassis") not in names:
            continue
        if marks.get(TRUNK) == "true" and not row["parent_port"]:
            ports.trunks.add(name)
        elif PROBE in marks and row["parent_port"] and row["tag"]:
            try:
                ports.children[name] = _child(name, row, json.loads(marks[PROBE]))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                ports.complaints.append(f"{name}: {PROBE} cannot be understood: {error!r}")
    return ports


def _child(name: str, row: Record, spec: Mapping[str, Any]) -> Child:
    sources = tuple(ip_address(text) for text in spec["addresses"])
    targets = tuple(Target(str(each["subnet"]), ip_address(each["address"])) for each in spec["targets"])
    families = {address.version for address in sources}
    for target in targets:
        if target.address.version not in families:
            raise ValueError(f"no address of our own to ask {target.address} from")
    macs = row["mac"]
    assert isinstance(macs, frozenset)
    return Child(
        trunk=str(row["parent_port"]),
        tag=int(str(row["tag"])),
        mac=mac(str(next(iter(macs), "")).partition(" ")[0]),
        router_macs={version: mac(spec["router_macs"][str(version)]) for version in families},
        sources=sources,
        probe=Probe(name, str(spec["generation"]), targets),
        bound=bool(row["chassis"]),
    )


# -- what the chassis says of itself ------------------------------------------------------------------------


def announcement(version: str, endpoint: str | None, *, stopped: bool = False) -> str:
    """Value of `isthmus:agent`. `endpoint`: URL of the metrics or None."""
    says: dict[str, Any] = {"version": version, "endpoint": endpoint}
    return _json(says | ({"stopped": True} if stopped else {}))


def result(verdict: Verdict, now: float, wall: datetime) -> str:
    """Value of `isthmus:probe:<port>`. `now` is the moment `wall` on the clock of `verdict.since`."""
    since = (wall - timedelta(seconds=now - verdict.since)).astimezone(UTC)
    return _json(
        {
            "generation": verdict.generation,
            "state": verdict.state,
            "since": since.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "lost": list(verdict.lost),
        }
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def changes(row: Record, wanted: Mapping[str, str]) -> list[Any]:
    """Mutations that make our keys of a Chassis_Private row those wanted; empty when they are. Foreign keys stay."""
    current = {
        key: value for key, value in mapping(row["external_ids"]).items() if key == AGENT or key.startswith(RESULT)
    }
    old = sorted(key for key in current if current[key] != wanted.get(key))
    new = sorted((key, value) for key, value in wanted.items() if current.get(key) != value)
    mutations: list[Any] = []
    if old:
        mutations.append(["external_ids", "delete", ["set", old]])
    if new:
        mutations.append(["external_ids", "insert", ["map", [list(pair) for pair in new]]])
    return mutations


# -- where things are ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says instead of the local database."""

    chassis: str | None = None
    southbound: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """This chassis. `names`: what ports may be requested for: its name, and its host's."""

    chassis: str
    names: frozenset[str]
    bridge: str
    southbound: Endpoint


def read_place(switch: Record, keys: Iterable[Record], overrides: Overrides) -> Place:
    """From the rows of Open_vSwitch and SSL. Raises WorldError when something is neither there nor overridden."""
    ids = mapping(switch["external_ids"])
    chassis = overrides.chassis or ids.get("system-id")
    if not chassis:
        raise _missing("the chassis' name", "external_ids:system-id", "--chassis")

    def setting(name: str) -> str:
        return ids.get(f"{name}-{chassis}") or ids.get(name, "")

    remotes = overrides.southbound or setting("ovn-remote")
    if not remotes:
        raise _missing("the southbound database", "external_ids:ovn-remote", "--sb")
    parts = tuple(part.strip() for part in remotes.split(","))
    tls = _tls(next(iter(keys), None), overrides) if any(part.startswith("ssl:") for part in parts) else None
    names = frozenset({chassis, setting("hostname")} - {""})
    return Place(chassis, names, setting("ovn-bridge") or "br-int", Endpoint(parts, tls))


def _tls(row: Record | None, overrides: Overrides) -> Tls:
    def path(given: Path | None, column: str) -> Path:
        value = given or (str(row[column]) if row else "")
        if not value:
            raise _missing("a certificate for the southbound database", f"SSL:{column}", "--ca, --cert and --key")
        return Path(value)

    return Tls(
        ca_file=path(overrides.ca, "ca_cert"),
        cert_file=path(overrides.cert, "certificate"),
        key_file=path(overrides.key, "private_key"),
        server_name=overrides.server_name,
    )


def _missing(what: str, where: str, option: str) -> WorldError:
    return WorldError(
        Problem(
            "ChassisNotConfigured",
            f"the local Open vSwitch database does not say {what} ({where})",
            remedy=f"configure the host for OVN, or give {option}",
        )
    )
