"""The words of `reach`: packets, the rows that decided, hops, and how a path ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from isthmus.model.rows import KEY, OWNER, PATH, Record
from isthmus.verify import neutron

Address = IPv4Address | IPv6Address

OVN_IC = "ovn-ic"
"""The maker of what comes from the interconnection databases."""

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
_PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}
_NAMES = {ICMP: "icmp", ICMP6: "icmp", TCP: "tcp", UDP: "udp"}


@dataclass(frozen=True, slots=True)
class RowRef:
    """A row, as messages and reports name it. `owner`, `key` and `path` are our marks; none means foreign.

    maker  who else wrote the row, e.g. `ovn-ic` or `Neutron router r`, or ""; for us, where it bears our marks as well
    """

    site: str
    table: str
    uuid: str
    name: str
    owner: str = ""
    key: str = ""
    path: str = ""
    maker: str = ""

    @property
    def ours(self) -> bool:
        return bool(self.key or self.owner)

    @property
    def why(self) -> str:
        """What put the row there, for a line of text: the spec path, the key, or `foreign`."""
        if not self.ours:
            return self.maker or "foreign"
        interconnect = self.key.partition("/")[0]
        why = f"{interconnect} {self.path}".strip() if self.path else self.key or self.owner
        return f"{why}, {self.maker}" if self.maker else why

    def __str__(self) -> str:
        return f"{self.site}/{self.table} {self.name or self.uuid} [{self.why}]"

    def as_json(self) -> dict[str, str]:
        return {
            "site": self.site,
            "table": self.table,
            "uuid": self.uuid,
            "name": self.name,
            "owner": self.owner,
            "key": self.key,
            "path": self.path,
            "maker": self.maker,
        }


def row_ref(site: str, table: str, uuid: str, record: Record, name: str = "") -> RowRef:
    """The reference to `record`; `name` for rows that have no name of their own."""
    marks = record.get("external_ids")
    ids: Mapping[str, str] = marks if isinstance(marks, Mapping) else {}
    own = record.get("name")
    config = record.get("other_config")
    interconn = isinstance(config, Mapping) and "interconn-ts" in config
    return RowRef(
        site=site,
        table=table,
        uuid=uuid,
        name=name or (own if isinstance(own, str) else ""),
        owner=ids.get(OWNER, ""),
        key=ids.get(KEY, ""),
        path=ids.get(PATH, ""),
        maker=OVN_IC if interconn or record.get("type") == "remote" else neutron.maker(table, record),
    )


@dataclass(frozen=True, slots=True)
class Packet:
    """An IP packet; addresses are numbers, `family` says how wide. `kind` and `code` are of ICMP."""

    family: int
    src: int
    dst: int
    proto: int = ICMP
    kind: int = 8
    code: int = 0
    sport: int = 40000
    dport: int = 80
    flags: int = 2
    """TCP flags; 2 is SYN."""
    later_frag: bool = False
    ttl: int = 64

    @classmethod
    def make(
        cls, src: str | Address, dst: str | Address, protocol: str = "icmp", *, ttl: int = 64, **more: int
    ) -> Packet:
        """An echo request, a SYN, or a datagram. Raises ValueError for two families or an unknown protocol."""
        source, target = ip_address(src), ip_address(dst)
        if source.version != target.version:
            raise ValueError(f"{source} and {target} are of two families")
        if protocol not in _PROTOCOLS:
            raise ValueError(f"{protocol} is none of {', '.join(_PROTOCOLS)}")
        first = cls.between(source.version, int(source), int(target), protocol)
        return replace(first, ttl=ttl, **more)  # type: ignore[arg-type]

    @classmethod
    def between(cls, family: int, src: int, dst: int, protocol: str = "icmp") -> Packet:
        """As `make`, from numbers."""
        proto, kind = _PROTOCOLS[protocol], 8
        if proto == ICMP and family == 6:
            proto, kind = ICMP6, 128
        return cls(family, src, dst, proto, kind)

    @property
    def source(self) -> Address:
        return address(self.family, self.src)

    @property
    def target(self) -> Address:
        return address(self.family, self.dst)

    @property
    def echo(self) -> bool:
        return (self.proto, self.kind, self.code) in ((ICMP, 8, 0), (ICMP6, 128, 0))

    def fields(self) -> dict[str, str | int]:
        """What a match may ask; ports and `ip.ttl` change on the way and are added by the place."""
        prefix = f"ip{self.family}"
        later = int(self.later_frag)
        found: dict[str, str | int] = {
            f"{prefix}.src": self.src,
            f"{prefix}.dst": self.dst,
            "eth.type": 0x0800 if self.family == 4 else 0x86DD,
            "ip.proto": self.proto,
            "ip.later_frag": later,
            "ip.is_frag": later,
            "ip.first_frag": 0,
        }
        ports = (0, 0) if self.later_frag else (self.sport, self.dport)
        if self.proto in (ICMP, ICMP6):
            name = "icmp4" if self.proto == ICMP else "icmp6"
            found |= {f"{name}.type": self.kind, f"{name}.code": self.code}
        elif self.proto in (TCP, UDP):
            name = _NAMES[self.proto]
            found |= {f"{name}.src": ports[0], f"{name}.dst": ports[1]}
        if self.proto == TCP:
            found["tcp.flags"] = self.flags
        return found

    def __str__(self) -> str:
        return f"{_NAMES.get(self.proto, self.proto)} {self.source} > {self.target}"


def address(family: int, number: int) -> Address:
    return IPv4Address(number) if family == 4 else IPv6Address(number)


class End(Enum):
    """How a path ends."""

    DELIVERED = "delivered"
    """On the segment of the destination: to a port, or to whoever has the address there."""
    ROUTER = "router"
    """The destination is a router's own address."""
    LEFT = "left"
    """Out of OVN, by a localnet port or to a port with unknown addresses."""
    DROPPED = "dropped"
    UNKNOWN = "unknown"
    """The rows do not say, or say it in a way that this interpreter does not read."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One switch or router that the packet crossed, and by which rows it left.

    port  name of the port it left by; "" at the last hop
    rows  what decided there, the last word last: a route and the policies that matched, or a port
    note  what happened, in words
    """

    site: str
    at: RowRef
    entered: str
    port: str
    rows: tuple[RowRef, ...]
    note: str = ""

    @property
    def kind(self) -> str:
        return self.at.table

    def as_json(self) -> dict[str, object]:
        return {
            "site": self.site,
            "kind": self.kind,
            "name": self.at.name,
            "uuid": self.at.uuid,
            "key": self.at.key,
            "entered": self.entered,
            "port": self.port,
            "rows": [r.as_json() for r in self.rows],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Trace:
    """One branch of the way of a packet; `row` is what ended it: what dropped it, or where something is absent."""

    packet: Packet
    hops: tuple[Hop, ...]
    end: End
    site: str
    row: RowRef
    reason: str
    switch: str = ""
    """UUID of the switch it was delivered on."""
    lsp: str = ""
    """The port that has the address, where the rows know one."""

    def rows(self) -> tuple[RowRef, ...]:
        """Everything that decided, in order, the end included."""
        found = [r for h in self.hops for r in h.rows]
        return (*found, self.row) if not found or found[-1] != self.row else tuple(found)

    def as_json(self) -> dict[str, object]:
        return {
            "from": str(self.packet.source),
            "to": str(self.packet.target),
            "hops": [h.as_json() for h in self.hops],
            "end": self.end.value,
            "site": self.site,
            "row": self.row.as_json(),
            "reason": self.reason,
            "lsp": self.lsp,
        }
