"""A site of type `ovn`: replicas of its two databases, facts from them, transactions on the northbound one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from isthmus.backends.changes import Call, Change, Owner
from isthmus.backends.described import Described
from isthmus.backends.ovsdb.client import Client
from isthmus.backends.ovsdb.facts import NorthboundFacts
from isthmus.backends.ovsdb.index import Index
from isthmus.backends.ovsdb.store import Store, lock_name
from isthmus.backends.ovsdb.tables import NORTHBOUND, SOUTHBOUND, northbound_where, southbound_where
from isthmus.backends.ovsdb.write import counted
from isthmus.errors import Problem
from isthmus.model.facts import Chassis, Switch, Vpc
from isthmus.model.intent import Site, VpcRef
from isthmus.model.rows import Record, Row, nb

AGENT = "isthmus:agent"


class OvnSite(Store):
    """NB and SB of one site; gives `model.facts.SiteFacts`."""

    def __init__(self, site: Site, owner: str, wake: Callable[[], None], *, writes: bool) -> None:
        self.site = site
        index = Index(owner)
        nb = Client(
            site.northbound,
            "OVN_Northbound",
            NORTHBOUND,
            where=northbound_where(owner),
            lock=lock_name(owner) if writes else None,
            changed=self._nb_changed,
            wake=wake,
        )
        sb = Client(
            site.southbound,
            "OVN_Southbound",
            SOUTHBOUND,
            where=southbound_where(owner),
            changed=self._sb_changed,
            wake=wake,
        )
        super().__init__(f"site {site.name!r}", site.origin, nb, sb, index)
        self.chassis_version = 0
        self._bindings: dict[str, str] = {}
        self._chassis: tuple[int, dict[str, Chassis]] = (-1, {})
        self._facts = NorthboundFacts(site.name, self.client.rows, index)

    def _nb_changed(self, table: str, uuid: str, old: Record | None, new: Record | None) -> None:
        self.index.changed(table, uuid, old, new)

    # -- what a pass asks --------------------------------------------------------------------------------------

    @property
    def version(self) -> object:
        """Differs from before where anything but counters has changed."""
        return self.index.total, self.chassis_version

    def owned_version(self, interconnect: str) -> object:
        """Differs from before where what we own for an Interconnect has changed."""
        return self.index.owned_version.get(interconnect, 0)

    def interconnects(self) -> set[str]:
        """Names of which something of ours stands here, `SITE` included."""
        return set(self.index.owned)

    def changes(self, interconnect: str, desired: Mapping[str, Sequence[Row]], owner: Owner) -> dict[str, list[Change]]:
        """Database -> what to write there; databases without changes are left out."""
        database = nb(self.site.name)
        found = self.diff(interconnect, desired.get(database, ()), owner)
        return {database: found} if found else {}

    def objection(self, ref: VpcRef) -> Problem | None:
        """Why nothing may be joined to a router, whatever it has; without the place in the documents."""
        if not any(vpc.keeper == "kube-ovn" for vpc in self._facts.vpcs(ref)):
            return None
        said = f"site {self.site.name!r}: Kube-OVN keeps router {str(ref)!r}, and removes policies that it did not make"
        remedy = "write type: kubernetes, and kubernetes: {networkPlugin: kube-ovn}, in that Site"
        return Problem("KeptByKubeOvn", said, remedy=remedy)

    # -- SiteFacts ----------------------------------------------------------------------------------------

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        return self._facts.vpcs(ref)

    def has_project(self, word: str) -> bool | None:
        """OVN alone has none."""
        return False

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        """Of the whole deployment: names of switches are nobody's."""
        return self._facts.switches(name)

    @property
    def admits(self) -> bool:
        return False

    def security_groups(self, name: str, vpc: Vpc) -> tuple[str, ...]:
        """OVN alone has none; the API refuses to name one."""
        return ()

    def chassis(self) -> Mapping[str, Chassis]:
        """The site's own (ovn-ic adds other sites' gateways) by name; counters do not change `chassis_version`."""
        if self._chassis[0] != self.chassis_version:
            private = {row["name"]: row for row in self.sb.rows["Chassis_Private"].values()}
            self._chassis = (
                self.chassis_version,
                {
                    row["name"]: Chassis(
                        name=row["name"],
                        hostname=row["hostname"],
                        interconnect=row["other_config"].get("is-interconn") == "true",
                        agent=AGENT in private.get(row["name"], {}).get("external_ids", {}),
                    )
                    for row in self.sb.rows["Chassis"].values()
                    if row["other_config"].get("is-remote") != "true"
                },
            )
        return self._chassis[1]

    # -- what the southbound database says of what we wrote --------------------------------------------------

    def private(self, chassis: str) -> Record | None:
        """The Chassis_Private row of a chassis, or None where it left."""
        return next((r for r in self.sb.rows["Chassis_Private"].values() if r["name"] == chassis), None)

    def chassis_cfg(self, chassis: str) -> int | None:
        """The `nb_cfg` that a chassis has worked off, or None where it left."""
        row = self.private(chassis)
        return None if row is None else cast("int", row["nb_cfg"])

    def bound_to(self, port: str) -> str | None:
        """Name of the chassis that a port is bound to, or None."""
        uuid = self._bindings.get(port)
        chassis = self.sb.rows["Port_Binding"][uuid]["chassis"] if uuid else None
        return self.sb.rows["Chassis"].get(chassis, {}).get("name") if chassis else None

    def unbound(self, port: str) -> bool:
        """The southbound database knows a port, and no chassis has it."""
        return port in self._bindings and self.bound_to(port) is None

    def _sb_changed(self, table: str, uuid: str, old: Record | None, new: Record | None) -> None:
        if table == "Port_Binding":
            if old is not None:
                self._bindings.pop(str(old["logical_port"]), None)
            if new is not None:
                self._bindings[str(new["logical_port"])] = uuid
        elif table == "Chassis" or _agent(old) != _agent(new):
            self.chassis_version += 1

    # -- NB_Global ------------------------------------------------------------------------------------------

    @property
    def nb_global(self) -> Mapping[str, Any]:
        return next(iter(self.client.rows["NB_Global"].values()), {"name": "", "nb_cfg": 0, "options": {}})

    @property
    def nb_cfg(self) -> int:
        return int(self.nb_global["nb_cfg"])

    def settings(self) -> dict[str, str]:
        """The few foreign keys that we set where they differ: an empty zone name, BFD timers that the Site asks for."""
        wanted: dict[str, str] = {}
        if not self.nb_global["name"]:
            wanted["name"] = self.site.zone
        if (bfd := self.site.bfd) is not None:
            timers = {"bfd-min-rx": bfd.min_rx, "bfd-min-tx": bfd.min_tx, "bfd-mult": bfd.mult}
            options = self.nb_global["options"]
            wanted |= {f"options:{k}": str(v) for k, v in timers.items() if options.get(k) != str(v)}
        return wanted

    def _settings_operations(self) -> Iterator[dict[str, Any]]:
        wanted = self.settings()
        if name := wanted.pop("name", None):
            yield {"op": "update", "table": "NB_Global", "where": [["name", "==", ""]], "row": {"name": name}}
        if wanted:
            pairs = [[key.partition(":")[2], value] for key, value in wanted.items()]
            mutations = [
                ["options", "delete", ["set", [key for key, _ in pairs]]],
                ["options", "insert", ["map", pairs]],
            ]
            yield {"op": "mutate", "table": "NB_Global", "where": [], "mutations": mutations}

    # -- what takes more than a transaction -------------------------------------------------------------------

    outside = ""
    """What the API keeps, by its name in plans."""

    unheard: Problem | None = None
    """Why something of ours may be there that cannot be looked for now, although the site is in reach."""

    asking = False
    """The first answer of an API is awaited. OVN alone has none to ask."""

    def described(self) -> tuple[Described, ...]:
        """What of ours the API keeps."""
        return ()

    @property
    def calls(self) -> tuple[Call, ...]:
        """The last changes that an API has accepted, in order."""
        return ()

    @property
    def accepted(self) -> int:
        """How many there were."""
        return 0

    def call(self, interconnect: str, changes: Sequence[Change]) -> bool:
        """Begin to make changes of one Interconnect that an API makes; whether any were begun."""
        return False

    def refusal(self, interconnect: str) -> Problem | None:
        """Why an API refused the last of them, or None."""
        return None

    def called(self, interconnect: str) -> bool:
        """Whether this process has ever finished calls for it: what rows say of a refusal is older then."""
        return False

    # -- writing --------------------------------------------------------------------------------------------

    async def write(self, changes: Iterable[tuple[str, Change]], comment: str) -> int:
        """One transaction of (Interconnect, change); returns the `nb_cfg` that it raised."""
        before = self.nb_cfg
        work = [*self._settings_operations(), *self._operations(changes)]
        await self.client.transact(counted(work, before), comment)
        return before + 1


def _agent(record: Record | None) -> bool:
    """An agent has registered on this chassis and did not say that it stopped for good."""
    ids = record.get("external_ids") if record else None
    return isinstance(ids, Mapping) and AGENT in ids
