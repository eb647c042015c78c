"""What a lab file says of clusters, and what the lab makes for them without running anything."""

from __future__ import annotations

import hashlib
import io
import json
import re
import ssl
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from isthmus.errors import IntentError
from isthmus.lab import cgroups, processes
from isthmus.lab.build import Builder
from isthmus.lab.keys import make_keys
from isthmus.lab.kinds import KINDS
from isthmus.lab.kubernetes import cluster, images, node, programs, provision
from isthmus.lab.layout import Layout, Paths, layout
from isthmus.lab.spec import parse
from isthmus.lab.state import State


def file(**more: Any) -> Layout:
    hosts = [{"name": "n1", "gateway": True}, {"name": "n2"}]
    return layout(parse({"name": "lab", "sites": [{"name": "east", "type": "kubernetes", "hosts": hosts} | more]}))


def subject(path: Path) -> dict[str, str]:
    names = x509.load_pem_x509_certificate(path.read_bytes()).subject
    found = {"name": names.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value}
    if groups := names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME):
        found["group"] = groups[0].value
    return {key: str(value) for key, value in found.items()}


SUBNET = {"name": "{tenant}-web", "router": "{tenant}", "cidrs": ["10.1.0.0/24"]}
ROUTER = {"name": "{tenant}"}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "networks of nobody": ({"routers": [{"name": "r"}]}, "belongs to a tenant's namespace"),
    "a router on another's network": (
        {"switches": [{"name": "ext", "cidrs": ["192.0.2.0/24"]}],
         "perTenant": {"routers": [ROUTER | {"attach": [{"switch": "ext", "addresses": ["192.0.2.1/24"]}]}]}},
        "not attached to networks of others",
    ),
    "a Subnet without a Vpc": ({"perTenant": {"switches": [{"name": "s", "cidrs": ["10.1.0.0/24"]}]}}, "is in a Vpc"),
    "a physical network": (
        {"perTenant": {"routers": [ROUTER], "switches": [SUBNET | {"external": True, "gatewayHosts": ["n1"]}]}},
        "no physical networks",
    ),
    "two networks of a family": (
        {"perTenant": {"routers": [ROUTER], "switches": [SUBNET | {"cidrs": ["10.1.0.0/24", "10.2.0.0/24"]}]}},
        "one network of a family",
    ),
    "a Pod without an agent": (
        {"perTenant": {"routers": [ROUTER], "switches": [SUBNET | {"endpoints": [{"host": "n1"}]}]}},
        "without an agent",
    ),
    "Pods of ours without agents": ({"inCluster": True}, "nothing of ours runs"),
    "a Pod with routes of its own": (
        {"agents": True,
         "perTenant": {"routers": [ROUTER], "switches": [SUBNET | {"endpoints": [{"host": "n1", "gateway": False}]}]}},
        "routes that its Subnet gives it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_cluster_does_not_offer(case: str) -> None:
    wanted, says = REFUSED[case]
    with pytest.raises(IntentError) as refused:
        file(**wanted)
    assert any(says in p.message for p in refused.value.problems)


def test_what_tenants_of_a_cluster_have() -> None:
    things = {"routers": [ROUTER], "switches": [SUBNET | {"endpoints": [{"host": "n2"}]}]}
    (site,) = file(agents=True, perTenant=things).sites
    router, subnet, machine = site.routers[0], site.subnets[0], site.machines[0]
    assert machine.pod and not machine.made
    assert provision.vpc(router)["spec"]["namespaces"] == ["a"]
    found = provision.subnet_object(subnet)["spec"]
    assert (found["vpc"], found["cidrBlock"], found["gateway"]) == ("a", "10.1.0.0/24", "10.1.0.1")
    template = provision.deployment(machine)["spec"]["template"]
    assert template["metadata"]["annotations"]["ovn.kubernetes.io/ip_address"] == "10.1.0.11"
    assert template["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "n2"}


def test_in_the_cluster_nothing_of_ours_is_a_process_of_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_LAB_DIR", str(tmp_path))

    def ours(**more: Any) -> set[str]:
        plan = file(agents=True, **more)
        lab = Builder(plan, State("lab", datapath="userspace"), lambda _: None)
        lab.paths.run("east").mkdir(parents=True, exist_ok=True)
        daemons = KINDS["kubernetes"].daemons(lab, plan.sites[0])
        return {key for key, daemon in daemons.items() if daemon.argv[0].endswith("isthmus")}

    assert ours() == {"east/networks", "n1/agent", "n2/agent"}
    assert ours(inCluster=True) == set()


def test_hosts_of_a_cluster_have_what_they_write_to_themselves() -> None:
    found = file()
    assert found.pod_hosts == {"n1", "n2"}
    assert not found.guest_hosts


@pytest.fixture
def keys(tmp_path: Path) -> Paths:
    plan, paths = file(), Paths(tmp_path)
    for name in [*plan.nodes, "fabric"]:
        (paths.run(name) / "pki").mkdir(parents=True, exist_ok=True)
    paths.tls.mkdir(parents=True)
    make_keys(paths, plan)
    return paths


def test_names_and_groups_that_kubernetes_knows(keys: Paths) -> None:
    central, host = keys.run("east") / "etc/kubernetes/pki", keys.run("n1") / "etc/kubernetes/pki"
    assert subject(central / "controller-manager.pem") == {"name": "system:kube-controller-manager"}
    assert subject(host / "kubelet.pem") == {"name": "system:node:n1", "group": "system:nodes"}
    own = cluster.operators_keys(keys, "east")
    assert subject(own / "admin.pem") == {"name": "east-admin", "group": "system:masters"}
    server = x509.load_pem_x509_certificate((central / "apiserver.pem").read_bytes())
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "10.96.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


def test_no_key_of_the_cluster_opens_its_database(keys: Paths) -> None:
    central = keys.run("east") / "etc/kubernetes/pki"
    store = ssl.create_default_context(cafile=str(central / "etcd-ca.pem"))
    assert len(store.get_ca_certs()) == 1
    own = (central / "ca.pem").read_bytes()
    assert (central / "etcd-ca.pem").read_bytes() != own


def test_secrets_are_for_their_owner_only(keys: Paths) -> None:
    for path in [cluster.kubeconfig_file(keys), *keys.root.rglob("*-key.pem"), *keys.root.rglob("*.kubeconfig")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_kubeconfig_with_files_and_one_without(keys: Paths) -> None:
    beside = yaml.safe_load(cluster.kubeconfig_file(keys).read_text())
    assert beside["current-context"] == "east"
    (user,) = beside["users"]
    assert (cluster.kubeconfig_file(keys).parent / user["user"]["client-key"]).exists()
    alone = yaml.safe_load(cluster.whole(keys, "east", "192.0.2.1"))
    (found,) = alone["clusters"]
    assert found["cluster"]["server"] == "https://192.0.2.1:6443"
    assert set(alone["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_an_image_is_what_its_digests_say_and_always_the_same() -> None:
    entries = [images.Entry("bin/x", b"program", mode=0o755), images.Entry("bin/y", link="x")]
    made = images.archive("docker.io/isthmus/x:7", [images.layer(entries)], {"Cmd": ["/bin/y"]})
    assert made == images.archive("docker.io/isthmus/x:7", [images.layer(entries)], {"Cmd": ["/bin/y"]})
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        blobs = {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]
    for name, data in blobs.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    (manifest,) = json.loads(blobs["index.json"])["manifests"]
    assert manifest["annotations"]["io.containerd.image.name"] == "docker.io/isthmus/x:7"
    said = json.loads(blobs["blobs/sha256/" + manifest["digest"].removeprefix("sha256:")])
    config = json.loads(blobs["blobs/sha256/" + said["config"]["digest"].removeprefix("sha256:")])
    assert config["config"] == {"Cmd": ["/bin/y"]}


def test_a_directory_of_an_image() -> None:
    made = images.archive("docker.io/isthmus/x:7", [images.layer([images.Entry("tmp/", mode=0o1777)])], {})
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        blobs = [tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()]  # type: ignore[union-attr]
    (layer,) = [blob for blob in blobs if blob.startswith(b"\x1f\x8b")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        (found,) = tar.getmembers()
    assert (found.name, found.isdir(), found.mode) == ("tmp", True, 0o1777)


def test_the_programs_are_named_after_what_they_are_built_from() -> None:
    assert programs.version().startswith("v1.")
    assert programs.path().name.startswith(f"kubernetes-{programs.version()}-")


def test_a_go_that_is_too_old_gets_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = programs.Go("/new/go", (1, 26, 8)), programs.Go("/old/go", (1, 19, 8))
    monkeypatch.setattr(programs, "go", lambda: new)
    with_new = programs.path()
    assert programs.compiler() == "go1.26.8"
    monkeypatch.setattr(programs, "go", lambda: old)
    assert not old.suffices
    assert programs.compiler() == programs.pinned()
    assert programs.path() != with_new


def test_the_pinned_go_is_one_that_suffices() -> None:
    version = tuple(int(n) for n in programs.pinned().removeprefix("go").split("."))
    assert programs.Go("", version).suffices


@pytest.mark.parametrize("module", programs.MODULES, ids=lambda module: module.name)
def test_a_module_names_what_is_built_and_its_sums(module: programs.Module) -> None:
    text = (module.folder / "go.mod").read_text()
    for each in module.commands + module.tests:
        assert re.search(rf"^(tool )?\t?{each}$", text, re.M), each
    version = f"{module.origin} {programs.version(module)}"
    assert version in text
    assert f"{version} h1:" in (module.folder / "go.sum").read_text()


def test_modules_of_one_product_have_one_version() -> None:
    assert programs.version(programs.CONFORMANCE) == programs.version(programs.KUBERNETES)


def test_a_kubelets_configuration() -> None:
    found = node.kubelet_config("192.0.2.1", cgroups.path("lab", "n1"))
    assert found["cgroupRoot"] == "/isthmus-lab-lab/n1"
    assert not found["authentication"]["anonymous"]["enabled"]


def test_a_container_runtimes_configuration_is_toml() -> None:
    check = "import sys, tomllib; print(tomllib.loads(sys.stdin.read())['plugins']['io.containerd.grpc.v1.cri'])"
    config = node.containerd_config()
    done = subprocess.run(["python3", "-c", check], input=config, capture_output=True, text=True, check=True)
    assert images.PAUSE in done.stdout


@pytest.mark.parametrize(("status", "there"), [(200, True), (300, True), (401, True), (403, False), (500, False)])
def test_who_answers_is_there_unless_it_says_that_it_is_not_or_knows_nobody_yet(status: int, there: bool) -> None:
    """An API server refuses everybody until it has made the roles that everybody has."""
    assert bool(processes._NOT_YET.match(f"HTTP/1.0 {status} X".encode())) != there
