"""The JSON Schema of the API: made from `models` by `generate`, kept beside the code, read by everything else."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
KINDS = ("Fabric", "Site", "Interconnect")
STORED = Path(__file__).with_name("schema.json")


@cache
def json_schema() -> Schema:
    """The schema of one document (draft 2020-12), `$defs/Fabric`, `$defs/Site` and `$defs/Interconnect` included."""
    schema: Schema = json.loads(STORED.read_bytes())
    return schema


def generate() -> Schema:
    """The same, from the pydantic models. A test holds the stored one equal to it."""
    from pydantic.json_schema import GenerateJsonSchema, models_json_schema  # noqa: PLC0415

    from isthmus.api import models  # noqa: PLC0415

    class Generator(GenerateJsonSchema):
        """A field that may be left out may not be null: `tls:` with nothing behind it is a slip."""

        def nullable_schema(self, schema: Any) -> Any:
            return self.generate_inner(schema["schema"])

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

        def default_schema(self, schema: Any) -> Any:
            inner = super().default_schema(schema)
            return {k: v for k, v in inner.items() if k != "default" or v is not None}

    classes = [getattr(models, kind) for kind in KINDS]
    _, schema = models_json_schema(
        [(c, "validation") for c in classes],
        schema_generator=Generator,
        title=f"Isthmus {models.API_VERSION}",
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": schema["title"],
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": schema["$defs"],
    }


def text(schema: Schema) -> str:
    """As it is stored and printed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
