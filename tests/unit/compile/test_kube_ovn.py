"""What a Vpc that Kube-OVN keeps is refused for."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface, ip_network

import pytest

from isthmus.compile.resolve import Resolved, resolve
from isthmus.model.facts import Chassis, Role, Switch, Vpc, VpcPort
from isthmus.model.intent import Attachment, Interconnect, SubnetRef, VpcRef

PORT = VpcPort("p", "red-red-web", (ip_interface("10.1.0.1/24"),), Role.SUBNET, "s", "red-web")


class Facts:
    """`model.facts.SiteFacts` of a cluster with one Vpc."""

    admits = False

    def __init__(self, vpc: Vpc) -> None:
        self._vpc = vpc

    def vpcs(self, ref: VpcRef) -> tuple[Vpc, ...]:
        return (self._vpc,)

    def has_project(self, word: str) -> bool | None:
        return False

    def switches(self, name: str, vpc: Vpc) -> tuple[Switch, ...]:
        return ()

    def security_groups(self, name: str, vpc: Vpc) -> tuple[str, ...]:
        return ()

    def chassis(self) -> Mapping[str, Chassis]:
        return {"n1": Chassis("n1", "n1", interconnect=True)}


def resolved(subnet: SubnetRef, *, default: bool = False) -> Resolved:
    vpc = Vpc("cluster", "u", "red", (PORT,), (), "kube-ovn", default=default)
    attachment = Attachment("cluster", "cluster", VpcRef(name="red"), (subnet,), field="spec.attachments[0]")
    return resolve(Interconnect("t", "default", (attachment,)), attachment, "default", Facts(vpc), ("n1",))


def test_a_vpc_of_its_own_is_joined() -> None:
    found = resolved(SubnetRef(name="red-web"))
    assert not found.problems
    assert found.side and [s.name for s in found.side.subnets] == ["red-web"]


@pytest.mark.parametrize(
    "subnet, default, code, field",
    [
        (SubnetRef(name="red-web"), True, "DefaultVpc", "spec.attachments[0].vpc"),
        (
            SubnetRef(name="new", cidrs=(ip_network("10.5.0.0/24"),), field="spec.attachments[0].subnets[0]"),
            False,
            "NotHonoured",
            "spec.attachments[0].subnets[0]",
        ),
    ],
)
def test_it_is_refused_with_the_remedy(subnet: SubnetRef, default: bool, code: str, field: str) -> None:
    (problem,) = resolved(subnet, default=default).problems
    assert (problem.code, problem.field) == (code, field)
    assert problem.remedy
