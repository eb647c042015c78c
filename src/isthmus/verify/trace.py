"""One path through all zones, from the rows: for `isthmus trace`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from isthmus.verify.path import End, Hop, Packet, RowRef, Trace
from isthmus.verify.port import NO_PROJECTS, Projects, describe, error, find_port
from isthmus.verify.reach import Entry, World, traces
from isthmus.verify.zone import SwitchPort

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Drawing:
    """All branches of one packet. `target` is what the user asked for: an address, or SITE/lsp."""

    source: str
    target: str
    packet: Packet
    branches: tuple[Trace, ...]
    wanted: tuple[str, str] | None = None
    """(site, lsp) where it must end; None: wherever the address is."""
    ends: tuple[str, ...] = ()
    """What Neutron says of the ports at both ends."""
    floating: str | None = None
    """UUID of the switch, where the target is a virtual port: no row says which machine has its address now."""

    @property
    def arrives(self) -> bool:
        """Every branch ends where it should."""
        return all(self.reached(t) for t in self.branches)

    def reached(self, trace: Trace) -> bool:
        """This branch does."""
        if self.wanted is None:
            return trace.end in (End.DELIVERED, End.ROUTER)
        if trace.end is not End.DELIVERED or trace.site != self.wanted[0]:
            return False
        return trace.lsp == self.wanted[1] or (not trace.lsp and trace.switch == self.floating)

    def as_json(self) -> dict[str, object]:
        return {
            "from": self.source,
            "to": self.target,
            "packet": str(self.packet),
            "arrives": self.arrives,
            "ends": list(self.ends),
            "branches": [t.as_json() for t in self.branches],
        }


def trace(
    world: World,
    source: str,
    target: str,
    protocol: str = "icmp",
    port: int = 80,
    projects: Projects = NO_PROJECTS,
) -> tuple[Drawing, ...]:
    """Follow a packet from one port to another or to an address; one Drawing per family in common.

    A port is `SITE/<lsp>`, or `SITE/<project>/<port>` where Neutron made it, each by name or id.
    Raises IntentError where a site or a port is not there, or the two have no family in common.
    """
    site, lsp = find_port(world, source, projects)
    wanted: tuple[str, str] | None = None
    floating: str | None = None
    ends = [*describe(world.zones[site], lsp, "from")]
    if "/" in target:
        far, there = find_port(world, target, projects)
        targets, wanted = addresses(there), (far, there.name)
        floating = there.switch if there.type == "virtual" else None
        ends += describe(world.zones[far], there, "to")
    else:
        targets = (_address(target),)
    found = []
    for own in addresses(lsp):
        for other in targets:
            if own.version == other.version and own != other:
                packet = replace(Packet.make(own, other, protocol), dport=port)
                branches = traces(world, Entry(site, lsp.switch, lsp.name), packet)
                found.append(Drawing(source, target, packet, branches, wanted, tuple(ends), floating))
                break
    if not found:
        raise error("NoAddress", f"{source} and {target} have no two addresses of one family", "name an address")
    return tuple(found)


def addresses(port: SwitchPort) -> tuple[Address, ...]:
    """A port's own addresses, IPv4 first."""
    found = sorted({pair for o in port.owned for pair in o.addresses})
    return tuple(IPv4Address(n) if family == 4 else IPv6Address(n) for family, n in found)


def _address(word: str) -> Address:
    try:
        return ip_address(word)
    except ValueError as why:
        raise error("BadAddress", f"{word!r} is neither SITE/<lsp> nor an address", "write one of them") from why


_KINDS = {"Logical_Switch": "switch", "Logical_Router": "router"}
_ENDS = {
    End.DELIVERED: "└─> delivered",
    End.ROUTER: "└─> answered by a router",
    End.LEFT: "└─> left OVN",
    End.DROPPED: "└─x dropped",
    End.UNKNOWN: "└─? unknown",
}


def draw(drawing: Drawing) -> str:
    """Text: a heading, then per branch one line a hop, with the rows that decided and what put them there."""
    lines = [f"{drawing.packet}   {drawing.source} to {drawing.target}", *drawing.ends]
    many = len(drawing.branches) > 1
    for number, branch in enumerate(drawing.branches, 1):
        if many:
            lines.append(f"branch {number} of {len(drawing.branches)}")
        lines += _branch(branch)
        if branch.end is End.DELIVERED and not drawing.reached(branch):
            lines.append(f"    that is not {drawing.target}")
    return "\n".join(lines)


def _branch(branch: Trace) -> list[str]:
    lines: list[str] = []
    site = ""
    for hop in branch.hops:
        if site and hop.site != site:
            lines.append(f"╪═ over the tunnel from {site} to {hop.site}")
        site = hop.site
        lines.append(_hop(hop))
    verb = _ENDS[branch.end]
    return [*lines, f"{verb} at {branch.site}: {branch.reason}   {_named(branch.row)}"]


def _hop(hop: Hop) -> str:
    kind = _KINDS.get(hop.kind, hop.kind)
    way = f" → {hop.port}" if hop.port else ""
    by = "; ".join(_named(r) for r in hop.rows if r != hop.at)
    note = f" ({hop.note})" if hop.note else ""
    return f"├─ {hop.site}: {kind} {hop.at.name} [{hop.at.why}]{way}{note}" + (f"   by {by}" if by else "")


def _named(row: RowRef) -> str:
    table = row.table.removeprefix("Logical_").replace("_", " ").lower()
    return f"{table} {row.name or row.uuid} [{row.why}]"
