"""CustomResourceDefinitions from the models: what JSON Schema can say and Kubernetes' structural schemas may not."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel

from isthmus.api import kubeovn
from isthmus.api.kubeovn import Kind

DROPPED = ("title", "additionalProperties", "$defs", "discriminator", "const")


def text() -> str:
    """All of them, as one YAML stream."""
    return yaml.safe_dump_all([definition(kind) for kind in kubeovn.KINDS], sort_keys=False, width=110)


def definition(kind: Kind) -> dict[str, Any]:
    """One CustomResourceDefinition of apiextensions.k8s.io/v1."""
    properties = {"spec": structural(kind.spec)}
    if kind.status:
        properties["status"] = structural(kind.status)
    version: dict[str, Any] = {
        "name": kubeovn.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [{"name": n, "type": t, "jsonPath": path} for n, t, path in kind.columns],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    }
    if "required" in properties["spec"]:
        version["schema"]["openAPIV3Schema"]["required"] = ["spec"]
    if kind.status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kubeovn.GROUP}"},
        "spec": {
            "group": kubeovn.GROUP,
            "scope": "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.short,
                "shortNames": [kind.short],
            },
            "versions": [version],
        },
    }


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The model as a structural schema: no references, no alternatives, nothing that forbids unknown fields."""
    schema = model.model_json_schema(by_alias=True)
    found = _plain(schema, schema.get("$defs", {}))
    assert isinstance(found, dict)
    return found


def _plain(part: Any, known: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_plain(item, known) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        # What stands beside a reference says more about this place than the model does.
        part = known[part["$ref"].rpartition("/")[2]] | {k: v for k, v in part.items() if k != "$ref"}
    if "anyOf" in part:
        (value,) = (option for option in part["anyOf"] if option != {"type": "null"})
        part = value | {k: v for k, v in part.items() if k not in ("anyOf", "default")}
        return _plain(part | {"nullable": True}, known)
    found: dict[str, Any] = {}
    for key, value in part.items():
        if key == "properties":
            found[key] = {name: _plain(inner, known) for name, inner in value.items()}
        elif key == "additionalProperties" and isinstance(value, dict):
            found[key] = _plain(value, known)
        elif key == "additionalProperties" and value is True:
            found["x-kubernetes-preserve-unknown-fields"] = True
        elif key not in DROPPED and not (key == "default" and value in ("", [], {}, None)):
            found[key] = value if key in ("default", "x-kubernetes-validations") else _plain(value, known)
    return found
