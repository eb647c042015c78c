"""Which Subnet a Pod is in, and which it may be in: what namespaces are bound to decides, never the Pod alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from isthmus.compile import nodes
from isthmus.compile.overlap import overlaps
from isthmus.errors import Problem
from isthmus.model.intent import Prefix
from isthmus.model.networks import DEFAULT_SUBNET, DEFAULT_VPC, NODES_SUBNET, Namespace, Pod, Subnet, Vpc


@dataclass(frozen=True, slots=True)
class Networks:
    """All that can be honoured: Subnets whose Vpc is there, and what is wrong with the others."""

    vpcs: Mapping[str, Vpc]
    subnets: Mapping[str, Subnet]
    problems: Mapping[str, Problem]
    """Name of a Subnet that is not among them -> why."""


def networks(vpcs: Mapping[str, Vpc], subnets: Mapping[str, Subnet], standing: Mapping[str, Subnet]) -> Networks:
    """Judge all Subnets.

    standing  what is in the database: of two that overlap in one VPC the one that stands stays, else the first by
              name; and a Subnet stays in the VPC that it stands in
    """
    good: dict[str, Subnet] = {}
    problems: dict[str, Problem] = {}
    for name in sorted(subnets, key=lambda n: (n not in standing, n)):
        if problem := _wrong(subnets[name], vpcs, good):
            problems[name] = problem
        else:
            good[name] = subnets[name]
    return Networks(vpcs, good, problems)


def _wrong(subnet: Subnet, vpcs: Mapping[str, Vpc], good: Mapping[str, Subnet]) -> Problem | None:
    if subnet.vpc not in vpcs:
        return Problem("UnknownVpc", f"there is no Vpc {subnet.vpc!r}", remedy="create it, or name another")
    if subnet.name == NODES_SUBNET and subnet.vpc != DEFAULT_VPC:
        said = f"nodes have their ports in {NODES_SUBNET!r}, which is of Vpc {DEFAULT_VPC!r}"
        return Problem("BadSubnet", said, remedy="give the Subnet another name")
    if both := _common(subnet.prefixes, [own.network for own in nodes.ROUTER]):
        said = f"{both} overlaps every VPC's link to its nodes"
        return Problem("Overlap", said, remedy="choose another network")
    for other in good.values():
        if other.vpc == subnet.vpc and (both := _common(subnet.prefixes, other.prefixes)):
            said = f"{both} overlaps Subnet {other.name!r} of the same Vpc"
            return Problem("Overlap", said, remedy="choose another network")
    return None


def _common(prefixes: Iterable[Prefix], others: Iterable[Prefix]) -> str:
    """The first prefix that has an address of another one, or ""."""
    return next((str(p) for p, other in product(prefixes, others) if overlaps(p, other)), "")


def may(namespace: Namespace, subnet: Subnet, vpc: Vpc) -> bool:
    """Whether Pods of a namespace may be in a Subnet of that Vpc."""
    if subnet.name == NODES_SUBNET:
        return False
    bound = bool(subnet.namespaces or subnet.selectors)
    named = namespace.name in subnet.namespaces or any(
        all(r.holds(namespace.labels) for r in selector) for selector in subnet.selectors
    )
    if bound and not named:
        return False
    if vpc.name == DEFAULT_VPC:
        return True
    return namespace.name in vpc.namespaces if vpc.namespaces else named


def choose(pod: Pod, namespace: Namespace, known: Networks) -> Subnet | Problem:
    """The Subnet of a Pod: the one that it names, that its namespace names or is bound to, its Vpc's, the cluster's."""
    if pod.misread:
        return Problem("BadAnnotation", pod.misread, remedy="mend the annotation, and make the Pod anew")
    wanted = pod.subnet or namespace.subnet
    if not wanted:
        return next(_offered(namespace, known), None) or Problem(
            "NoSubnet", f"namespace {namespace.name!r} has no Subnet", remedy="bind one to it (spec.namespaces)"
        )
    subnet = known.subnets.get(wanted)
    if subnet is None:
        why = known.problems.get(wanted)
        said = f"Subnet {wanted!r}: {why.message}" if why else f"there is no Subnet {wanted!r}"
        return Problem("UnknownSubnet", said, remedy="see the Subnet's conditions, or name another")
    if not may(namespace, subnet, known.vpcs[subnet.vpc]):
        said = f"namespace {namespace.name!r} is not bound to Subnet {wanted!r}"
        return Problem("NotBound", said, remedy="have whoever owns the Subnet bind it (spec.namespaces)")
    return subnet


def _offered(namespace: Namespace, known: Networks) -> Iterator[Subnet]:
    """What a Pod that names nothing gets, the best first."""
    allowed = [
        subnet for name, subnet in sorted(known.subnets.items()) if may(namespace, subnet, known.vpcs[subnet.vpc])
    ]
    preferred = {vpc.default_subnet for vpc in known.vpcs.values() if namespace.name in vpc.namespaces}
    yield from (s for s in allowed if s.namespaces or s.selectors)
    yield from (s for s in allowed if s.name in preferred)
    yield from (s for s in allowed if s.vpc != DEFAULT_VPC)
    yield from (s for s in allowed if s.name == DEFAULT_SUBNET)
