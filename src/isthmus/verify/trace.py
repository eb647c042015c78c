"""One path through all zones, from the rows: for `isthmus trace`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from isthmus.errors import IntentError, Problem
from isthmus.verify.path import End, Hop, Packet, RowRef, Trace
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

    @property
    def arrives(self) -> bool:
        """Every branch ends where it should."""
        return all(self.reached(t) for t in self.branches)

    def reached(self, trace: Trace) -> bool:
        """This branch does."""
        if self.wanted is None:
            return trace.end in (End.DELIVERED, End.ROUTER)
        return trace.end is End.DELIVERED and (trace.site, trace.lsp) == self.wanted

    def as_json(self) -> dict[str, object]:
        return {
            "from": self.source,
            "to": self.target,
            "packet": str(self.packet),
            "arrives": self.arrives,
            "branches": [t.as_json() for t in self.branches],
        }


def trace(world: World, source: str, target: str, protocol: str = "icmp", port: int = 80) -> tuple[Drawing, ...]:
    """Follow a packet from `SITE/<lsp>` to `SITE/<lsp>` or to an address; one Drawing per family in common.

    Raises IntentError where a site or a port is not there, or the two have no family in common.
    """
    site, lsp = find_port(world, source)
    wanted: tuple[str, str] | None = None
    if "/" in target:
        far, there = find_port(world, target)
        targets, wanted = addresses(there), (far, there.name)
    else:
        targets = (_address(target),)
    found = []
    for own in addresses(lsp):
        for other in targets:
            if own.version == other.version and own != other:
                packet = replace(Packet.make(own, other, protocol), dport=port)
                branches = traces(world, Entry(site, lsp.switch, lsp.name), packet)
                found.append(Drawing(source, target, packet, branches, wanted))
                break
    if not found:
        raise _error("NoAddress", f"{source} and {target} have no two addresses of one family", "name an address")
    return tuple(found)


def find_port(world: World, word: str) -> tuple[str, SwitchPort]:
    """Read `SITE/<lsp>`."""
    site, _, name = word.partition("/")
    if site not in world.zones:
        raise _error("UnknownSite", f"there is no site {site!r}", f"name one of {', '.join(sorted(world.zones))}")
    port = world.zones[site].switch_ports.get(name)
    if port is None:
        raise _error("UnknownPort", f"site {site!r} has no switch port {name!r}", "see `isthmus show`")
    return site, port


def addresses(port: SwitchPort) -> tuple[Address, ...]:
    """A port's own addresses, IPv4 first."""
    found = sorted({pair for o in port.owned for pair in o.addresses})
    return tuple(IPv4Address(n) if family == 4 else IPv6Address(n) for family, n in found)


def _address(word: str) -> Address:
    try:
        return ip_address(word)
    except ValueError as error:
        raise _error("BadAddress", f"{word!r} is neither SITE/<lsp> nor an address", "write one of them") from error


def _error(code: str, message: str, remedy: str) -> IntentError:
    return IntentError(Problem(code, message, remedy=remedy))


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
    lines = [f"{drawing.packet}   {drawing.source} to {drawing.target}"]
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
