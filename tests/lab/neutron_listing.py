"""Everything that an OpenStack's admin sees in Neutron, to be compared with what she saw before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from isthmus.lab.lab import Lab

COLLECTIONS = (
    "networks", "subnets", "ports", "routers", "floatingips", "security-groups", "security-group-rules",
    "address-groups", "rbac-policies", "trunks",
)  # fmt: skip
CHANGING = ("updated_at", "revision_number", "status")
"""Fields that Neutron itself counts on; a port's status follows its machine."""


def listing(lab: Lab) -> dict[str, Any]:
    """`COLLECTION/ID` -> the object, without what Neutron counts on and groups that it makes for a project of ours."""
    own = {p.id for p in lab.site("cloud").cloud("admin").identity.projects(name="service")}
    found = {}
    for collection, one in objects(lab):
        if not (collection.startswith("security-group") and one["project_id"] in own):
            plain = {k: v for k, v in one.items() if k not in CHANGING and not k.startswith("security_group_rules")}
            found[f"{collection}/{one['id']}"] = json.loads(json.dumps(plain, sort_keys=True))
    return found


def objects(lab: Lab) -> Iterator[tuple[str, dict[str, Any]]]:
    """(collection, object as the API shows it) of everything."""
    network = lab.site("cloud").cloud("admin").network
    for collection in COLLECTIONS:
        for one in network.get(f"/{collection}").json()[collection.replace("-", "_")]:
            yield collection, one
