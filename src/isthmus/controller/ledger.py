"""Which numbers are given, as the rows say, with those that this pass has just given and not yet written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from isthmus import allocate
from isthmus.backends.ovsdb.site import OvnSite
from isthmus.compile import record
from isthmus.compile.overlap import VpcKey
from isthmus.compile.record import SideRecord
from isthmus.compile.view import Joined, Numbers, Side
from isthmus.controller import records
from isthmus.model.intent import Prefix


class Ledger:
    """Edge records by Interconnect, indexed by what allocation asks."""

    def __init__(self) -> None:
        self.standing: dict[VpcKey, dict[str, frozenset[Prefix]]] = defaultdict(dict)
        """VPC -> Interconnect -> prefixes that its rows route there: of two that want one, who has it came first."""
        self.version: dict[VpcKey, int] = defaultdict(int)
        """VPC -> raised when what stands of any Interconnect on it changes."""
        self._versions: dict[str, object] = {}
        self._edges: dict[str, dict[str, SideRecord]] = {}
        self._stood: dict[str, dict[str, SideRecord]] = {}
        self._links: dict[VpcKey, dict[str, frozenset[int]]] = defaultdict(dict)
        self._tags: dict[VpcKey, dict[int, tuple[str, str]]] = defaultdict(dict)
        self._tags_read: set[str] = set()

    def edges(self, interconnect: str) -> Mapping[str, SideRecord]:
        """Attachment -> its record, with what was given and is not written yet."""
        return self._edges.get(interconnect, {})

    def stood(self, interconnect: str) -> Mapping[str, SideRecord]:
        """The same, of what was read from rows alone."""
        return self._stood.get(interconnect, {})

    def read(self, interconnect: str, sites: Mapping[str, OvnSite]) -> None:
        """Read again what changed; what no readable edge tells of stays as it was read last."""
        version = tuple((n, s.index.owned_version.get(interconnect, 0)) for n, s in sites.items())
        if self._versions.get(interconnect) == version:
            return
        self._versions[interconnect] = version
        found = records.edges(interconnect, sites)
        for known, keep in ((self.edges(interconnect), self._set), (self.stood(interconnect), self._stand)):
            keep(interconnect, {a: e for a, e in known.items() if e.site not in sites} | found)

    def _stand(self, interconnect: str, edges: dict[str, SideRecord]) -> None:
        before = _routed(self.stood(interconnect))
        self._stood[interconnect] = edges
        now = _routed(edges)
        for key in before.keys() | now.keys():
            if before.get(key) == now.get(key):
                continue
            self.version[key] += 1
            if key in now:
                self.standing[key][interconnect] = now[key]
            else:
                del self.standing[key][interconnect]

    def _set(self, interconnect: str, edges: dict[str, SideRecord]) -> None:
        for edge in self.edges(interconnect).values():
            self._links[(edge.site, edge.vpc)].pop(interconnect, None)
        self._edges[interconnect] = edges
        links = frozenset(e.numbers[k] for e in edges.values() for k in ("link", "inner") if k in e.numbers)
        for edge in edges.values():
            self._links[(edge.site, edge.vpc)][interconnect] = links

    # -- giving ---------------------------------------------------------------------------------------------

    def give(
        self, joined: Joined, sites: Mapping[str, OvnSite], held: Mapping[str, int], nudged: Callable[[str], int]
    ) -> dict[str, Numbers]:
        """Numbers for every side: those it has, or new ones, remembered from now on.

        held    site -> transit address, by the transit switch's own record: it tells also of sites that were taken out
                while nobody could reach them
        nudged  attachment -> nudges that its port is to have at least
        """
        known = {a: e.numbers for a, e in self.edges(joined.name).items() if e.numbers}
        pool = next(p for p in joined.pools.transit if p.version == 4)
        transits = allocate.keep(
            {f"/{site}": n for site, n in held.items() if site not in {s.site for s in joined.sides}}
            | {a: n["transit"] for a, n in known.items() if "transit" in n},
            [s.name for s in joined.sides],
            1,
            pool.num_addresses - 2,
            "transit address",
        )
        taken = {n[k] for n in known.values() for k in ("link", "inner") if k in n}
        given: dict[str, Numbers] = {}
        for side in joined.sides:
            numbers = dict(known.get(side.name, {}))
            for kind in ("link",) if joined.is_first(side) else ("link", "inner"):
                if kind not in numbers:
                    numbers[kind] = self._free_link(joined, taken)
                    taken.add(numbers[kind])
            inner = None if joined.is_first(side) else numbers["inner"]
            site = sites.get(side.site)
            tags = self._give_tags(joined, side, site) if site else {}
            key = records.port_key(joined.name, side.name, site) if site else ""
            nudges = max(records.nudges(joined.name, side.name, site), nudged(side.name)) if site else 0
            given[side.name] = Numbers(transits[side.name], numbers["link"], inner, tags, key, nudges)
        self._set(joined.name, {**self.edges(joined.name), **record.of(replace(joined, numbers=given))})
        return given

    def _free_link(self, joined: Joined, taken: set[int]) -> int:
        """A link that no VPC router of the Interconnect knows: they all get a route to it."""
        used = set(taken)
        for side in joined.sides:
            for links in self._links[(side.site, side.vpc.uuid)].values():
                used |= links
        foreign = [p for s in joined.sides for port in s.vpc.ports if not port.owned for p in port.prefixes]
        foreign += [r.prefix for s in joined.sides for r in s.vpc.foreign_routes]
        return allocate.link(joined.pools, used, foreign)

    def _give_tags(self, joined: Joined, side: Side, site: OvnSite) -> dict[str, int]:
        if not side.probes:
            return {}
        self._read_tags(site)
        mine = (joined.name, side.name)
        result: dict[str, int] = {}
        for chassis in side.probes:
            held = self._tags[(side.site, chassis)]
            tag = next((t for t, holder in held.items() if holder == mine), None)
            if tag is None:
                tag = allocate.lowest(held, 1, allocate.LAST_TAG, f"probe tag of chassis {chassis}")
                held[tag] = mine
            result[chassis] = tag
        return result

    def _read_tags(self, site: OvnSite) -> None:
        if site.site.name in self._tags_read:
            return
        self._tags_read.add(site.site.name)
        for name in site.index.owned:
            for (attachment, chassis), tag in records.tags(name, site).items():
                self._tags[(site.site.name, chassis)][tag] = (name, attachment)

    def forget(self, interconnects: Iterable[str]) -> None:
        """Of Interconnects that are gone everywhere."""
        for name in interconnects:
            self._set(name, {})
            self._stand(name, {})
            del self._edges[name], self._stood[name]
            self._versions.pop(name, None)
            for held in self._tags.values():
                for tag in [t for t, holder in held.items() if holder[0] == name]:
                    del held[tag]


def _routed(edges: Mapping[str, SideRecord]) -> dict[VpcKey, frozenset[Prefix]]:
    """VPC -> the prefixes of the other sides."""
    found: dict[VpcKey, frozenset[Prefix]] = {}
    for attachment, edge in edges.items():
        away = frozenset(p for other, e in edges.items() if other != attachment for p in e.prefixes)
        found[(edge.site, edge.vpc)] = found.get((edge.site, edge.vpc), frozenset()) | away
    return found
