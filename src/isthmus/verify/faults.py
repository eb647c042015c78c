"""What is wrong with a cluster's own networks, below what pairs of subnets show."""

from __future__ import annotations

from itertools import chain

from isthmus.verify.cluster import Networks
from isthmus.verify.doorways import balancers, doors, nodes
from isthmus.verify.fault import Fault, Ground
from isthmus.verify.reach import World
from isthmus.verify.residents import residents
from isthmus.verify.segments import strangers, subnets
from isthmus.verify.statics import routes


def faults(world: World, networks: Networks) -> tuple[Fault, ...]:
    """Of one cluster: Subnets, routes, who is on their switches, ways of nodes, Pods. Nothing where no row was read."""
    if networks.site not in world.zones:
        return ()
    ground = Ground(world, networks)
    asked = (subnets, routes, strangers, nodes, doors, balancers, residents)
    return tuple(chain.from_iterable(ask(ground) for ask in asked))
