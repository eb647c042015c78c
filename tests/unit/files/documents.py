"""A valid configuration for tests to spoil."""

from __future__ import annotations

HEAD = "apiVersion: isthmus.dev/v1alpha1\n"
FABRIC = (
    HEAD
    + "kind: Fabric\nmetadata: {name: default}\nspec:\n  northbound: ['unix:ic.sock']\n  southbound: ['unix:is.sock']\n"
)


def site(name: str, **more: str) -> str:
    """A Site document; `more` are spec fields in YAML."""
    fields = {"type": "ovn", "northbound": f"['unix:{name}-nb']", "southbound": f"['unix:{name}-sb']"}
    fields |= {"gateways": "[gw-1]"} | more
    lines = "".join(f"  {key}: {value}\n" for key, value in fields.items())
    return f"{HEAD}kind: Site\nmetadata: {{name: {name}}}\nspec:\n{lines}"


def interconnect(name: str, *attachments: str, more: str = "") -> str:
    """An Interconnect document; each attachment is one YAML mapping."""
    lines = "".join(f"  - {a}\n" for a in attachments)
    return f"{HEAD}kind: Interconnect\nmetadata: {{name: {name}}}\nspec:\n{more}  attachments:\n{lines}"


EAST = "{site: east, vpc: {name: r}, subnets: [web, db]}"
WEST = "{site: west, vpc: r, subnets: [app]}"
GOOD = [FABRIC, site("east"), site("west"), interconnect("tenant-a", EAST, WEST)]


def stream(*documents: str) -> str:
    return "---\n".join(documents)
