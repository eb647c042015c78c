"""Text to decoded documents: str, int, float, bool, None, list, dict with string keys; nothing else.

Built on the parser's events, because PyYAML's own loader keeps the last of two equal keys without a word and runs
Python for every node. An alias shares the value of its anchor and counts with its full size, so that a document that
would be huge when written out is refused while it is still small.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import yaml

DEPTH_LIMIT = 100
NODE_LIMIT = 1_000_000
"""Nodes in one document, aliases written out."""
_Parser: type = getattr(yaml.cyaml, "CParser", yaml.SafeLoader) if yaml.__with_libyaml__ else yaml.SafeLoader
_TAG = "tag:yaml.org,2002:"


class Malformed(Exception):
    """The text is no YAML or JSON that we take. `index`: the document, from 0, or None."""

    def __init__(self, code: str, message: str, index: int | None, remedy: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.index, self.remedy = code, message, index, remedy


class _Open(NamedTuple):
    """A collection whose end has not come yet. `size` is a cell: nodes inside, aliases written out."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    size: list[int]
    key: list[Any]
    merges: list[Any]


_NO_KEY: Any = object()
_MERGE: Any = object()


class _Builder:
    """Decoded documents from parser events."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.open_anchors: set[str] = set()
        self.root: Any = None

    def fail(self, code: str, message: str, event: Any, remedy: str = "") -> Malformed:
        line = f" (line {event.start_mark.line + 1})" if event.start_mark is not None else ""
        return Malformed(code, message + line, self.index, remedy)

    def open(self, value: list[Any] | dict[str, Any], event: Any) -> None:
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key[0] is _NO_KEY:
            raise self.fail("InvalidYaml", "a key is a list or a mapping", event, "use a plain word as a key")
        if len(self.stack) >= DEPTH_LIMIT:
            raise self.fail("TooDeep", f"more than {DEPTH_LIMIT} levels", event, "flatten it")
        if event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
            raise self.fail("InvalidYaml", f"tag {event.tag!r} is not taken", event, "remove the tag")
        if event.anchor:
            self.open_anchors.add(event.anchor)
        self.stack.append(_Open(value, event.anchor, [1], [_NO_KEY], []))

    def close(self, event: Any) -> None:
        done = self.stack.pop()
        for merged in done.merges:
            for key, value in merged.items():
                done.value.setdefault(key, value)  # type: ignore[union-attr]
        if done.anchor:
            self.open_anchors.discard(done.anchor)
            self.anchors[done.anchor] = (done.value, done.size[0])
        self.put(done.value, done.size[0], event)

    def alias(self, event: Any) -> None:
        if event.anchor in self.open_anchors:
            raise self.fail("InvalidYaml", f"alias *{event.anchor} is inside its own anchor", event, "remove it")
        if event.anchor not in self.anchors:
            raise self.fail("InvalidYaml", f"alias *{event.anchor} has no anchor before it", event, "write the value")
        value, size = self.anchors[event.anchor]
        if self._wants_key() and not isinstance(value, str):
            raise self.fail("InvalidYaml", "a key is not a plain word", event, "write the key")
        self.put(value, size, event)

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key[0] is _NO_KEY

    def scalar(self, event: Any) -> None:
        plain = event.implicit[0]
        if self._wants_key():
            key = _MERGE if plain and event.value == "<<" else event.value
            self._anchor(event, event.value)
            self.put(key, 1, event)
            return
        value = event.value
        if event.tag not in (None, "!"):
            value = self._tagged(event)
        elif plain:
            value = _plain(value)
            if value is _NO_KEY:
                raise self.fail("InvalidYaml", "a number has too many digits", event, "put it in quotes")
        self._anchor(event, value)
        self.put(value, 1, event)

    def _tagged(self, event: Any) -> Any:
        if event.tag == _TAG + "str":
            return event.value
        raise self.fail("InvalidYaml", f"tag {event.tag!r} is not taken", event, "remove the tag")

    def _anchor(self, event: Any, value: Any) -> None:
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)

    def put(self, value: Any, size: int, event: Any) -> None:
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        top.size[0] += size
        if top.size[0] > NODE_LIMIT:
            raise self.fail(
                "TooLarge", f"more than {NODE_LIMIT} values when aliases are written out", event, "split it"
            )
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key[0] is _NO_KEY:
            if value is not _MERGE and value in top.value:
                raise self.fail("DuplicateKey", f"{value[:60]!r} is given twice", event, "remove one")
            top.key[0] = value
        else:
            self._pair(top, value, event)

    def _pair(self, top: _Open, value: Any, event: Any) -> None:
        key, top.key[0] = top.key[0], _NO_KEY
        if key is not _MERGE:
            top.value[key] = value
            return
        many = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) for one in many):
            raise self.fail("InvalidYaml", "<< takes mappings only", event, "write the fields")
        top.merges.extend(many)


@cache
def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    return dict(yaml.SafeLoader.yaml_implicit_resolvers)


def _plain(text: str) -> Any:
    """A plain scalar by YAML 1.1, dates left as they are written."""
    for tag, pattern in _resolvers().get(text[:1], ()):
        if pattern.match(text):
            return _SCALARS.get(tag.removeprefix(_TAG), str)(text)
    return text


def _int(text: str) -> Any:
    clean = text.replace("_", "")
    sign = -1 if clean.startswith("-") else 1
    clean = clean.lstrip("+-")
    if len(clean) > 1000 or ":" in clean:
        # 1.1 reads 22:30 as a number of base 60, which nobody means
        return text if ":" in clean else _NO_KEY
    base = {"0b": 2, "0x": 16}.get(clean[:2], 8 if clean.startswith("0") and clean != "0" else 10)
    return sign * int(clean, base)


def _float(text: str) -> Any:
    clean = text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    return text if ":" in clean else float(clean)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() in ("yes", "true", "on"),
    "int": _int,
    "float": _float,
}


def decode_yaml(data: bytes) -> Iterator[Any]:
    """The documents of a YAML stream, one by one; an empty document (a stray `---`) is left out.

    Raises Malformed. Documents before the bad one have been yielded by then.
    """
    parser = _Parser(data)
    index = 0
    try:
        parser.get_event()
        while not isinstance(parser.get_event(), yaml.StreamEndEvent):
            value, empty = _document(parser, index)
            if not empty:
                yield value
                index += 1
    except yaml.YAMLError as error:
        raise Malformed("InvalidYaml", _said(error), index, "correct the syntax") from None
    except UnicodeDecodeError as error:
        raise Malformed("InvalidYaml", f"not UTF-8 ({error.reason})", index, "save it as UTF-8") from None
    finally:
        parser.dispose()


def _document(parser: Any, index: int) -> tuple[Any, bool]:
    """One document up to its end event, and whether nothing is written in it."""
    builder = _Builder(index)
    empty = False
    while True:
        event = parser.get_event()
        kind = type(event)
        if kind is yaml.ScalarEvent:
            empty = not builder.stack and event.value == "" and event.implicit[0]
            builder.scalar(event)
        elif kind is yaml.MappingStartEvent:
            builder.open({}, event)
        elif kind is yaml.SequenceStartEvent:
            builder.open([], event)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            builder.close(event)
        elif kind is yaml.AliasEvent:
            builder.alias(event)
        else:
            return builder.root, empty


def _said(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else str(problem)


def decode_json(data: bytes) -> Iterator[Any]:
    """The one document of a JSON file. Raises Malformed."""
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_pairs, parse_constant=_constant)
    except UnicodeDecodeError:
        raise Malformed("InvalidJson", "not UTF-8", 0, "save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise Malformed("InvalidJson", said, 0, "correct the syntax") from None
    _shallow(value)
    yield value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed("DuplicateKey", f"{key[:60]!r} is given twice", 0, "remove one")
        found[key] = value
    return found


def _constant(text: str) -> float:
    raise Malformed("InvalidJson", f"{text} is no JSON number", 0, "write a finite number")


def _shallow(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise Malformed("TooDeep", f"more than {DEPTH_LIMIT} levels", 0, "flatten it")
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
