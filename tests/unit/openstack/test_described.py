"""Our objects in a real cloud's listing, as `explain` names them."""

from __future__ import annotations

import json
from pathlib import Path

from isthmus.backends.described import Described
from isthmus.backends.openstack.described import described
from isthmus.backends.openstack.listing import Listing
from isthmus.backends.openstack.owned import owned

WRITTEN = json.loads(Path(__file__).with_name("listing.json").read_text(encoding="utf-8"))


def objects() -> dict[str, Described]:
    listing = Listing(WRITTEN["project"], frozenset(WRITTEN["extensions"]), WRITTEN["tables"], WRITTEN["projects"])
    return {f"{d.table} {d.key}": d for d in described(owned(listing, "default"))}


def test_every_object_says_what_shows_and_what_removes_it() -> None:
    found = objects()
    network = found["network tenant-a/cloud/link"]
    assert network.show == f"openstack network show {network.id}"
    assert network.removes == "isthmus disconnect tenant-a --site cloud"
    assert "no rule of the project" in found["address_group tenant-a/cloud/peers"].removes
    rule = next(d for key, d in found.items() if key.startswith("security_group_rule "))
    assert rule.show.startswith("openstack security group rule show ") and "securityGroups" in rule.removes
    route = next(d for d in found.values() if d.table == "extra_route")
    assert " via " in route.name and route.show.startswith("openstack router show -c routes ")
    defined = next(d for d in found.values() if d.table == "network" and "/subnet/" in d.key)
    assert "when no machine is in it" in defined.removes


def test_an_object_is_found_by_its_key_its_name_or_the_first_digits_of_its_id() -> None:
    network = objects()["network tenant-a/cloud/link"]
    for word in (network.key, network.name, network.id, network.id[:6]):
        assert network.called(word, 4), word
    assert not network.called(network.id[:3], 4) and not network.called("link", 4)
