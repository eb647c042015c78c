from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.api import json_schema, models
from isthmus.api.formats import FORMATS
from isthmus.api.schema import KINDS, generate, text
from isthmus.api.structure import violations

DOCS = Path(__file__).parents[3] / "docs" / "schema" / "isthmus.json"


def test_the_stored_schemas_are_current() -> None:
    assert json_schema() == generate()
    assert DOCS.read_text(encoding="utf-8") == text(generate())


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def keywords(schema: Any) -> set[str]:
    """Keywords used anywhere, names of properties and definitions left out."""
    if isinstance(schema, list):
        return {k for one in schema for k in keywords(one)}
    if not isinstance(schema, dict):
        return set()
    inner = [v for k, v in schema.items() if k not in ("properties", "$defs")]
    named = [v for k in ("properties", "$defs") for v in schema.get(k, {}).values()]
    return set(schema) | keywords(inner) | keywords(named)


def test_the_schema_uses_no_keyword_that_the_reader_does_not_know() -> None:
    assert keywords(json_schema()) <= {
        *("$schema", "$defs", "$ref", "oneOf", "anyOf", "title", "description", "default", "type"),
        *("properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
        *("enum", "const", "minimum", "maximum", "pattern", "minLength", "maxLength", "format"),
    }


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 70000)
    | st.sampled_from(["a", "A b", "10.0.0.0/8", "8-9", "unix:x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "id", "cidr", "gateway", "site", "vpc", "subnets", "except", "x", "minRx", "mult"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(json_schema()["$defs"])), VALUES)
def test_the_reader_takes_nothing_that_a_json_schema_validator_refuses(name: str, value: Any) -> None:
    schema = json_schema()
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
    if validator.is_valid(value):
        codes = {p.code for p in violations(value, schema["$defs"][name], schema)}
        assert codes <= {"InvalidCidr", "HostBits", "InvalidAddress", "InvalidRemote", "InvalidPorts", "InvalidName"}
    else:
        assert any(violations(value, schema["$defs"][name], schema))


def formatted(schema: Any) -> dict[str, dict[str, Any]]:
    if isinstance(schema, list):
        return {k: v for one in schema for k, v in formatted(one).items()}
    if not isinstance(schema, dict):
        return {}
    own = {schema["format"]: schema} if isinstance(schema.get("format"), str) else {}
    return own | formatted(list(schema.values()))


@pytest.mark.parametrize("name", sorted(FORMATS))
@given(data=st.data())
def test_the_pattern_of_a_format_takes_all_that_the_format_takes(name: str, data: st.DataObject) -> None:
    schema = formatted(json_schema())[name]
    sample = data.draw(st.text(max_size=40) | st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True))
    if FORMATS[name](sample) is None:
        assert re.search(schema["pattern"].removesuffix("$") + r"\Z", sample)
        assert schema["minLength"] <= len(sample) <= schema["maxLength"]


def test_the_models_say_what_the_reader_says_of_a_good_document() -> None:
    document = {
        "apiVersion": "isthmus.dev/v1alpha1",
        "kind": "Interconnect",
        "metadata": {"name": "t"},
        "spec": {
            "attachments": [
                {"site": "a", "vpc": "r", "subnets": ["*"], "except": ["x"]},
                {"site": "b", "vpc": {"name": "r"}, "subnets": [{"name": "n", "cidr": "10.0.0.0/24"}]},
            ]
        },
    }
    assert models.Interconnect.model_validate(document).spec.attachments[0].except_ == ["x"]
    schema = json_schema()
    assert not list(violations(document, schema["$defs"]["Interconnect"], schema))


def test_every_kind_is_in_the_schema() -> None:
    assert [ref["$ref"].rpartition("/")[2] for ref in json_schema()["oneOf"]] == list(KINDS)
