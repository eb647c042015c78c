"""A switch port as people name it, and what Neutron or a cluster says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from isthmus.errors import IntentError, Problem
from isthmus.model.rows import KEY
from isthmus.verify import neutron
from isthmus.verify.columns import Secured, text, texts
from isthmus.verify.reach import World
from isthmus.verify.zone import SwitchPort, Zone

Projects = Mapping[str, Mapping[str, str]]
"""Site -> project's id -> its name: rows know ids alone."""

NO_PROJECTS: Projects = {}


def split(word: str) -> tuple[str, str, str]:
    """Site, project or namespace, and port or Pod of `SITE/<project>/<port>`; no project in `SITE/<lsp>`.

    >>> split("cloud/a/vm"), split("cloud/vm")
    (('cloud', 'a', 'vm'), ('cloud', '', 'vm'))
    """
    site, _, rest = word.partition("/")
    project, slash, port = rest.partition("/")
    return (site, project, port) if slash else (site, "", rest)


def find_port(world: World, word: str, projects: Projects = NO_PROJECTS) -> tuple[str, SwitchPort]:
    """Read `SITE/<lsp>`, `SITE/<project>/<port>` with names or ids of Neutron's, or `SITE/<namespace>/<pod>`.

    Raises IntentError.
    """
    site, project, name = split(word)
    if site not in world.zones:
        raise error("UnknownSite", f"there is no site {site!r}", f"name one of {', '.join(sorted(world.zones))}")
    zone = world.zones[site]
    if (lsp := zone.switch_ports.get(word.partition("/")[2])) is not None:
        return site, lsp
    if not project:
        raise error("UnknownPort", f"site {site!r} has no switch port {name!r}", "see `isthmus show`")
    if (lsp := zone.switch_ports.get(f"{name}.{project}")) is not None and _pod(zone, lsp):
        return site, lsp
    if any(_pod(zone, port) for port in zone.switch_ports.values()):
        remedy = "see whether it runs, and its Events: kubectl describe pod; one in its node's network has no port"
        raise error("UnknownPod", f"site {site!r} has no port of a Pod {name!r} in namespace {project!r}", remedy)
    known = {project, *(i for i, of in projects.get(site, {}).items() if of == project)}
    ports = [(p, zone.table("Logical_Switch_Port")[p.row.uuid]) for p in zone.switch_ports.values()]
    theirs = [(p, record) for p, record in ports if neutron.mark(record, "project_id") in known]
    if not theirs:
        message = f"site {site!r} has no port of a project {project!r}"
        raise error("UnknownProject", message, "write the project's id, or give our user the right to list projects")
    found = [p for p, _ in theirs if p.name == name] or [
        p for p, record in theirs if neutron.mark(record, "port_name") == name
    ]
    if not found:
        raise error("UnknownPort", f"project {project!r} has no port {name!r} at site {site!r}", "see its ports there")
    if len(found) > 1:
        many = ", ".join(sorted(p.name for p in found))
        raise error("AmbiguousPort", f"project {project!r} has {len(found)} ports {name!r}", f"write an id: {many}")
    return site, found[0]


def _pod(zone: Zone, port: SwitchPort) -> str:
    """NAMESPACE/NAME of the Pod that a port is for, by our own mark or Kube-OVN's; "" for another's."""
    ids = neutron.ids(zone.table("Logical_Switch_Port")[port.row.uuid])
    if "isthmus:pod-uid" not in ids:
        return ids.get("pod", "")
    namespace, _, pod = ids.get(KEY, "").removeprefix("pod.").removesuffix("/port").partition(".")
    return f"{namespace}/{pod}" if namespace else ""


def error(code: str, message: str, remedy: str) -> IntentError:
    return IntentError(Problem(code, message, remedy=remedy))


def describe(zone: Zone, port: SwitchPort, end: str) -> Iterator[str]:
    """A line about a port that Neutron made: whose it is, what filters it, and where its address comes from.

    Of a Pod's: which it is, and where it runs.
    """
    record = zone.table("Logical_Switch_Port")[port.row.uuid]
    if pod := _pod(zone, port):
        node = port.options.get("requested-chassis", "")
        words = [f"Pod {pod}", f"Subnet {text(zone.table('Logical_Switch')[port.switch].get('name'))}"]
        words += [f"node {node}"] if node else []
        yield f"{end:>4}  {'; '.join([*words, *_security(port)])}"
        return
    project = neutron.mark(record, "project_id")
    if not project:
        return
    name = neutron.plain(neutron.mark(record, "port_name"))
    words = [f"Neutron port {name or port.name}" + (f" ({port.name})" if name else ""), f"project {project}"]
    words += [f"network {neutron.plain(n)}" for n in neutron.names(zone.table("Logical_Switch")[port.switch])]
    groups = neutron.groups_of(record)
    words.append(f"security groups {', '.join(groups)}" if groups else "no security group")
    words += _security(port)
    words += _dhcp(zone, record)
    if not port.enabled:
        words.append("disabled")
    if port.type == "virtual":
        words.append(f"virtual, of {port.options.get('virtual-parents', 'no port')}")
    yield f"{end:>4}  {'; '.join(words)}"


def _security(port: SwitchPort) -> Iterator[str]:
    own = {(o.mac, pair) for o in port.owned for pair in o.addresses}
    if not port.security:
        yield "no port security"
        return
    yield "port security"
    more = [s for one in port.security for s in _pairs(one) if s[0] not in own]
    if more:
        yield f"allowed address pairs {', '.join(words for _, words in more)}"


def _pairs(one: Secured) -> Iterator[tuple[tuple[int, tuple[int, int]] | None, str]]:
    """Each address that may be sent from, as what a port may own, and in words."""
    for family, low, high in one.ranges:
        length = (32 if family == 4 else 128) - (high - low).bit_length()
        words = ip_network((low, length)).compressed
        yield ((one.mac, (family, low)) if low == high else None), words.removesuffix("/32").removesuffix("/128")
    if not one.ranges:
        yield None, "any"


def _dhcp(zone: Zone, record: Mapping[str, object]) -> Iterator[str]:
    for column, version in (("dhcpv4_options", 4), ("dhcpv6_options", 6)):
        for uuid in texts(record.get(column)):  # type: ignore[arg-type]
            if uuid in zone.table("DHCP_Options"):
                yield f"DHCPv{version} of {text(zone.table('DHCP_Options')[uuid].get('cidr'))}"
