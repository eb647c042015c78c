"""What `disconnect` names: is it in the text, among rows or facts, or nowhere? Pure reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from isthmus.compile.record import SideRecord
from isthmus.controller import records
from isthmus.controller.world import World
from isthmus.model.facts import Role, VpcPort
from isthmus.model.intent import Attachment, Interconnect


class Heard(Enum):
    """What is known of a part."""

    THERE = auto()
    """The text lists it, or its `"*"` connects it."""
    UNSURE = auto()
    """Its `"*"` may connect it: the site is out of reach."""
    GONE = auto()
    """The text does not connect it, and rows of it may be left; or it is a subnet of that VPC that nobody connects."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Part:
    """An attachment of an Interconnect (`site` is its name), or a subnet; `target`: where the text has it or may."""

    interconnect: Interconnect
    site: str | None
    subnet: str | None
    target: Attachment | None

    @property
    def _here(self) -> list[Attachment]:
        return [a for a in self.interconnect.attachments if self.site in (None, a.name)]

    def heard(self, world: World, stood: Mapping[str, SideRecord]) -> Heard:
        """stood  the edges' records, by attachment"""
        if not self._here:
            return self._attachment(world, stood)
        if self.subnet is None:
            return Heard.THERE
        return self._subnet(self.subnet, world, stood)

    def _attachment(self, world: World, stood: Mapping[str, SideRecord]) -> Heard:
        """Of one that the text does not have."""
        members = records.members(self.interconnect.name, world.fabric)
        left = self.site in stood or world.fabric.trouble or members.keys() - world.readable().keys()
        # Of a site that is cut off already nothing is left; one that is attached by another name was not meant.
        cut = self.site in world.sites and self.site not in self.interconnect.sites
        return Heard.GONE if left or cut else Heard.UNKNOWN

    def _subnet(self, subnet: str, world: World, stood: Mapping[str, SideRecord]) -> Heard:
        target = self.target
        if target is not None:
            record = stood.get(target.name)
            if not target.every or (record and subnet in record.subnets) or subnet in _connectable(world, target):
                return Heard.THERE
            if target.site not in world.readable():
                return Heard.UNSURE
        if self.written_as(world):
            return Heard.UNKNOWN
        left = (r for name, r in stood.items() if self.site in (None, name))
        known = any(subnet in r.subnets or subnet in r.ids for r in left) or any(
            subnet in a.exclude
            or a.site not in world.readable()
            or any(subnet in (p.switch_name, p.switch) for p in _ports(world, a))
            for a in self._here
        )
        return Heard.GONE if known else Heard.UNKNOWN

    def written_as(self, world: World) -> str:
        """How the text names it, or has to, where another of its names was given; "" where it was not."""
        if not self._here:
            return ", ".join(a.name for a in self.interconnect.attachments if a.site == self.site)
        for attachment in self._here:
            for port in _ports(world, attachment):
                if self.subnet in (port.switch, port.switch_name):
                    if attachment.every and port.switch_name not in (self.subnet, *attachment.exclude):
                        return port.switch_name
                    for ref in attachment.subnets:
                        if ref.id == port.switch or (ref.id is None and ref.name == port.switch_name):
                            return str(ref)
        return ""

    def names(self, world: World) -> list[str]:
        """What could have been meant."""
        if self.subnet is None or not self._here:
            return [a.name for a in self.interconnect.attachments]
        found = [str(s) for a in self._here for s in a.subnets]
        return found + [n for a in self._here if a.every for n in _connectable(world, a) if n not in a.exclude]


def _ports(world: World, attachment: Attachment) -> Iterator[VpcPort]:
    site = world.readable().get(attachment.site)
    for vpc in site.vpcs(attachment.vpc) if site else ():
        yield from (p for p in vpc.ports if p.switch is not None)


def _connectable(world: World, attachment: Attachment) -> list[str]:
    """Names that `"*"` may stand for."""
    return sorted({p.switch_name for p in _ports(world, attachment) if p.role in (Role.SUBNET, Role.SHARED)})
