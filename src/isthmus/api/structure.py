"""Hold a decoded document against a JSON Schema, and say everything that is wrong in a user's words.

Understands what `schema.generate` emits: $ref, type, properties, required, additionalProperties: false, items,
minItems, maxItems, enum, const, minimum, maximum, pattern, minLength, maxLength, format, and anyOf whose branches
differ in type. Usable with any schema of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from isthmus.api.formats import FORMATS, Refusal
from isthmus.errors import Problem

Schema = Mapping[str, Any]
_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "empty",
}


def type_of(value: object) -> str:
    """JSON's name of a decoded value's type."""
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}
    return names[type(value)]


def shown(value: object, limit: int = 60) -> str:
    """A value as a message shows it: short, in one line, without control characters.

    >>> shown("a" * 100, limit=12)
    "'aaaaaaaa..."
    """
    text = repr(value[: limit + 1]) if isinstance(value, str) else _brief(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return f"a mapping with {len(value)} fields"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a very long number"


def nearest(word: str, known: list[str]) -> str:
    """The known word that `word` is probably a slip of, or ""; not looked for among very many."""
    if len(known) > 1000:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415

    lower = {k.lower(): k for k in known}
    found = get_close_matches(word.lower()[:100], list(lower), n=1, cutoff=0.6)
    return lower[found[0]] if found else ""


def violations(value: object, schema: Schema, root: Schema, field: str = "") -> Iterator[Problem]:
    """Each way in which `value` is not as `schema` says; `root` holds $defs, `field` is where `value` stands."""
    schema = _resolve(schema, root)
    if "anyOf" in schema:
        yield from _any_of(value, schema, root, field)
        return
    kind, wanted = type_of(value), schema.get("type")
    if wanted is not None and kind != wanted and not (wanted == "number" and kind == "integer"):
        yield _wrong_type(value, [wanted], schema, field)
        return
    if kind == "object":
        yield from _object(value, schema, root, field)  # type: ignore[arg-type]
    elif kind == "array":
        yield from _array(value, schema, root, field)  # type: ignore[arg-type]
    elif refusal := _scalar(value, schema):
        yield Problem(refusal.code, f"{shown(value)} {refusal.message}", field=field, remedy=refusal.remedy)


def sound(value: object, schema: Schema, root: Schema) -> Any:
    """What of `value` is as `schema` says, for those who judge further although something is wrong.

    None, which no schema of ours allows, stands for each value that is wrong, for what stands in an unknown field, and
    for a required field that is missing. Items of a list keep their places.
    """
    schema = _resolve(schema, root)
    branches = [_resolve(branch, root) for branch in schema.get("anyOf", [schema])]
    fits = next((b for b in branches if b.get("type") == type_of(value)), {})
    if isinstance(value, dict) and fits:
        properties = fits.get("properties", {})
        known = {name: sound(inner, properties[name], root) for name, inner in value.items() if name in properties}
        return dict.fromkeys([*fits.get("required", ()), *value]) | known
    if isinstance(value, list) and fits:
        return [sound(inner, fits.get("items", {}), root) for inner in value]
    return None if any(violations(value, schema, root)) else value


def whole(value: object) -> bool:
    """Whether nothing in what `sound` returned is wrong or missing."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is not None and all(map(whole, inner))


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _any_of(value: object, schema: Schema, root: Schema, field: str) -> Iterator[Problem]:
    branches = [_resolve(branch, root) for branch in schema["anyOf"]]
    kind = type_of(value)
    for branch in branches:
        if branch["type"] == kind:
            yield from violations(value, branch, root, field)
            return
    yield _wrong_type(value, [b["type"] for b in branches], schema, field)


def _wrong_type(value: object, wanted: list[str], schema: Schema, field: str) -> Problem:
    words = " or ".join(_WORDS[w] for w in wanted)
    if value is None:
        remedy = "write a value, or remove the field"
    elif "string" in wanted and type_of(value) in ("boolean", "integer", "number"):
        remedy = "put it in quotes"
    else:
        remedy = schema.get("description", "")
    name = field.rpartition(".")[2] or "the document"
    return Problem("WrongType", f"{name} must be {words}, not {shown(value)}", field=field, remedy=remedy)


def _object(value: dict[str, object], schema: Schema, root: Schema, field: str) -> Iterator[Problem]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for name, inner in value.items():
        where = join(field, name)
        if name in properties:
            yield from violations(inner, properties[name], root, where)
        elif schema.get("additionalProperties") is False:
            near = nearest(name, list(properties))
            remedy = f"did you mean {near}?" if near else f"known here: {', '.join(properties)}"
            yield Problem("UnknownField", f"unknown field {shown(name)}", field=where, remedy=remedy)
    for name in schema.get("required", ()):
        if name not in value:
            says = _resolve(properties[name], root).get("description", "")
            yield Problem(
                "MissingField",
                f"{name} is missing",
                field=join(field, name),
                remedy=f"add it: {says}".removesuffix(": "),
            )


def _array(value: list[object], schema: Schema, root: Schema, field: str) -> Iterator[Problem]:
    low, high = schema.get("minItems", 0), schema.get("maxItems")
    name = field.rpartition(".")[2]
    if len(value) < low:
        yield Problem("TooFew", f"{name} needs at least {low}, has {len(value)}", field=field, remedy="add the missing")
    if high is not None and len(value) > high:
        yield Problem("TooMany", f"{name} may have at most {high}, has {len(value)}", field=field, remedy="remove some")
    items = schema.get("items", {})
    for index, inner in enumerate(value):
        yield from violations(inner, items, root, f"{field}[{index}]")


def _scalar(value: object, schema: Schema) -> Refusal | None:
    if isinstance(value, str):
        return _string(value, schema)
    choices = schema.get("enum")
    if choices is not None and value not in choices:
        return Refusal("InvalidValue", "is not one of the known values", f"use one of: {choices}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            return Refusal("OutOfRange", "is out of range", f"use {low} to {high}")
    return None


def _string(value: str, schema: Schema) -> Refusal | None:
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None:
        if value in choices:
            return None
        near = nearest(value, choices)
        remedy = f"did you mean {near}?" if near else f"use one of: {', '.join(choices)}"
        return Refusal("InvalidValue", "is not one of the known values", remedy)
    if reader := FORMATS.get(schema.get("format", "")):
        return reader(value)
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return Refusal("InvalidValue", f"has {len(value)} characters", schema.get("description", ""))
    pattern = schema.get("pattern")
    if pattern is not None and not _compiled(pattern).search(value):
        return Refusal(
            "InvalidValue", "is not written as needed", schema.get("description", f"it must match {pattern}")
        )
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Python's $ also matches before a last line feed, the schema's does not
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def join(field: str, name: str) -> str:
    """Dotted path; an odd name is quoted, so that a path stays one line.

    >>> join("spec", "a.b")
    "spec['a.b']"
    """
    if not _PLAIN.fullmatch(name):
        return f"{field}[{shown(name)}]"
    return f"{field}.{name}" if field else name
