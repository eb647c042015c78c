"""Least privilege, on a real cloud: the policy files that we give are enough for all we do, and for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
import yaml

from isthmus.lab import spec
from isthmus.lab.lab import Lab
from isthmus.lab.openstack import clouds
from isthmus.lab.openstack.cloud import REGION
from isthmus.lab.openstack.connection import connect
from isthmus.lab.pytest_plugin import unique_name

from .neutron_listing import listing
from .openstack_steps import FILE, OF_A, OF_B, A, B, answers, join
from .steps import config, isthmus, set_site, warm, write_interconnects

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "openstack"
USER = "links"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A cloud whose services have our policy files, and whose Site names a user with the role `isthmus`."""
    with Lab.up(spec.parse(yaml.safe_load(FILE.read_text(encoding="utf-8")), name=unique_name())) as made:
        for service in ("keystone", "neutron"):
            shutil.copy(EXAMPLES / f"{service}-policy.yaml", etc(made) / service / "policy.yaml")
            made.site("cloud").daemon(service).restart()
        answers(made)
        user(made)
        set_site(made, "cloud", openstack={"cloud": USER})
        yield made


def etc(lab: Lab) -> Path:
    return lab.paths.run("cloud") / "etc"


def user(lab: Lab) -> None:
    """As docs/openstack.md says: a role, a project of its own, a user with that role and `member` in it."""
    identity = lab.site("cloud").cloud("admin").identity
    project = identity.create_project(name=USER, domain_id="default")
    person = identity.create_user(name=USER, password=USER, domain_id="default")
    for role in (identity.create_role(name="isthmus"), identity.find_role("member")):
        identity.assign_project_role_to_user(project, person, role)
    entries = clouds.read(lab.paths)
    admin = entries[clouds.entry("cloud", "admin")]
    entries[USER] = {**admin, "auth": {**admin["auth"], "username": USER, "password": USER, "project_name": USER}}
    clouds.file(lab.paths).write_text(yaml.safe_dump({"clouds": entries}), encoding="utf-8")


def as_user(lab: Lab) -> openstack.connection.Connection:
    return connect(lab.state.path("operator"), clouds.read(lab.paths)[USER])


def test_everything_that_we_do_goes_with_these_rights(lab: Lab) -> None:
    before = listing(lab)
    join(lab)
    warm(lab, OF_A + OF_B)
    wider = [{**A[0], "subnets": ["a-web", "a-db", {"name": "a-new", "cidr": "10.1.7.0/24"}]}, A[1]]
    write_interconnects(lab, {"tenant-a": wider, "tenant-b": B})
    isthmus(lab, "apply", "--prune")
    assert [n.name for n in lab.site("cloud").cloud("a").network.networks(name="a-new")] == ["a-new"]
    write_interconnects(lab, {"tenant-a": A, "tenant-b": B})
    isthmus(lab, "apply", "--prune")
    for name in ("tenant-a", "tenant-b"):
        isthmus(lab, "disconnect", name)
    own = {p.id for p in lab.site("cloud").cloud("admin").identity.projects(name=USER)}
    left = {k: one for k, one in listing(lab).items() if one["project_id"] not in own}
    assert left == before


FORBIDDEN = {
    "delete a router": ("delete", "/routers/{router}", None),
    "rename a router": ("put", "/routers/{router}", {"router": {"name": "mine"}}),
    "set a router's gateway": ("put", "/routers/{router}", {"router": {"external_gateway_info": {}}}),
    "delete a tenant's port": ("delete", "/ports/{port}", None),
    "move a tenant's port": ("put", "/ports/{port}", {"port": {"device_id": "mine"}}),
    "put a port on a tenant's network": ("post", "/ports", {"port": {"network_id": "{network}"}}),
    "raise a quota": ("put", "/quotas/{project}", {"quota": {"port": 1000}}),
    "share a tenant's network": (
        "post",
        "/rbac-policies",
        {
            "rbac_policy": {
                "object_type": "network", "object_id": "{network}", "action": "access_as_shared",
                "target_tenant": "*",
            }
        },
    ),
    "make a network external": ("post", "/networks", {"network": {"name": "out", "router:external": True}}),
}  # fmt: skip
"""What nobody needs for a link -> method, path and body."""


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_else_goes_with_them(lab: Lab, what: str) -> None:
    admin = lab.site("cloud").cloud("admin").network
    router, port = admin.find_router("a"), admin.find_port("cloud-a-web-1")
    known = {"router": router.id, "port": port.id, "network": port.network_id, "project": router.project_id}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: filled(v) for k, v in value.items()}
        return value.format(**known) if isinstance(value, str) else value

    method, path, body = FORBIDDEN[what]
    before = listing(lab)
    send = getattr(as_user(lab).network, method)
    answer = send(filled(path), json=filled(body), raise_exc=False)
    assert answer.status_code in (403, 404), answer.text
    assert listing(lab) == before


def test_a_tenants_application_credential_is_enough_for_her_own_router(lab: Lab) -> None:
    """Then links are in her own project, where she can take them away; others' do not exist, and have ids, no names."""
    config(lab, "interconnects.yaml").unlink()
    isthmus(lab, "apply", "--prune")
    before = listing(lab)
    tenant = lab.site("cloud").cloud("a")
    made = tenant.identity.create_application_credential(tenant.current_user_id, "isthmus")
    entries = clouds.read(lab.paths)
    keys = {"application_credential_id": made.id, "application_credential_secret": made.secret}
    url = entries[clouds.entry("cloud", "a")]["auth"]["auth_url"]
    entries["of-a"] = {"auth_type": "v3applicationcredential", "auth": {"auth_url": url, **keys}, "region_name": REGION}
    clouds.file(lab.paths).write_text(yaml.safe_dump({"clouds": entries}), encoding="utf-8")
    set_site(lab, "cloud", openstack={"cloud": "of-a"})
    ids = {p.name: p.id for p in lab.site("cloud").cloud("admin").identity.projects()}
    by_id = {"a": [{**A[0], "vpc": {"project": ids["a"], "name": "a"}}, A[1]],
             "b": [{**B[0], "vpc": {"project": ids["b"], "name": "b"}}, B[1]]}  # fmt: skip
    try:
        write_interconnects(lab, {"tenant-a": by_id["a"]})
        isthmus(lab, "apply", "--prune")
        warm(lab, OF_A)
        write_interconnects(lab, {f"tenant-{name}": sides for name, sides in by_id.items()})
        assert [e["code"] for e in isthmus(lab, "apply", code=2)["errors"]] == ["UnknownProject"]
        write_interconnects(lab, {"tenant-a": by_id["a"]})
        isthmus(lab, "disconnect", "tenant-a")
    finally:
        set_site(lab, "cloud", openstack={"cloud": USER})
    assert listing(lab) == before


def test_a_user_with_less_is_told_what_is_missing(lab: Lab) -> None:
    """Without the role nothing is removed for being unseen, and the remedy is named."""
    join(lab)
    identity = lab.site("cloud").cloud("admin").identity
    project, person, role = identity.find_project(USER), identity.find_user(USER), identity.find_role("isthmus")
    before = listing(lab)
    identity.unassign_project_role_from_user(project, person, role)
    try:
        write_interconnects(lab, {"tenant-b": B})
        found = isthmus(lab, "apply", "--prune", "--wait", "none", code=1)
        assert "docs/openstack.md" in str(found["errors"]), found
        assert listing(lab) == before
    finally:
        identity.assign_project_role_to_user(project, person, role)
        join(lab)
    warm(lab, OF_A)
