"""What `isthmus demo` can show, registered in one place.

The contract of a scenario, held by `tests/lab/test_demo.py` for each:

- its lab has at least two sites and two tenants, who use the same addresses, and two machines on different hosts in
  every subnet, so that what must stay closed has a control that is open in the same second;
- the documents that the lab writes connect each tenant's subnets across sites, and nobody to another tenant;
- what is cut is one subnet of one Interconnect, and something of that Interconnect is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import IntentError, Problem


@dataclass(frozen=True, slots=True)
class Cut:
    """What is disconnected while the rest carries on: the words of `isthmus disconnect`."""

    interconnect: str
    subnet: str

    @property
    def argv(self) -> tuple[str, ...]:
        return ("disconnect", self.interconnect, "--subnet", self.subnet)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One demonstration.

    says   one line, for people
    lab    a built-in lab or the path of a lab file
    trace  source and target of the path that is drawn, as `isthmus trace` takes them
    shut   (tenant, site) whose machines reach out, and let nothing new in from other sites
    """

    name: str
    says: str
    lab: str
    cut: Cut
    trace: tuple[str, str]
    shut: frozenset[tuple[str, str]] = frozenset()


_ALL = (
    Scenario(
        name="two-sites",
        says="two OVN deployments, two tenants with the same addresses in both",
        lab="two-sites",
        cut=Cut("tenant-a", "a-db"),
        trace=("cloud/cloud-a-web-1", "10.2.1.12"),
    ),
    Scenario(
        name="three-sites",
        says="one cloud and two clusters, each its own OVN deployment, two tenants with the same addresses",
        lab="three-sites",
        cut=Cut("tenant-a", "a-db"),
        trace=("east/east-a-pods-1", "10.3.1.12"),
    ),
    Scenario(
        name="cluster-to-cloud",
        says="a real OpenStack, servers booted by Nova, and a real Kubernetes, Pods on the network of our DaemonSet; "
        "two projects with the same addresses, of which one lets the other side in by its security group and one only "
        "reaches out",
        lab="cluster-to-cloud",
        cut=Cut("tenant-a", "a-db"),
        trace=("cluster/cluster-a-pods-1", "10.1.1.11"),
        shut=frozenset({("b", "cloud")}),
    ),
    Scenario(
        name="cluster-per-tenant",
        says="a real OpenStack, and a real Kubernetes for each of its projects, all with the same addresses",
        lab="cluster-per-tenant",
        cut=Cut("tenant-a", "a-jobs"),
        trace=("east/east-a-pods-1", "10.1.1.11"),
    ),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
DEFAULT = "two-sites"


def find(name: str) -> Scenario:
    """The scenario of that name. Raises IntentError."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    raise IntentError(
        Problem("NoSuchScenario", f"there is no scenario {name[:60]!r}", remedy=f"one of: {', '.join(SCENARIOS)}")
    )
