from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from isthmus.backends.files import load, load_lenient
from isthmus.errors import IntentError, Problem
from isthmus.model.intent import SubnetRef, VpcRef

from .documents import EAST, FABRIC, GOOD, HEAD, WEST, interconnect, site, stream


def written(tmp_path: Path, text: str | bytes, name: str = "a.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path) -> list[Problem]:
    with pytest.raises(IntentError) as caught:
        load(path)
    return list(caught.value.problems)


def test_a_valid_configuration_is_read_whole(tmp_path: Path) -> None:
    found = load(written(tmp_path, stream(*GOOD)))
    assert [f.name for f in found.fabrics] == ["default"]
    assert found.fabrics[0].owner == "default"
    assert found.fabrics[0].northbound.remotes == (f"unix:{tmp_path}/ic.sock",)
    assert [(s.name, s.zone, s.gateways) for s in found.sites] == [
        ("east", "east", ("gw-1",)),
        ("west", "west", ("gw-1",)),
    ]
    (one,) = found.interconnects
    assert (one.name, one.fabric, one.sites) == ("tenant-a", "default", ("east", "west"))
    assert [(a.name, a.vpc) for a in one.attachments] == [("east", VpcRef("r")), ("west", VpcRef("r"))]
    assert [str(s) for s in one.attachments[0].subnets] == ["web", "db"]
    assert one.origin.document == 3


def test_a_site_says_the_largest_packet_that_it_carries(tmp_path: Path) -> None:
    found = load(written(tmp_path, stream(*GOOD, site("north", mtu="1400"))))
    assert {s.name: s.mtu for s in found.sites} == {"east": 1442, "north": 1400, "west": 1442}


@pytest.mark.parametrize("project", ["p", "{name: p}", "{id: '0123'}"])
def test_a_project_is_refused_on_a_site_that_has_none(tmp_path: Path, project: str) -> None:
    spoilt = interconnect("t", f"{{site: east, vpc: {{project: {project}, name: r}}, subnets: [web]}}", WEST)
    (problem,) = refused(written(tmp_path, stream(*GOOD[:3], spoilt)))
    assert (problem.code, problem.field) == ("FieldNotForType", "spec.attachments[0].vpc.project")
    assert "'east' is of type ovn" in problem.message


def test_a_directory_is_one_configuration_in_order_of_names(tmp_path: Path) -> None:
    for name, text in zip(("b.yaml", "c.yml", "d.yaml", "a.yaml"), GOOD, strict=True):
        written(tmp_path, text, name)
    for ignored in (".hidden.yaml", "notes.txt", "a.yaml~"):
        written(tmp_path, "{", ignored)
    (tmp_path / "dir.yaml").mkdir()
    assert load(tmp_path).interconnects[0].origin.file == str(tmp_path / "a.yaml")


def test_json_is_read_too(tmp_path: Path) -> None:
    written(tmp_path, stream(*GOOD[:3]))
    written(
        tmp_path,
        '{"apiVersion": "isthmus.dev/v1alpha1", "kind": "Interconnect", "metadata": {"name": "j"}, "spec":'
        ' {"attachments": [{"site": "east", "vpc": "r", "subnets": ["*"]}, {"site": "west", "vpc": "r",'
        ' "subnets": ["a"]}]}}',
        "j.json",
    )
    assert load(tmp_path).interconnects[0].attachments[0].every


def test_a_subnet_may_be_defined_with_one_cidr_per_family(tmp_path: Path) -> None:
    east = "{site: east, vpc: r, subnets: [{name: n, cidr: [fd00:5::/64, 10.5.0.0/24], gateway: 10.5.0.9}, {id: x}]}"
    one = load(written(tmp_path, stream(*GOOD[:3], interconnect("t", east, WEST)))).interconnects[0]
    assert one.attachments[0].subnets == (
        SubnetRef(
            name="n",
            cidrs=(ip_network("10.5.0.0/24"), ip_network("fd00:5::/64")),
            gateways=(ip_address("10.5.0.9"), ip_address("fd00:5::1")),
            field="spec.attachments[0].subnets[0]",
        ),
        SubnetRef(id="x", field="spec.attachments[0].subnets[1]"),
    )


@pytest.mark.parametrize("name", ["größe-東京", "with space", "a" * 255, "-x", "*x", "UPPER", "tab is not here"])
def test_foreign_names_may_be_any_printable_unicode(tmp_path: Path, name: str) -> None:
    east = f'{{site: east, vpc: {{name: "{name}"}}, subnets: ["{name}"]}}'
    one = load(written(tmp_path, stream(*GOOD[:3], interconnect("t", east, WEST)))).interconnects[0]
    assert (one.attachments[0].vpc.name, one.attachments[0].subnets[0].name) == (name, name)


def test_anchors_and_merges_are_honoured(tmp_path: Path) -> None:
    text = interconnect("t", "&e {site: east, vpc: r, subnets: [a]}", "{<<: *e, site: west}")
    one = load(written(tmp_path, stream(*GOOD[:3], text))).interconnects[0]
    assert [a.site for a in one.attachments] == ["east", "west"]


def test_one_fabric_need_not_be_named_and_of_two_one_must_be(tmp_path: Path) -> None:
    second = FABRIC.replace("default", "other")
    named = interconnect("t", EAST, WEST, more="  fabric: other\n")
    path = written(tmp_path, stream(*GOOD, second, named))
    assert [(p.code, p.document, p.field) for p in refused(path)] == [("UnknownFabric", 3, "spec.fabric")]


A = "spec.attachments"
SPOILT_ATTACHMENTS = [
    ("{site: east, vpc: r, subnets: [web, web]}", "Duplicate", f"{A}[0].subnets[1]"),
    ("{site: east, vpc: r, subnets: []}", "TooFew", f"{A}[0].subnets"),
    ("{site: east, vpc: r}", "MissingField", f"{A}[0].subnets"),
    ("{site: est, vpc: r, subnets: [a]}", "UnknownSite", f"{A}[0].site"),
    ("{site: east, vpc: {}, subnets: [a]}", "InvalidReference", f"{A}[0].vpc"),
    (
        "{site: east, vpc: {name: r, id: 6c1f2c3e-0000-4000-8000-000000000001}, subnets: [a]}",
        "InvalidReference",
        f"{A}[0].vpc",
    ),
    ("{site: east, vpc: {name: r, project: {}}, subnets: [a]}", "InvalidReference", f"{A}[0].vpc.project"),
    ("{site: east, vpc: {id: x}, subnets: [a]}", "InvalidId", f"{A}[0].vpc.id"),
    ("{site: east, vpc: {nam: r}, subnets: [a]}", "UnknownField", f"{A}[0].vpc.nam"),
    ("{site: east, vpc: r, subnets: [a], subnet: b}", "UnknownField", f"{A}[0].subnet"),
    ("{site: east, vpc: 7, subnets: [a]}", "WrongType", f"{A}[0].vpc"),
    ("{site: east, vpc: no, subnets: [a]}", "WrongType", f"{A}[0].vpc"),
    ("{site: east, vpc: r, subnets: a}", "WrongType", f"{A}[0].subnets"),
    ("{site: east, vpc: r, subnets: ['']}", "InvalidName", f"{A}[0].subnets[0]"),
    ('{site: east, vpc: r, subnets: ["a\\0b"]}', "InvalidName", f"{A}[0].subnets[0]"),
    ('{site: east, vpc: r, subnets: ["a\\nb"]}', "InvalidName", f"{A}[0].subnets[0]"),
    ('{site: east, vpc: r, subnets: ["a\\u202eb"]}', "InvalidName", f"{A}[0].subnets[0]"),
    ("{site: east, vpc: r, subnets: [" + "a" * 256 + "]}", "NameTooLong", f"{A}[0].subnets[0]"),
    ("{site: east, vpc: r, subnets: ['*', a]}", "Duplicate", f"{A}[0].subnets"),
    ("{site: east, vpc: r, subnets: [a], except: [b]}", "InvalidExcept", f"{A}[0].except"),
    ("{site: east, vpc: r, subnets: ['*'], except: [b, b]}", "Duplicate", f"{A}[0].except"),
    ("{site: east, vpc: r, subnets: ['*'], except: ['*']}", "InvalidExcept", f"{A}[0].except[0]"),
    ("{site: east, name: Oh, vpc: r, subnets: [a]}", "InvalidName", f"{A}[0].name"),
    ("{site: east, name: west, vpc: r, subnets: [a]}", "Duplicate", f"{A}[1].name"),
    ("{site: west, vpc: q, subnets: [a]}", "Duplicate", f"{A}[1].name"),
    ("{site: west, name: o, vpc: r, subnets: [a]}", "OneVpc", A),
    ("{site: east, vpc: r, subnets: [a], gateways: []}", "TooFew", f"{A}[0].gateways"),
    ("{site: east, vpc: r, subnets: [a], gateways: [g, g]}", "Duplicate", f"{A}[0].gateways"),
    ("{site: east, vpc: r, subnets: [a], securityGroups: [d]}", "FieldNotForType", f"{A}[0].securityGroups"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.1/24}]}", "HostBits", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/33}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/31}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 224.0.0.0/24}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 0.0.0.0/0}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 'fe80::/64'}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: [10.0.0.0/24, 10.1.0.0/24]}]}",
        "InvalidCidr",
        f"{A}[0].subnets[0].cidr",
    ),
    ("{site: east, vpc: r, subnets: [{id: a, cidr: 10.0.0.0/24}]}", "InvalidReference", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, gateway: 10.0.0.1}]}", "MissingField", f"{A}[0].subnets[0].cidr"),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/24, gateway: 10.0.1.1}]}",
        "InvalidGateway",
        f"{A}[0].subnets[0].gateway",
    ),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/24, gateway: 10.0.0.255}]}",
        "InvalidGateway",
        f"{A}[0].subnets[0].gateway",
    ),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/24, gateway: 'fd00::1'}]}",
        "InvalidGateway",
        f"{A}[0].subnets[0].gateway",
    ),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/24, gateway: x}]}",
        "InvalidAddress",
        f"{A}[0].subnets[0].gateway",
    ),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: 10.0.0.0/16}, {name: b, cidr: 10.0.1.0/24}]}",
        "Overlap",
        f"{A}[0].subnets[1].cidr",
    ),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 'fd69:7374:5::/64'}]}", "Overlap", f"{A}[0].subnets[0].cidr"),
    ("{site: east, vpc: r, subnets: [{name: a, cidr: 169.254.128.0/24}]}", "InvalidCidr", f"{A}[0].subnets[0].cidr"),
]


@pytest.mark.parametrize(("attachment", "code", "field"), SPOILT_ATTACHMENTS)
def test_a_spoilt_attachment_is_refused_with_its_place(tmp_path: Path, attachment: str, code: str, field: str) -> None:
    problems = refused(written(tmp_path, stream(*GOOD[:3], interconnect("t", attachment, WEST))))
    assert [(p.code, p.field, p.document) for p in problems] == [(code, field, 3)]
    assert problems[0].file and problems[0].message and problems[0].remedy


SPOILT_SPECS = [
    (site("east", northbound="['tcp:1.2.3.4:6641']"), "Insecure", "spec.northbound[0]"),
    (site("east", northbound="['ssl:1.2.3.4:6641']"), "MissingTls", "spec.northbound[0]"),
    (site("east", northbound="['ssl:1.2.3.4']"), "InvalidRemote", "spec.northbound[0]"),
    (site("east", northbound="['ssl:1.2.3.400:1']"), "InvalidRemote", "spec.northbound[0]"),
    (site("east", northbound="['ssl:fd00::1:66411']"), "InvalidRemote", "spec.northbound[0]"),
    (site("east", northbound="['http://x:1']"), "InvalidRemote", "spec.northbound[0]"),
    (site("east", northbound="[]"), "TooFew", "spec.northbound"),
    (site("east", northbound="'unix:x'"), "WrongType", "spec.northbound"),
    (site("east", northbound="['unix:x', 'unix:x']"), "Duplicate", "spec.northbound"),
    (site("east", type="openstack"), "MissingField", "spec.openstack"),
    (site("east", type="openstack", openstack="{}"), "MissingField", "spec.openstack.cloud"),
    (
        site("east", type="openstack", openstack="{cloud: c}", kubernetes="{kubeconfig: k}"),
        "FieldNotForType",
        "spec.kubernetes",
    ),
    (
        site("east", type="openstack", openstack="{cloud: c}", bfd="{minRx: 100, minTx: 100, mult: 3}"),
        "FieldNotForType",
        "spec.bfd",
    ),
    (site("east", type="kubernetes"), "MissingField", "spec.kubernetes"),
    (site("east", type="kubernetes", kubernetes="{context: c}"), "MissingField", "spec.kubernetes.kubeconfig"),
    (
        site("east", type="kubernetes", kubernetes="{kubeconfig: k}", openstack="{cloud: c}"),
        "FieldNotForType",
        "spec.openstack",
    ),
    (
        site("east", type="kubernetes", kubernetes="{kubeconfig: k, networkPlugin: calico}"),
        "InvalidValue",
        "spec.kubernetes.networkPlugin",
    ),
    (site("east", type="ovm"), "InvalidValue", "spec.type"),
    (site("east", openstack="{cloud: c}"), "FieldNotForType", "spec.openstack"),
    (site("east", tls="{secretName: s}"), "NotYetHonoured", "spec.tls.secretName"),
    (site("east", tls="{caFile: a, certFile: b}"), "MissingField", "spec.tls.keyFile"),
    (site("east", tls=""), "WrongType", "spec.tls"),
    (site("east", insecure="'yes'"), "WrongType", "spec.insecure"),
    (site("east", bfd="{minRx: 100, minTx: 100}"), "MissingField", "spec.bfd.mult"),
    (site("east", bfd="{minRx: 1, minTx: 100, mult: 3}"), "OutOfRange", "spec.bfd.minRx"),
    (site("east", mtu="1279"), "OutOfRange", "spec.mtu"),
    (site("east", mtu="65536"), "OutOfRange", "spec.mtu"),
    (site("east", mtu="'1400'"), "WrongType", "spec.mtu"),
    (site("east", gateways="[g, g]"), "Duplicate", "spec.gateways"),
    (site("east", zone="''"), "InvalidName", "spec.zone"),
    (site("east").replace("{name: east}", "{name: East}"), "InvalidName", "metadata.name"),
    (site("east").replace("{name: east}", "{name: 東}"), "InvalidName", "metadata.name"),
    (site("east").replace("{name: east}", "{name: " + "e" * 64 + "}"), "NameTooLong", "metadata.name"),
    (site("east").replace("{name: east}", "{nme: east}"), "UnknownField", "metadata.nme"),
    (site("east").replace("v1alpha1", "v2"), "UnknownApiVersion", "apiVersion"),
    (site("east").replace("kind: Site", "kind: site"), "UnknownKind", "kind"),
    (site("east").replace("kind: Site", "kind: [Site]"), "UnknownKind", "kind"),
    ("just text", "NotADocument", ""),
    ("[1, 2]", "NotADocument", ""),
    (FABRIC + "  owner: Me\n", "InvalidName", "spec.owner"),
    (FABRIC + "  addressPools: {link: [10.9.0.0/16]}\n", "InvalidPool", "spec.addressPools.link"),
    (
        FABRIC + "  addressPools: {link: [10.9.0.0/16, 'fd01::/32', 10.8.0.0/16]}\n",
        "InvalidPool",
        "spec.addressPools.link",
    ),
    (FABRIC + "  addressPools: {link: [10.9.0.0/16, '2001:db8::/32']}\n", "InvalidPool", "spec.addressPools.link"),
    (FABRIC + "  addressPools: {link: [10.9.0.0/30, 'fd01::/32']}\n", "InvalidPool", "spec.addressPools.link"),
    (FABRIC + "  addressPools: {transit: [169.254.0.0/16, 'fd01::/32']}\n", "InvalidPool", "spec.addressPools"),
    (
        FABRIC + "  addressPools: {transit: [169.254.200.0/24, 'fd01::/32']}\n",
        "InvalidPool",
        "spec.addressPools.transit",
    ),
    (FABRIC + "  addressPools: {transit: [169.254.128.0/20, 'fd01::/32']}\n", "InvalidPool", "spec.addressPools"),
    (interconnect("t", EAST, WEST, more="  allow: []\n"), "NotYetHonoured", "spec.allow"),
    (interconnect("t", EAST, WEST, more="  fabric: nope\n"), "UnknownFabric", "spec.fabric"),
    (interconnect("t", EAST), "TooFew", "spec.attachments"),
    (HEAD + "kind: Interconnect\nmetadata: {name: t}\n", "MissingField", "spec"),
]


@pytest.mark.parametrize(("document", "code", "field"), SPOILT_SPECS)
def test_a_spoilt_document_is_refused_with_its_place(tmp_path: Path, document: str, code: str, field: str) -> None:
    problems = refused(written(tmp_path, document))
    assert (code, field) in {(p.code, p.field) for p in problems}
    assert all(p.file and p.message for p in problems)


def test_the_block_of_the_metadata_address_may_be_in_a_pool(tmp_path: Path) -> None:
    fabric = FABRIC + "  addressPools: {link: [169.254.160.0/19, 'fd01::/32']}\n"
    assert load(written(tmp_path, stream(fabric, *GOOD[1:]))).fabrics[0].pools.link[0] == ip_network("169.254.160.0/19")


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    written(tmp_path, stream(FABRIC + "  ownr: x\n", site("east", type="kubernetes")), "a.yaml")
    written(tmp_path, stream(interconnect("t", "{site: nowhere, vpc: r, subnets: [a, a]}", "{vpc: 1}")), "b.yaml")
    written(tmp_path, "a: [", "c.yaml")
    codes = [(Path(p.file).name, p.code) for p in refused(tmp_path)]
    assert {c for f, c in codes if f == "a.yaml"} == {"UnknownField", "MissingField"}
    assert {c for f, c in codes if f == "b.yaml"} >= {"WrongType", "MissingField"}
    assert ("c.yaml", "InvalidYaml") in codes


TOGETHER = [
    # the slips of one attachment, whatever else is wrong with it
    (
        "{site: tow, xvpc: 1, vpc: r, subnets: [a, a]}",
        {("UnknownField", f"{A}[0].xvpc"), ("UnknownSite", f"{A}[0].site"), ("Duplicate", f"{A}[0].subnets[1]")},
    ),
    (
        "{site: east, vpc: {name: r, project: p}, subnets: 1, securityGroups: [d]}",
        {
            ("WrongType", f"{A}[0].subnets"),
            ("FieldNotForType", f"{A}[0].vpc.project"),
            ("FieldNotForType", f"{A}[0].securityGroups"),
        },
    ),
    (
        "{site: est, vpc: r, subnets: [{name: a, cidr: 'fd69:7374:5::/64'}, {name: b, cidr: 1}], gateways: [g, g, 7]}",
        {
            ("UnknownSite", f"{A}[0].site"),
            ("Overlap", f"{A}[0].subnets[0].cidr"),
            ("WrongType", f"{A}[0].subnets[1].cidr"),
            ("Duplicate", f"{A}[0].gateways"),
            ("WrongType", f"{A}[0].gateways[2]"),
        },
    ),
    (
        "{site: west, vpc: r, subnets: [a], foo: 1}",
        {
            ("UnknownField", f"{A}[0].foo"),
            ("Duplicate", f"{A}[1].name"),
            ("OneVpc", A),
        },
    ),
    # and nothing that only follows from what cannot be read
    ("{vpc: r, subnets: [a]}", {("MissingField", f"{A}[0].site")}),
    ("{site: 7, vpc: r, subnets: [a]}", {("WrongType", f"{A}[0].site")}),
    ("{site: west, vpc: 7, subnets: [a], name: w}", {("WrongType", f"{A}[0].vpc")}),
    ("{site: west, vpc: {name: r, project: 7}, subnets: [app], name: w}", {("WrongType", f"{A}[0].vpc.project")}),
    ("{site: east, vpc: r, subnets: 1, except: [b]}", {("WrongType", f"{A}[0].subnets")}),
    ("{site: east, vpc: r, except: [b]}", {("MissingField", f"{A}[0].subnets")}),
    ("{site: west, vpc: q, subnets: [a], name: 7}", {("WrongType", f"{A}[0].name")}),
    ("{site: bare, vpc: r, subnets: [a], gateways: 7}", {("WrongType", f"{A}[0].gateways")}),
    ("{site: bare, vpc: r, subnets: [a], gateways: []}", {("TooFew", f"{A}[0].gateways")}),
    ("{site: east, vpc: r, subnets: [{nam: a}]}", {("UnknownField", f"{A}[0].subnets[0].nam")}),
    ("{site: east, vpc: r, subnets: [{name: 7, cidr: 10.0.0.0/24}]}", {("WrongType", f"{A}[0].subnets[0].name")}),
    (
        "{site: east, vpc: r, subnets: [{name: a, cdr: 10.0.0.0/24, gateway: 10.0.0.1}]}",
        {("UnknownField", f"{A}[0].subnets[0].cdr")},
    ),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: [10.0.0.0/24, x], gateway: 'fd00::1'}]}",
        {("InvalidCidr", f"{A}[0].subnets[0].cidr[1]")},
    ),
    (
        "{site: east, vpc: r, subnets: [{name: a, cidr: 255.255.255.255/32}], gateways: [1]}",
        {("InvalidCidr", f"{A}[0].subnets[0].cidr"), ("WrongType", f"{A}[0].gateways[0]")},
    ),
    ("just a word", {("WrongType", f"{A}[0]")}),
]


@pytest.mark.parametrize(("attachment", "expected"), TOGETHER)
def test_all_that_is_wrong_with_an_attachment_is_said_together(
    tmp_path: Path, attachment: str, expected: set[tuple[str, str]]
) -> None:
    bare = site("bare").replace("  gateways: [gw-1]\n", "")
    path = written(tmp_path, stream(FABRIC, site("east"), site("west"), bare, interconnect("t", attachment, WEST)))
    assert {(p.code, p.field) for p in refused(path)} == expected
    assert [r.attachments for r in load_lenient(path).refused] == [None], "what it lists cannot be told"


NO_FILES = "{caFile: none, certFile: none, keyFile: none}"
DOCUMENTS_TOGETHER = [
    (
        site("east", foo="1", northbound="['tcp:192.0.2.1:6641', 7]", zone="west", gateways="[g, g]"),
        {
            "UnknownField foo",
            "Insecure northbound[0]",
            "WrongType northbound[1]",
            "DuplicateZone zone",
            "Duplicate gateways",
        },
    ),
    (
        site("east", type="ovm", tls=NO_FILES),
        {"InvalidValue type", "TlsFile tls.caFile", "TlsFile tls.certFile", "TlsFile tls.keyFile"},
    ),
    (site("east", tls="{caFile: 1, keyFile: k}"), {"WrongType tls.caFile", "MissingField tls.certFile"}),
    (
        FABRIC + f"  ownr: x\n  tls: {NO_FILES}\n",
        {"UnknownField ownr", *(f"TlsFile tls.{k}File" for k in ("ca", "cert", "key"))},
    ),
    (
        FABRIC + "  addressPools: {link: [10.9.0.0/16], transit: 7}\n",
        {"InvalidPool addressPools.link", "WrongType addressPools.transit"},
    ),
    (interconnect("t", EAST, WEST, more="  foo: 1\n  fabric: nope\n"), {"UnknownField foo", "UnknownFabric fabric"}),
    (
        interconnect("t", "{site: tow, vpc: r, subnets: [a]}"),
        {"TooFew attachments", "UnknownSite attachments[0].site"},
    ),
    (
        interconnect("t", "{site: east, vpc: r, subnets: [{name: n, cidr: 10.1.0.0/24}], foo: 1}", WEST),
        {"UnknownField attachments[0].foo", "DefinedTwice attachments[0].subnets[0].cidr"},
    ),
    # what cannot be read is not taken for left out, or for equal to something
    (site("east", insecure="'yes'", northbound="['tcp:192.0.2.1:6641']"), {"WrongType insecure"}),
    (site("east", tls="7", northbound="['ssl:192.0.2.1:6641']"), {"WrongType tls"}),
    (site("east", zone="7") + "---\n" + site("north", zone="7"), {"WrongType zone"}),
    (
        site("east", bfd="{minRx: x, minTx: 100}", mtu="x"),
        {"WrongType bfd.minRx", "MissingField bfd.mult", "WrongType mtu"},
    ),
    (FABRIC + "  addressPools: 7\n", {"WrongType addressPools"}),
    (
        FABRIC.replace("default", "f") + "---\n" + interconnect("t", EAST, WEST, more="  fabric: 7\n"),
        {"WrongType fabric"},
    ),
    (FABRIC.replace("default", "f") + "---\n" + HEAD + "kind: Interconnect\nmetadata: {name: t}\n", {"MissingField "}),
    (interconnect("t").replace("attachments:", "attachments: 7"), {"WrongType attachments"}),
]


@pytest.mark.parametrize(("document", "expected"), DOCUMENTS_TOGETHER)
def test_all_that_is_wrong_with_a_document_is_said_together(tmp_path: Path, document: str, expected: set[str]) -> None:
    others = [good for good in GOOD[:3] if good.partition("spec:")[0] not in document]
    fabric = "  fabric: default\n" if "kind: Fabric\nmetadata: {name: f}" in document else ""
    east = "{site: east, vpc: r, subnets: [{name: n, cidr: 10.2.0.0/24}]}"
    path = written(tmp_path, stream(document, *others, interconnect("other", east, WEST, more=fabric)))
    count = document.count("apiVersion")
    found = {f"{p.code} {p.field.removeprefix('spec').lstrip('.')}" for p in refused(path) if (p.document or 0) < count}
    assert found == expected


def test_the_nearest_name_is_suggested(tmp_path: Path) -> None:
    text = stream(*GOOD[:3], interconnect("t", "{site: eats, vpc: r, subnetz: [a], subnets: [a]}", WEST))
    remedies = {p.code: p.remedy for p in refused(written(tmp_path, text))}
    assert remedies["UnknownField"] == "did you mean subnets?"
    text = stream(*GOOD[:3], interconnect("t", "{site: eats, vpc: r, subnets: [a]}", WEST))
    assert refused(written(tmp_path, text))[0].remedy == "did you mean east?"


def test_two_objects_of_one_kind_and_name_are_both_named(tmp_path: Path) -> None:
    problems = refused(written(tmp_path, stream(*GOOD, GOOD[3])))
    assert [(p.code, p.document) for p in problems] == [("DuplicateName", 3), ("DuplicateName", 4)]


def test_two_sites_of_one_zone_are_refused(tmp_path: Path) -> None:
    problems = refused(written(tmp_path, stream(FABRIC, site("east", zone="west"), *GOOD[2:])))
    assert {p.code for p in problems} == {"DuplicateZone"}


def test_two_sites_of_one_database_are_refused(tmp_path: Path) -> None:
    problems = refused(written(tmp_path, stream(FABRIC, site("east", northbound="['unix:west-nb']"), *GOOD[2:])))
    assert {p.code for p in problems} == {"DuplicateDatabase"}


def test_a_gateway_that_is_listed_twice_is_named(tmp_path: Path) -> None:
    own = "{site: east, vpc: r, subnets: [a], gateways: [g, h, h]}"
    documents = (FABRIC, site("east", gateways="[a, b, a]"), site("west"), interconnect("t", own, WEST))
    said = {p.message for p in refused(written(tmp_path, stream(*documents))) if p.code == "Duplicate"}
    assert said == {"gateway 'a' is listed twice", "gateway 'h' is listed twice"}


def test_a_site_without_gateways_is_refused_where_an_attachment_has_none(tmp_path: Path) -> None:
    bare = site("east").replace("  gateways: [gw-1]\n", "")
    path = written(tmp_path, stream(FABRIC, bare, *GOOD[2:]))
    assert [p.code for p in refused(path)] == ["NoGateway"]
    own = "{site: east, vpc: r, subnets: [a], gateways: [g]}"
    assert load(written(tmp_path, stream(FABRIC, bare, GOOD[2], interconnect("t", own, WEST)))).interconnects


def test_no_fabric_is_refused(tmp_path: Path) -> None:
    assert [p.code for p in refused(written(tmp_path, stream(*GOOD[1:])))] == ["UnknownFabric"]


@pytest.mark.parametrize(
    "second",
    [
        "{site: east, name: e2, vpc: r, subnets: [db]}",
        "{site: east, name: e2, vpc: {name: r}, subnets: ['*']}",
    ],
)
def test_a_subnet_in_two_attachments_is_refused(tmp_path: Path, second: str) -> None:
    problems = refused(written(tmp_path, stream(*GOOD[:3], interconnect("t", EAST, WEST, second))))
    assert [p.code for p in problems] == ["Duplicate"]


def test_a_subnet_defined_differently_by_two_interconnects_is_refused(tmp_path: Path) -> None:
    one, other = (f"{{site: east, vpc: r, subnets: [{{name: n, cidr: 10.{i}.0.0/24}}]}}" for i in (1, 2))
    text = stream(*GOOD[:3], interconnect("a", one, WEST), interconnect("b", other, WEST))
    assert [(p.code, p.document) for p in refused(written(tmp_path, text))] == [
        ("DefinedTwice", 3),
        ("DefinedTwice", 4),
    ]


MALFORMED = [
    (b"a: [", "InvalidYaml"),
    (b"a: b: c", "InvalidYaml"),
    (b"\ta: b", "InvalidYaml"),
    (b"a: 1\na: 2\n", "DuplicateKey"),
    (b"? [a]\n: b\n", "InvalidYaml"),
    (b"a: &x [*x]\n", "InvalidYaml"),
    (b"a: *x\n", "InvalidYaml"),
    (b"a: !!python/object/apply:os.system [id]\n", "InvalidYaml"),
    (b"a: !!binary aGk=\n", "InvalidYaml"),
    (b"a: !mine b\n", "InvalidYaml"),
    (b"a: " + b"9" * 5000, "InvalidYaml"),
    (b"\xff\xfe\x00\x01", "NotUtf8"),
    ("ä: ö".encode("latin-1"), "NotUtf8"),
    (b"a: \x00", "InvalidYaml"),
    (b"a: \x07", "InvalidYaml"),
    (b"a: " + b"[" * 200 + b"]" * 200, "TooDeep"),
    (b"a: " + b"{a: " * 5000, "TooDeep"),
    (b"", "NoDocuments"),
    (b"# nothing\n", "NoDocuments"),
    (b"---\n---\n", "NoDocuments"),
]


@pytest.mark.parametrize(("data", "code"), MALFORMED)
def test_text_that_is_no_document_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    path = written(tmp_path, data)
    assert [p.code for p in refused(path)] == [code]
    assert not load_lenient(path).listed


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{", "InvalidJson"),
        (b'{"a": 1, "a": 2}', "DuplicateKey"),
        (b'{"a": NaN}', "InvalidJson"),
        (b"[" * 100_000, "InvalidJson"),
        (b"[" * 200 + b"]" * 200, "TooDeep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "InvalidJson"),
        (b"\xff", "InvalidJson"),
        (b"", "InvalidJson"),
        (b'{"apiVersion": "\\ud800"}', "UnknownApiVersion"),
    ],
)
def test_text_that_is_no_json_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    assert code in [p.code for p in refused(written(tmp_path, data, "a.json"))]


def test_an_alias_bomb_is_refused_while_it_is_small(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert [p.code for p in refused(written(tmp_path, "\n".join(lines)))] == ["TooLarge"]


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as stream_:
        os.truncate(stream_.fileno(), 1 << 30)
    assert [p.code for p in refused(path)] == ["TooLarge"]


def test_a_path_that_cannot_be_read_is_refused_and_not_listed(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, tmp_path / "nul\0byte"):
        assert next(p.code for p in refused(path)) in ("NoSuchFile", "NoDocuments")
        assert not load_lenient(path).listed


# TLS files

TLS = "{caFile: pki/ca.pem, certFile: pki/cert.pem, keyFile: pki/key.pem, serverName: nb.example}"


def pki(tmp_path: Path) -> Path:
    directory = tmp_path / "pki"
    directory.mkdir()
    for name, content in (("ca", "CERTIFICATE"), ("cert", "CERTIFICATE"), ("key", "PRIVATE KEY")):
        (directory / f"{name}.pem").write_text(f"-----BEGIN {content}-----\n")
    return directory


def test_tls_files_are_relative_to_the_document(tmp_path: Path) -> None:
    pki(tmp_path)
    secure = site("east", tls=TLS, northbound="['ssl:[fd00::1]:6641', 'ssl:nb.example:6641']")
    tls = load(written(tmp_path, stream(FABRIC, secure, *GOOD[2:]))).site("east").northbound.tls
    assert tls is not None
    assert (tls.key_file, tls.server_name) == (tmp_path / "pki" / "key.pem", "nb.example")


@pytest.mark.parametrize(("file", "spoil"), [("ca", "missing"), ("cert", "wrong"), ("key", "directory")])
def test_tls_files_of_no_use_are_refused(tmp_path: Path, file: str, spoil: str) -> None:
    target = pki(tmp_path) / f"{file}.pem"
    target.unlink()
    if spoil == "wrong":
        target.write_text("hello")
    elif spoil == "directory":
        target.mkdir()
    problems = refused(written(tmp_path, stream(FABRIC, site("east", tls=TLS), *GOOD[2:])))
    assert [(p.code, p.field) for p in problems] == [("TlsFile", f"spec.tls.{file}File")]
    assert str(target) in problems[0].message


# what `serve` reads


def test_one_invalid_interconnect_does_not_take_the_others_down(tmp_path: Path) -> None:
    bad = interconnect("bad", "{site: east, vpc: r, subnets: [a]}", "{site: nowhere, vpc: r, subnets: [b]}")
    ugly = interconnect("ugly", "{site: east, vpc: r, subnets: 1}", WEST)
    listing = load_lenient(written(tmp_path, stream(*GOOD, bad, ugly)))
    assert listing.listed
    assert [i.name for i in listing.configuration.interconnects] == ["tenant-a"]
    assert [(r.name, [p.code for p in r.problems]) for r in listing.refused] == [
        ("bad", ["UnknownSite"]),
        ("ugly", ["WrongType"]),
    ]
    kept = listing.refused[0].attachments
    assert kept is not None and [str(s) for a in kept for s in a.subnets] == ["a", "b"]
    assert listing.refused[1].attachments is None


def test_a_refused_site_refuses_what_names_it_and_keeps_its_attachments(tmp_path: Path) -> None:
    listing = load_lenient(written(tmp_path, stream(FABRIC, site("east", type="ovm"), *GOOD[2:])))
    assert listing.configuration.interconnects == ()
    assert [p.code for p in listing.refused[0].problems] == ["SiteRefused"]
    assert listing.refused[0].attachments is not None
    assert [s.name for s in listing.configuration.sites] == ["west"]


@pytest.mark.parametrize(
    "document",
    [
        GOOD[3].replace("kind: Interconnect", "kind: Interconect"),
        GOOD[3].replace("tenant-a", "Tenant A"),
        GOOD[3].replace("metadata: {name: tenant-a}\n", ""),
    ],
)
def test_a_document_that_nobody_can_tell_whose_it_is_counts_as_not_listed(tmp_path: Path, document: str) -> None:
    listing = load_lenient(written(tmp_path, stream(*GOOD[:3], document)))
    assert not listing.listed
    assert listing.problems


def test_a_file_that_does_not_parse_counts_as_not_listed_but_the_rest_is_read(tmp_path: Path) -> None:
    written(tmp_path, stream(*GOOD), "a.yaml")
    written(tmp_path, "a: [", "b.yaml")
    listing = load_lenient(tmp_path)
    assert not listing.listed
    assert [i.name for i in listing.configuration.interconnects] == ["tenant-a"]


def test_a_link_that_leads_nowhere_counts_as_not_listed(tmp_path: Path) -> None:
    written(tmp_path, stream(*GOOD))
    (tmp_path / "b.yaml").symlink_to(tmp_path / "gone")
    assert not load_lenient(tmp_path).listed


def test_two_interconnects_of_one_name_keep_everything(tmp_path: Path) -> None:
    listing = load_lenient(written(tmp_path, stream(*GOOD, GOOD[3])))
    assert [(r.name, r.attachments) for r in listing.refused] == [("tenant-a", None)]
