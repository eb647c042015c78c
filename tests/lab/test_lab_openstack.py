"""Sites of type `openstack`: a real Keystone and Neutron, and packets through what they make."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from openstack.exceptions import ForbiddenException

from isthmus.lab import packets, rpc, spec, traffic
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import LabFactory, unique_name

from .openstack_steps import use_line

pytestmark = pytest.mark.lab

FILE = Path(__file__).with_name("openstack.yaml")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Lab]:
    with Lab.up(spec.load(str(FILE), name=unique_name())) as lab:
        yield lab


def plain(lab: Lab, tenant: str = "") -> list[str]:
    """Endpoints of the projects' default group."""
    return [m.name for m in lab.machines if m.name.startswith(f"cloud-{tenant}")]


@pytest.mark.parametrize("version", [4, 6])
def test_a_projects_endpoints_reach_each_other_through_its_router_and_nobody_elses(cloud: Lab, version: int) -> None:
    pairs = traffic.pairs([cloud.machine(n) for n in plain(cloud)], version)
    result = traffic.matrix(cloud, pairs, version=version)
    assert result.open == {p for p in pairs if cloud.machine(p[0]).tenant == cloud.machine(p[1]).tenant}
    assert not result.strays


def test_security_groups_say_who_gets_in(cloud: Lab) -> None:
    web, db, pinged, served = "cloud-a-web-1", "cloud-a-db-1", "pinged-a", "served-a"
    pairs = [(web, pinged), (db, pinged), (pinged, served), (web, served), (pinged, web)]
    assert traffic.matrix(cloud, pairs, protocol="icmp").open == {(web, pinged)}
    assert traffic.matrix(cloud, pairs).open == {(pinged, served)}
    assert traffic.matrix(cloud, [(pinged, served)], port=8001).open
    assert not traffic.matrix(cloud, [(pinged, served)], port=8002).open


def test_the_provider_network_is_reached_by_the_routers_gateway(cloud: Lab) -> None:
    pairs = [("cloud-a-web-1", "neighbour"), ("neighbour", "free-a"), ("neighbour", "cloud-a-web-1")]
    assert traffic.matrix(cloud, pairs).open == {("cloud-a-web-1", "neighbour"), ("neighbour", "free-a")}
    (router,) = cloud.site("cloud").cloud("a").network.routers()
    assert router.routes == [{"destination": "198.51.100.0/24", "nexthop": "203.0.113.1"}]
    assert not router.external_gateway_info["enable_snat"]


def test_a_forged_source_passes_only_without_port_security(cloud: Lab) -> None:
    pinged = cloud.machine("pinged-a")  # whoever is of 10.1.1.0/24 gets in
    for sender, passes in (("free-a", True), ("cloud-a-db-1", False)):
        forged = packets.frame(cloud.machine(sender).mac, pinged.mac, "10.1.1.99", "10.1.2.13", b"forged", "icmp")
        with traffic.Wire(cloud, pinged.name) as there, traffic.Wire(cloud, sender) as here:
            here.send(forged)
            assert any(b"forged" in frame for frame in there.frames(0.5)) == passes, sender
    assert traffic.matrix(cloud, [("cloud-a-db-1", "free-a")]).open


def discover(mac: str) -> bytes:
    """A DHCPDISCOVER."""
    hardware = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0x8000) + bytes(16) + hardware + bytes(192)
    message = head + bytes.fromhex("63825363") + bytes([53, 1, 1, 55, 3, 1, 3, 26, 255])
    nobody, everybody = ip_address("0.0.0.0"), ip_address("255.255.255.255")
    datagram = packets.udp(nobody, everybody, message, sport=68, dport=67)
    return packets.ethernet("ff:ff:ff:ff:ff:ff", mac, 0x0800, packets.ip(nobody, everybody, 17, datagram))


def test_dhcp_gives_an_endpoint_its_address_its_gateway_and_the_mtu(cloud: Lab) -> None:
    machine = cloud.machine("cloud-b-web-2")
    with traffic.Wire(cloud, machine.name) as wire:
        wire.send(discover(machine.mac))
        offer = next(f for f in wire.frames(5) if bytes.fromhex("63825363") in f)
    body, options = offer[42:].split(bytes.fromhex("63825363"), 1)
    assert body[16:20] == ip_address("10.1.1.12").packed
    found = {}
    while options[0] != 255:
        found[options[0]], options = options[2 : 2 + options[1]], options[2 + options[1] :]
    assert found[3] == ip_address("10.1.1.1").packed
    assert int.from_bytes(found[26], "big") == 1442 == machine.mtu


def test_a_member_sees_her_project_and_no_other(cloud: Lab) -> None:
    member = cloud.site("cloud").cloud("a")
    assert {n.name for n in member.network.networks()} == {"a-web", "a-db", "ext"}
    assert [r.name for r in member.network.routers()] == ["a"]
    assert {s.name for s in member.network.subnets() if s.ip_version == 6} == {"a-web"}
    assert {p.project_id for p in member.network.ports()} == {member.current_project_id}
    with pytest.raises(ForbiddenException):
        list(member.identity.projects())


def test_the_service_user_sees_all_projects(cloud: Lab) -> None:
    isthmus = cloud.site("cloud").cloud("isthmus")
    assert {r.name for r in isthmus.network.routers()} == {"a", "b"}


def test_the_operator_has_the_openstack_command(cloud: Lab) -> None:
    argv = ["openstack", "--os-cloud", "cloud-b", "network", "list", "-f", "json", "-c", "Name"]
    done = cloud.exec("operator", argv)
    assert done.returncode == 0, done.stderr
    assert {row["Name"] for row in json.loads(done.stdout)} == {"b-web", "b-db", "ext"}


def test_a_shell_outside_becomes_the_operators(cloud: Lab) -> None:
    script = f'eval "$(isthmus lab env --name {cloud.name} --cloud cloud-a)"; openstack router list -f value -c Name'
    done = cloud.exec("operator", ["sh", "-c", script])
    assert (done.returncode, done.stdout) == (0, "a\n"), done.stderr


def test_an_endpoint_that_comes_later_is_a_port_of_its_member(cloud: Lab) -> None:
    options = {"site": "cloud", "switch": "a-web", "gateways": ["10.1.1.1"], "tenant": "a"}
    machine = cloud.plug("later", host="cloud-2", addresses=["10.1.1.77/24"], **options)
    pairs = [("later", "cloud-a-db-1"), ("cloud-a-db-1", "later"), ("later", "cloud-b-web-1")]
    assert traffic.matrix(cloud, pairs).open == set(pairs[:2])
    network = cloud.site("cloud").cloud("a").network
    port = network.get_port(cloud.port("later"))
    assert (port.name, port.status, port.mac_address) == ("later", "ACTIVE", machine.mac)
    cloud.unplug("later")
    assert not list(network.ports(name="later"))


def test_neutron_alone_writes_the_northbound_database(cloud: Lab) -> None:
    rows = cloud.snapshot("nb/cloud")["nb/cloud"]
    (top,) = rows["NB_Global"].values()
    assert top["name"] == ""
    assert rpc.mapping(top["options"])["bfd-min-rx"] == "100"
    for table in ("Logical_Switch", "Logical_Router"):
        assert all(row["name"].startswith("neutron-") for row in rows[table].values())
    owned = [rpc.mapping(row["external_ids"]) for row in rows["Logical_Switch_Port"].values() if not row["type"]]
    assert owned and all("neutron:revision_number" in ids for ids in owned)


def test_neutrons_key_opens_its_sites_databases_and_a_hosts_does_not(cloud: Lab) -> None:
    site = cloud.site("cloud")
    for remote, database in ((site.nb, "OVN_Northbound"), (site.sb, "OVN_Southbound")):
        options = ["--timeout=5", "list-tables", remote, database]
        for place, name, trust, opens in (
            ("cloud", "neutron", "--ca-cert=/run/pki/nb-ca.pem", True),
            ("cloud-1", "chassis", "--bootstrap-ca-cert=/run/trusted-at-first-sight.pem", False),
        ):
            keys = [f"--certificate=/run/pki/{name}.pem", f"--private-key=/run/pki/{name}-key.pem", trust]
            done = cloud.exec(place, ["ovsdb-client", *keys, *options])
            assert (done.returncode == 0) == opens, (place, remote, done.stderr)
    assert "neutron" not in cloud.exec("cloud-1", ["find", "/run", "-name", "*key.pem"]).stdout
    assert not cloud.exec("cloud-1", ["ls", str(cloud.paths.operator)]).stdout


def test_the_documents_name_the_cloud_the_project_and_the_groups(cloud: Lab) -> None:
    documents = list(yaml.safe_load_all((cloud.paths.config / "fabric.yaml").read_text(encoding="utf-8")))
    site = documents[1]["spec"]
    assert (site["type"], site["openstack"]) == ("openstack", {"cloud": "cloud"})
    assert "bfd" not in site and "zone" not in site


def missing(lab: Lab) -> set[str]:
    """Extensions of Neutron's API that Isthmus builds on, and that this cloud does not have."""
    there = {e.alias for e in lab.site("cloud").cloud().network.extensions()}
    wanted = """address-group security-groups-remote-address-group extraroute-atomic standard-attr-tag
        standard-attr-description router ext-gw-mode floating-ip-port-forwarding rbac-policies quotas
        allowed-address-pairs port-security"""
    return set(wanted.split()) - there


def test_extensions_that_isthmus_builds_on_are_there(cloud: Lab) -> None:
    assert missing(cloud) == set()


def test_its_daemons_come_back(cloud: Lab) -> None:
    site = cloud.site("cloud")
    network = site.cloud("a").network
    for short in ("mariadb", "keystone", "neutron", "neutron-maintenance"):
        daemon = site.daemon(short)
        daemon.kill() if short == "neutron-maintenance" else daemon.stop()
        assert not daemon.running
        daemon.start()
        assert daemon.running
        assert [r.name for r in network.routers()] == ["a"]


@pytest.mark.full
@pytest.mark.parametrize("line", spec.LINES[1:])
def test_older_release_lines_do_the_same(lab_factory: LabFactory, line: str) -> None:
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    use_line(document, line)
    older = lab_factory(document)
    assert older.site("cloud").daemon("neutron").daemon.argv[0].split("/")[-3].startswith(f"openstack-{line}-")
    for version in (4, 6):
        test_a_projects_endpoints_reach_each_other_through_its_router_and_nobody_elses(older, version)
    test_security_groups_say_who_gets_in(older)
    test_the_provider_network_is_reached_by_the_routers_gateway(older)
    assert missing(older) == ({"extraroute-atomic"} if line == "27" else set())
    test_a_member_sees_her_project_and_no_other(older)


def small(name: str, address: int) -> dict[str, Any]:
    """A cloud of one host; tenants' routers meet on a network that everybody shares."""
    endpoints = [{"host": f"{name}-1", "name": f"{name}-{{tenant}}-{number}"} for number in (1, 2)]
    switch = {"name": "web", "router": "r", "cidrs": ["10.1.1.0/24"], "endpoints": endpoints}
    router = {"name": "r", "attach": [{"switch": "common", "addresses": ["10.9.0.11/24"]}]}
    server = {"host": f"{name}-1", "name": f"{name}-common", "gateway": False, "addresses": [f"10.9.0.{address}"]}
    server["portSecurity"] = False
    return {
        "name": name,
        "type": "openstack",
        "openstack": {"nova": False},
        "hosts": [{"name": f"{name}-1", "gateway": True}],
        "perTenant": {"routers": [router], "switches": [switch]},
        "switches": [{"name": "common", "cidrs": ["10.9.0.0/24"], "shared": True, "endpoints": [server]}],
    }


def test_clouds_of_one_lab_and_of_two_do_not_meet(cloud: Lab, lab_factory: LabFactory) -> None:
    other = lab_factory({"name": "two", "tenants": 2, "sites": [small("one", 50), small("two", 51)]})
    result = traffic.matrix(other, traffic.pairs(other.machines))
    own = {(f"{s}-{t}-{n}", f"{s}-{t}-{3 - n}") for s in ("one", "two") for t in "ab" for n in (1, 2)}
    assert result.open == own | {(f"{s}-{t}-{n}", f"{s}-common") for s in ("one", "two") for t in "ab" for n in (1, 2)}
    assert not result.strays
    for lab, site, user, routers in (
        (other, "one", "a", ["r"]),
        (other, "two", "b", ["r"]),
        (cloud, "cloud", "a", ["a"]),
    ):
        assert [r.name for r in lab.site(site).cloud(user).network.routers()] == routers
    (document,) = list(yaml.safe_load_all((other.paths.config / "interconnects.yaml").read_text(encoding="utf-8")))[:1]
    assert document["spec"]["attachments"] == [
        {"site": site, "vpc": {"project": "a", "name": "r"}, "subnets": ["web"]} for site in ("one", "two")
    ]
