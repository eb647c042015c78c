"""Intent and facts -> sides. Says everything that is wrong with an Attachment at once, and resolves the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Interface, IPv6Interface

from isthmus.compile.names import of
from isthmus.compile.record import SideRecord
from isthmus.compile.view import FIRST_PROBE, LINK_HOSTS, Defined, Side
from isthmus.errors import Problem
from isthmus.model.facts import Chassis, Interface, Role, SiteFacts, Subnet, Vpc, VpcPort
from isthmus.model.intent import Attachment, Interconnect, Prefix, SubnetRef, VpcRef

MAX_PROBES = LINK_HOSTS - FIRST_PROBE + 1

NOT_YET = SideRecord("", "")
"""Of an Attachment that was never programmed."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """`side` is None where not even the VPC is known. A side with problems must not gain reach."""

    side: Side | None
    problems: tuple[Problem, ...]


def resolve(
    interconnect: Interconnect,
    attachment: Attachment,
    owner: str,
    facts: SiteFacts,
    site_gateways: tuple[str, ...],
    recorded: SideRecord = NOT_YET,
) -> Resolved:
    """Look an Attachment up in its site's facts.

    recorded  how it was programmed last. Its gateways hold the port now; they are kept where the intended ones are not
              usable, and while one of them is away: a chassis leaves the database whenever its host is rebooted
    """
    return _Resolver(interconnect, attachment, owner, facts, recorded).run(site_gateways)


class _Resolver:
    def __init__(
        self,
        interconnect: Interconnect,
        attachment: Attachment,
        owner: str,
        facts: SiteFacts,
        recorded: SideRecord,
    ) -> None:
        self.interconnect, self.attachment = interconnect, attachment
        self.owner, self.facts = owner, facts
        self.recorded, self.hostnames = recorded, dict[str, str]()
        self.problems: list[Problem] = []

    def run(self, site_gateways: tuple[str, ...]) -> Resolved:
        vpc = self._vpc()
        gateways = self._gateways(site_gateways) or self.recorded.gateways
        if vpc is None:
            return Resolved(None, tuple(self.problems))
        subnets, defined = self._subnets(vpc)
        exclude = self._exclude(vpc)
        chassis = self.facts.chassis()
        probes = tuple(c for c in gateways if c in chassis and chassis[c].agent)[:MAX_PROBES]
        groups = self._security_groups(vpc)
        side = Side(self.attachment, vpc, subnets, defined, gateways, probes, self.hostnames, exclude, groups)
        return Resolved(side, tuple(self.problems))

    def _problem(self, code: str, field: str, message: str, remedy: str) -> None:
        origin = self.interconnect.origin
        # A subnet knows its whole path, an attachment's own fields only their names.
        where = field if field.startswith("spec.") else f"{self.attachment.field}.{field}".rstrip(".")
        text = f"interconnect {self.interconnect.name!r}: {message}"
        self.problems.append(Problem(code, text, origin.file, origin.document, where, remedy))

    # -- VPC ----------------------------------------------------------------------------------------------

    def _vpc(self) -> Vpc | None:
        ref, site = self.attachment.vpc, self.attachment.site
        found = self.facts.vpcs(ref)
        if len(found) == 1:
            if found[0].pinned:
                self._problem(
                    "GatewayRouter",
                    "vpc",
                    f"router {str(ref)!r} of site {site!r} runs on one chassis, because its external network is a "
                    "tunnelled one: OVN gives it no port that is carried elsewhere",
                    "give it an external network of type flat or vlan, or none",
                )
            if found[0].default:
                self._problem(
                    "DefaultVpc",
                    "vpc",
                    f"{str(ref)!r} is the default Vpc of the Kube-OVN of site {site!r}: what its Pods send follows "
                    "Kube-OVN's own policies to the node before any route is asked",
                    "make a Vpc, and in it the Subnets that are to be joined",
                )
            return found[0]
        known = not ref.project or self.facts.has_project(ref.project)
        if not found and not known:
            text = f"site {site!r} has no project {ref.project!r}, or shows it to our user by its id alone"
            self._problem("UnknownProject", "vpc.project", text, "check the name, or write the id; it may be deleted")
            if known is None and self.recorded.vpc:
                # Names could be read when this router was joined: what stands may stay, and gains nothing.
                return next((v for v in self.facts.vpcs(VpcRef(id=self.recorded.vpc)) if v.name == ref.name), None)
        elif not found:
            self._problem(
                "UnknownVpc", "vpc", f"site {site!r} has no router {str(ref)!r}", "check the name, or create the router"
            )
        else:
            ids = ", ".join(f"{v.uuid} (project {v.project})" if v.project else v.uuid for v in found)
            self._problem(
                "AmbiguousVpc", "vpc", f"site {site!r} has {len(found)} routers {str(ref)!r}: {ids}", "name it by `id`"
            )
        return None

    # -- subnets ------------------------------------------------------------------------------------------

    def _subnets(self, vpc: Vpc) -> tuple[tuple[Subnet, ...], tuple[Defined, ...]]:
        known = _by_switch(vpc)
        chosen: dict[str, Subnet] = {}
        defined: list[Defined] = []
        if self.attachment.every:
            for switch, ports in known.items():
                name = ports[0].switch_name
                if all(p.role is Role.SUBNET for p in ports) and name not in self.attachment.exclude:
                    chosen[switch] = subnet_of(ports)
        for ref in self.attachment.subnets:
            matching = [
                s for s, ports in known.items() if ref.id == s or (ref.id is None and ref.name == ports[0].switch_name)
            ]
            if _two_families([known[s] for s in matching]):
                known[matching[0]] += known.pop(matching[1])
                del matching[1]
            if len(matching) > 1:
                names = ", ".join(matching)
                self._problem(
                    "AmbiguousSubnet",
                    ref.field,
                    f"router {vpc.name!r} has several switches {str(ref)!r}: {names}",
                    "name it by `id`",
                )
            elif matching and not self._is_ours(known[matching[0]], ref):
                self._existing(vpc, ref, known[matching[0]], chosen)
            elif ref.cidrs:
                ports = known[matching[0]] if matching else ()
                made = self._define(vpc, self._standing(vpc, ref, ports), ports)
                if made is not None:
                    defined.append(made[0])
                    chosen[f"~{ref.name}"] = made[1]
            else:
                self._unknown_subnet(vpc, ref)
        return tuple(sorted(chosen.values(), key=lambda s: (s.name, s.id))), tuple(defined)

    def _is_ours(self, ports: tuple[VpcPort, ...], ref: SubnetRef) -> bool:
        return bool(ref.cidrs) and any(p.owned == f"{self._key(ref)}/gateway" for p in ports)

    def _standing(self, vpc: Vpc, ref: SubnetRef, ports: tuple[VpcPort, ...]) -> SubnetRef:
        """The definition as it stands where the text renumbers it: machines keep their addresses. It may gain a family.

        The record says more than the port, whose networks somebody may have changed.
        """
        assert ref.name is not None
        ours = any(s.owned == self._key(ref) for s in self.facts.switches(ref.name, vpc))
        stands = (self.recorded.subnets.get(ref.name) if ours else None) or [n for p in ports for n in p.networks]
        if {n.network for n in stands} <= set(ref.cidrs):
            return ref
        has = ", ".join(str(n.network) for n in stands)
        self._problem(
            "CidrDiffers",
            ref.field,
            f"subnet {ref.name!r} was defined with {has}, not {', '.join(map(str, ref.cidrs))}",
            f"write cidr {has} again; or take the subnet out, apply, and define it anew: it is removed when no machine "
            "is in it",
        )
        return replace(ref, cidrs=tuple(n.network for n in stands), gateways=tuple(n.ip for n in stands))

    def _key(self, ref: SubnetRef) -> str:
        return f"{self.interconnect.name}/{self.attachment.name}/subnet/{ref.name}"

    def _existing(self, vpc: Vpc, ref: SubnetRef, ports: tuple[VpcPort, ...], chosen: dict[str, Subnet]) -> None:
        subnet = subnet_of(ports)
        if any(p.role not in (Role.SUBNET, Role.SHARED) for p in ports):
            self._problem(
                "NotATenantSubnet",
                ref.field,
                f"{str(ref)!r} on router {vpc.name!r} is an external network or a link",
                "list a subnet with machines in it",
            )
        elif not subnet.prefixes:
            self._problem(
                "NoAddress",
                ref.field,
                f"subnet {str(ref)!r} of router {vpc.name!r} has no address range",
                "give the router's port a network",
            )
        elif ref.cidrs and set(ref.cidrs) != set(subnet.prefixes):
            has = ", ".join(map(str, subnet.prefixes))
            self._problem(
                "CidrDiffers",
                ref.field,
                f"subnet {str(ref)!r} exists on router {vpc.name!r} with {has}",
                "write that cidr, or another name",
            )
        else:
            chosen[ports[0].switch or ""] = subnet

    def _define(self, vpc: Vpc, ref: SubnetRef, standing: tuple[VpcPort, ...]) -> tuple[Defined, Subnet] | None:
        assert ref.name is not None
        if vpc.keeper == "kube-ovn":
            said = f"subnet {ref.name!r} cannot be defined where Kube-OVN keeps the networks"
            self._problem("NotHonoured", ref.field, said, f"create a Subnet in Vpc {vpc.name!r}, and name it here")
            return None
        for switch in self.facts.switches(ref.name, vpc):
            if switch.owned != self._key(ref):
                self._problem(
                    "NameInUse",
                    ref.field,
                    f"a switch {ref.name!r} exists that is not on router {vpc.name!r}",
                    "choose another name, or attach it to the router",
                )
                return None
        networks = tuple(
            _gateway(c, ref.gateways[i] if i < len(ref.gateways) else None) for i, c in enumerate(ref.cidrs)
        )
        taken = [
            (n, p)
            for n in networks
            for port in vpc.ports
            if port.owned != f"{self._key(ref)}/gateway"
            for p in port.prefixes
            if p.version == n.version and p.overlaps(n.network)
        ]
        if taken:
            network, prefix = taken[0]
            self._problem(
                "Overlap",
                ref.field,
                f"subnet {ref.name!r} {network.network} overlaps {prefix} of router {vpc.name!r}",
                "choose another cidr",
            )
            return None
        # Others name their ports themselves.
        doors = tuple(sorted({p.name for p in standing}))
        if vpc.keeper == "ovn":
            doors = (of(self.owner, self.interconnect.name, self.attachment.name, f"subnet.{ref.name}"),)
        subnet = Subnet(ref.name, tuple(n.network for n in networks), networks, doors)
        return Defined(ref.name, networks, ref.field), subnet

    def _exclude(self, vpc: Vpc) -> tuple[str, ...]:
        """Refuses a name that never was a subnet here: it is mistyped, and `"*"` would connect what was meant.

        What was left out before may be gone since.
        """
        known = {p.switch_name for p in vpc.ports if p.switch is not None}
        if self.recorded.vpc == vpc.uuid:
            known |= {*self.recorded.exclude, *self.recorded.subnets}
        for index, name in enumerate(self.attachment.exclude):
            if name not in known:
                self._problem(
                    "UnknownSubnet",
                    f"except[{index}]",
                    f"router {vpc.name!r} of site {self.attachment.site!r} has no subnet {name!r} to leave out",
                    f"check the name, or write it when the subnet is there; {meant(name, vpc)}",
                )
        return tuple(sorted(known.intersection(self.attachment.exclude)))

    def _security_groups(self, vpc: Vpc) -> tuple[str, ...]:
        """Their ids, sorted."""
        found: set[str] = set()
        if self.attachment.security_groups and not self.facts.admits:
            text = f"the Neutron of site {self.attachment.site!r} has no address groups, which rules of ours need"
            self._problem("NoAddressGroups", "securityGroups", text, "take securityGroups out, or use Wallaby or later")
            return ()
        for index, name in enumerate(self.attachment.security_groups):
            field, where = f"securityGroups[{index}]", f"the project of router {vpc.name!r}"
            ids = self.facts.security_groups(name, vpc)
            if len(ids) == 1:
                found.add(ids[0])
            elif ids:
                text = f"{where} has {len(ids)} security groups {name!r}: {', '.join(sorted(ids))}"
                self._problem("AmbiguousSecurityGroup", field, text, "write its id instead")
            else:
                text = f"{where} has no security group {name!r}"
                self._problem("UnknownSecurityGroup", field, text, "check the name, or create it in that project")
        return tuple(sorted(found))

    def _unknown_subnet(self, vpc: Vpc, ref: SubnetRef) -> None:
        hint = meant(str(ref), vpc)
        if ref.name is not None and self.facts.switches(ref.name, vpc):
            self._problem(
                "SubnetOfAnotherVpc",
                ref.field,
                f"subnet {str(ref)!r} is not on router {vpc.name!r}",
                f"attach it to that router, or name the VPC that has it; {hint}",
            )
        else:
            self._problem(
                "UnknownSubnet",
                ref.field,
                f"router {vpc.name!r} of site {self.attachment.site!r} has no subnet {str(ref)!r}",
                f"check the name, or give a `cidr` to define it; {hint}",
            )

    # -- gateways -----------------------------------------------------------------------------------------

    def _gateways(self, of_site: tuple[str, ...]) -> tuple[str, ...]:
        chassis = self.facts.chassis()
        own = self.attachment.gateways
        wanted = own if own is not None else of_site
        if not wanted:
            self._problem(
                "NoGateway", "gateways", f"site {self.attachment.site!r} has no gateway chassis",
                "on one: ovs-vsctl set open . external_ids:ovn-is-interconn=true; and list it in the Site's gateways",
            )  # fmt: skip
        found = [c for name in wanted if (c := self._one_chassis(name, chassis)) is not None]
        names = tuple(dict.fromkeys(c.name for c in found))
        return names if own is not None else rotate(names, self.interconnect.name)

    def _one_chassis(self, name: str, chassis: Mapping[str, Chassis]) -> Chassis | None:
        found = [chassis[name]] if name in chassis else [c for c in chassis.values() if c.hostname == name]
        site = self.attachment.site
        if not found and (away := self.recorded.hostnames.get(name, name)) in self.recorded.gateways:
            found = [Chassis(away, name, interconnect=True)]
        if len(found) == 1 and found[0].interconnect:
            if found[0].name != name:
                self.hostnames[name] = found[0].name
            return found[0]
        if not found:
            self._problem(
                "UnknownGateway",
                "gateways",
                f"site {site!r} has no chassis or hostname {name!r}",
                "list a Chassis name or hostname that ovn-sbctl shows",
            )
        elif len(found) > 1:
            self._problem(
                "AmbiguousGateway",
                "gateways",
                f"site {site!r} has {len(found)} chassis of hostname {name!r}",
                "use the Chassis name",
            )
        else:
            self._problem(
                "GatewayNotMarked",
                "gateways",
                f"chassis {name!r} of site {site!r} is not marked ovn-is-interconn",
                "on that host: isthmus agent --gateway, or ovs-vsctl set open . external_ids:ovn-is-interconn=true",
            )
        return None


def meant(word: str, vpc: Vpc) -> str:
    """For whoever wrote a name that is no subnet of the VPC router."""
    from difflib import get_close_matches  # noqa: PLC0415  # seldom needed, and slow to import

    names = sorted({p.switch_name for p in vpc.ports if p.role is Role.SUBNET})
    close = get_close_matches(word, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names) or 'none'}"


def rotate(names: tuple[str, ...], interconnect: str) -> tuple[str, ...]:
    """Spread Interconnects over a site's gateways; one more Interconnect moves no other."""
    if not names:
        return ()
    start = int.from_bytes(sha256(interconnect.encode()).digest()[:4]) % len(names)
    return names[start:] + names[:start]


def subnet_of(ports: Iterable[VpcPort]) -> Subnet:
    """The subnet behind the ports of one router to one switch."""
    ports = tuple(ports)
    networks = tuple(n for p in ports for n in p.networks if not n.ip.is_link_local)
    prefixes = tuple(sorted({n.network for n in networks}, key=lambda p: (p.version, p)))
    return Subnet(ports[0].switch_name, prefixes, networks, tuple(sorted(p.name for p in ports)), ports[0].switch or "")


def _two_families(found: list[tuple[VpcPort, ...]]) -> bool:
    """An IPv4 and an IPv6 subnet of one network: to whoever gave both one name they are one subnet."""
    if len(found) != 2 or not found[0][0].segment or found[0][0].segment != found[1][0].segment:
        return False
    one, other = ({p.version for port in ports for p in port.prefixes} for ports in found)
    return not one & other


def _by_switch(vpc: Vpc) -> dict[str, tuple[VpcPort, ...]]:
    found: dict[str, list[VpcPort]] = {}
    for port in vpc.ports:
        if port.switch is not None:
            found.setdefault(port.switch, []).append(port)
    return {switch: tuple(ports) for switch, ports in found.items()}


def _gateway(cidr: Prefix, address: object) -> Interface:
    """The router's address in a subnet that we define: the first host unless it was given."""
    kind = IPv4Interface if cidr.version == 4 else IPv6Interface
    host = address if address is not None else cidr.network_address + 1
    return kind((host, cidr.prefixlen))
