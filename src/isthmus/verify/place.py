"""A subnet as `verify` names it: where packets start and where they should, or should not, arrive."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.model.facts import Subnet, Vpc, VpcPort
from isthmus.model.intent import Prefix


@dataclass(frozen=True, slots=True)
class Place:
    """A subnet of a VPC router.

    vpc    what tells routers of a site apart: the Logical_Router's UUID, or its name where only that is known
    name   the subnet's, usually its switch's
    doors  names of the VPC router's ports to it
    """

    site: str
    vpc: str
    name: str
    doors: tuple[str, ...]
    prefixes: tuple[Prefix, ...]

    def __hash__(self) -> int:
        # Of a part of what is compared: hashing prefixes is slow, and a matrix asks n² times.
        return hash((self.site, self.vpc, self.name))

    def __str__(self) -> str:
        return f"{self.site}/{self.name}"

    @classmethod
    def of_subnet(cls, site: str, vpc: str, subnet: Subnet) -> Place:
        return cls(site, vpc, subnet.name, tuple(sorted(subnet.ports)), subnet.prefixes)

    @classmethod
    def of_port(cls, vpc: Vpc, port: VpcPort) -> Place:
        """A network of the router that nobody listed."""
        return cls(vpc.site, vpc.uuid, port.switch_name or port.name, (port.name,), port.prefixes)

    def as_json(self) -> dict[str, object]:
        return {
            "site": self.site,
            "vpc": self.vpc,
            "subnet": self.name,
            "prefixes": [str(p) for p in self.prefixes],
        }
