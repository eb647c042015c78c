"""A site that is down or cut off: the others work on, and nothing of it leaks into what comes after it.

Tenants a and b have the same addresses: a in the cloud and the east, b in the cloud and the west.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from subprocess import PIPE, STDOUT
from typing import Any

import pytest
import yaml

from isthmus.lab import bfd, documents, spec
from isthmus.lab.lab import Lab
from isthmus.lab.pytest_plugin import unique_name
from isthmus.lab.traffic import Streams, matrix, pairs
from snapshots import foreign, owned
from unixes import look, until

pytestmark = pytest.mark.lab

TRANSIT_A = "isthmus-default.tenant-a"


def site(name: str, switch: str, cidr: str, tenants: list[str]) -> dict[str, Any]:
    first, second = f"{name}-1", f"{name}-2"
    subnet = {
        "name": f"{{tenant}}-{switch}",
        "router": "{tenant}",
        "cidrs": [cidr],
        "endpoints": [{"host": first}, {"host": second}],
    }
    return {
        "name": name,
        "tenants": tenants,
        "hosts": [{"name": first, "gateway": True}, {"name": second}],
        "perTenant": {"routers": [{"name": "{tenant}"}], "switches": [subnet]},
    }


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    file = {
        "name": "sites",
        "tenants": 2,
        "sites": [
            site("cloud", "web", "10.1.1.0/24", ["a", "b"]),
            site("east", "pods", "10.2.1.0/24", ["a"]),
            site("west", "pods", "10.2.1.0/24", ["b"]),
        ],
    }
    with Lab.up(spec.parse(file, name=unique_name())) as made:
        yield made


@pytest.fixture(autouse=True)
def whole(lab: Lab) -> Iterator[None]:
    """Nothing is joined and nothing is cut, before and after."""
    yield
    with suppress(FileNotFoundError):  # it was healed
        heal(lab)
    for daemon in ("nb", "sb", "northd"):
        lab.site("east").daemon(daemon).start()
    lab.site("east").daemon("ovn-ic").restart()
    want(lab)
    isthmus(lab, "apply", "--prune", "--timeout", "20")


def want(lab: Lab, *interconnects: str, **changed: dict[str, Any]) -> None:
    found = [d for d in documents.interconnects(lab.layout) if d["metadata"]["name"] in interconnects]
    found = [d | changed.get(d["metadata"]["name"][-1], {}) for d in found]
    (lab.paths.config / "interconnects.yaml").write_text(yaml.safe_dump_all(found, sort_keys=False) or "# none\n")


def isthmus(lab: Lab, *words: str, code: int = 0) -> dict[str, Any]:
    waiting = ["--wait", "programmed"] if words[0] in ("apply", "disconnect") and "--wait" not in words else []
    done = lab.exec("operator", ["isthmus", *words, *waiting, "--output", "json"], timeout=60)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return dict(json.loads(done.stdout))


def cut(lab: Lab) -> None:
    """Nobody who governs reaches the east any more: neither Isthmus nor ovn-ic. Its hosts carry on."""
    lab.site("east").cut()
    lab.part("fabric", "east")


def heal(lab: Lab) -> None:
    lab.site("east").heal()
    lab.join("fabric", "east")


def works(lab: Lab, *tenants: str) -> None:
    """These tenants' machines reach each other; nobody reaches another tenant."""
    wanted = {
        (a.name, b.name)
        for a in lab.machines
        for b in lab.machines
        if a != b and a.tenant == b.tenant and a.tenant in tenants
    }

    def found() -> bool:
        counted = matrix(lab, pairs(lab.machines), count=3, interval=0.02)
        assert not counted.strays, counted.strays
        return wanted <= set(counted.open)

    until(f"the machines of {', '.join(tenants)} reach each other", found)


def keys(lab: Lab) -> dict[str, str]:
    """Transit switch -> its datapath key, as ovn-ic gave it."""
    text = lab.fabric.sbctl(
        "--bare", "--no-headings", "--columns=transit_switch,tunnel_key", "list", "Datapath_Binding"
    )
    lines = [line for line in text.splitlines() if line]
    return dict(zip(lines[::2], lines[1::2], strict=True))


def of(lab: Lab, interconnect: str, *databases: str) -> set[str]:
    """Rows of an Interconnect, as `database key`."""
    found = owned(look(lab, *databases))
    return {f"{d} {k}" for d, rows in found.items() for k in rows if k.split(" ")[1].startswith(f"{interconnect}/")}


def test_a_site_that_is_down_holds_up_nobody_else(lab: Lab) -> None:
    want(lab, "tenant-a")
    isthmus(lab, "apply")
    works(lab, "a")
    before, others = of(lab, "tenant-a", "nb/cloud", "ic-nb"), foreign(look(lab, "nb/cloud", "nb/west", "ic-nb"))
    for daemon in ("northd", "nb", "sb"):
        lab.site("east").daemon(daemon).kill()
    want(lab, "tenant-a", "tenant-b", a={"spec": {"attachments": narrower(lab)}})
    found = isthmus(lab, "apply", "--timeout", "20", code=1)
    assert "east" in found["errors"][0]["message"]
    assert of(lab, "tenant-a", "nb/cloud", "ic-nb") == before, "what names the site was touched"
    works(lab, "a", "b")
    again = isthmus(lab, "apply", "--timeout", "20", code=1)
    assert again["transactions"] == 0
    assert foreign(look(lab, "nb/cloud", "nb/west", "ic-nb")) == others
    for daemon in ("nb", "sb", "northd"):
        lab.site("east").daemon(daemon).start()
    isthmus(lab, "apply", "--timeout", "20")
    assert isthmus(lab, "plan")["databases"] == []
    works(lab, "b")


def narrower(lab: Lab) -> list[dict[str, Any]]:
    """Tenant a's attachments with another name of the cloud's: every row of it would change."""
    document = next(d for d in documents.interconnects(lab.layout) if d["metadata"]["name"] == "tenant-a")
    cloud, east = document["spec"]["attachments"]
    return [{**cloud, "name": "renamed"}, east]


def test_disconnect_with_a_site_cut_off_cuts_the_others_and_is_finished_later(lab: Lab) -> None:
    want(lab, "tenant-a", "tenant-b")
    isthmus(lab, "apply")
    works(lab, "a", "b")
    bfd.settle(lab)
    with Streams(lab, [("cloud-b-web-1", "west-b-pods-1"), ("west-b-pods-1", "cloud-b-web-1")]) as streams:
        cut(lab)
        found = isthmus(lab, "disconnect", "tenant-a", "--timeout", "15", code=1)
        assert any("east" in e["message"] for e in found["errors"])
        assert not of(lab, "tenant-a", "nb/cloud")
        assert of(lab, "tenant-a", "nb/east") and of(lab, "tenant-a", "ic-nb")
        assert not matrix(lab, [("cloud-a-web-1", "east-a-pods-1"), ("east-a-pods-1", "cloud-a-web-1")], count=5).open
        isthmus(lab, "disconnect", "tenant-a", "--timeout", "15", code=1)
        assert of(lab, "tenant-a", "ic-nb")
        heal(lab)
        isthmus(lab, "disconnect", "tenant-a", "--timeout", "20")
        reports = streams.stop()
    assert not of(lab, "tenant-a")
    assert isthmus(lab, "plan")["databases"] == []
    assert not any(r.lost for r in reports.values()), {p: len(r.lost) for p, r in reports.items()}


def test_a_site_that_was_cut_off_never_sends_to_who_comes_after(lab: Lab) -> None:
    """The transit switch, and so its key, outlives the site's edge (the control below shows what happens else)."""
    want(lab, "tenant-a")
    isthmus(lab, "apply")
    works(lab, "a")
    key = keys(lab)[TRANSIT_A]
    cut(lab)
    isthmus(lab, "disconnect", "tenant-a", "--timeout", "15", code=1)
    restart_ovn_ic(lab)
    want(lab, "tenant-b")
    isthmus(lab, "apply", "--timeout", "20")
    assert keys(lab)[TRANSIT_A] == key
    works(lab, "b")
    with Streams(lab, [("east-a-pods-1", "cloud-a-web-1"), ("east-a-pods-2", "cloud-a-web-2")]) as streams:
        works(lab, "b")
        heal(lab)
        restart_ovn_ic(lab)
        works(lab, "b")
        isthmus(lab, "disconnect", "tenant-a", "--timeout", "20")
        works(lab, "b")
        assert all(not r.received for r in streams.stop().values())
    assert TRANSIT_A not in keys(lab)


def test_control_the_key_of_a_transit_switch_removed_too_early_goes_to_the_next_tenant(lab: Lab) -> None:
    """The same with the switch removed by hand, while the east still sends under its key: why the order matters."""
    until("no key is taken", lambda: not keys(lab))
    apply_with_one_ovn_ic(lab, "tenant-a")
    works(lab, "a")
    key = keys(lab)[TRANSIT_A]
    cut(lab)
    isthmus(lab, "disconnect", "tenant-a", "--timeout", "15", code=1)
    lab.fabric.nbctl("ts-del", TRANSIT_A)
    until("the key is free", lambda: TRANSIT_A not in keys(lab))
    apply_with_one_ovn_ic(lab, "tenant-b")
    assert keys(lab)["isthmus-default.tenant-b"] == key, "ovn-ic gave the freed key to the next tenant"


def apply_with_one_ovn_ic(lab: Lab, name: str) -> None:
    """A fresh one gives the key. Of several that try, those that come too late count on all the same."""
    want(lab, name)
    for each in lab.sites:
        each.daemon("ovn-ic").stop()
    applying = lab.popen("operator", ["isthmus", "apply", "--timeout", "30"], stdout=PIPE, stderr=STDOUT)
    lab.site("cloud").daemon("ovn-ic").start()
    until("a key is given", lambda: f"isthmus-default.{name}" in keys(lab))
    for each in lab.sites:
        each.daemon("ovn-ic").start()
    said, _ = applying.communicate(timeout=40)
    assert applying.returncode == 0, said


def restart_ovn_ic(lab: Lab) -> None:
    """It remembers the last key it gave; a new one begins at the first free key."""
    for each in lab.sites:
        each.daemon("ovn-ic").restart()
