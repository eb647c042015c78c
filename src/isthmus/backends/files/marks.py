"""A YAML or JSON text with the places of its nodes, so that a part can be cut out and every other byte stays.

Offsets count characters of the decoded text (without a byte order mark).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

_Parser: type = getattr(yaml.cyaml, "CParser", yaml.SafeLoader) if yaml.__with_libyaml__ else yaml.SafeLoader


_SURROGATE = re.compile(r"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
"""An escape in JSON; the longer branch is half of a surrogate pair, which YAML does not take."""


def _harmless(escape: re.Match[str]) -> str:
    return "\\u0041" if len(escape[0]) == 6 else escape[0]


@dataclass(slots=True)
class Node:
    """`end` is behind the node's last written character; what follows (comments, blank lines) is nobody's.

    kind      scalar, alias, list or mapping
    flow      written with brackets
    items     of a list; of a mapping the values
    keys      of a mapping, each with the offset where the key starts
    """

    kind: str
    start: int
    end: int
    flow: bool = False
    items: list[Node] = field(default_factory=list)
    keys: list[tuple[str, int]] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        """The value written under `key`; None where there is none, or it comes from a merge."""
        return next((n for (k, _), n in zip(self.keys, self.items, strict=True) if k == key), None)

    def key_start(self, key: str) -> int:
        return next(start for k, start in self.keys if k == key)


@dataclass(slots=True)
class Written:
    """One document. `start` is at its `---`, or at its first character where it has none."""

    start: int
    root: Node
    end: int


def document(text: str, json: bool, index: int) -> Written:
    """One document of a text that `decode` could read; empty ones are not counted. Raises IndexError, YAMLError."""
    over: Any = yaml.StreamEndEvent
    parser = _Parser(_SURROGATE.sub(_harmless, text) if json else text)
    try:
        _next(parser)
        while type(start := _next(parser)) is not over:
            first = _next(parser)
            scalar = type(first) is yaml.ScalarEvent
            empty = scalar and first.start_mark.index == first.end_mark.index
            if index == 0 and not empty:
                root = _node(parser, first)
                end = _next(parser)
                begin = int(start.start_mark.index) if start.explicit else root.start
                return Written(begin, root, end.end_mark.index if end.explicit else root.end)
            while type(_next(parser)) is not yaml.DocumentEndEvent:
                pass
            index -= 0 if empty else 1
    finally:
        parser.dispose()
    raise IndexError(index)


def _next(parser: Any) -> Any:
    return parser.get_event()


def _node(parser: Any, event: Any) -> Node:
    start, end = event.start_mark.index, event.end_mark.index
    if isinstance(event, yaml.ScalarEvent):
        return Node("scalar", start, end)
    if isinstance(event, yaml.AliasEvent):
        return Node("alias", start, end)
    mapping = isinstance(event, yaml.MappingStartEvent)
    node = Node("mapping" if mapping else "list", start, end, bool(event.flow_style))
    stop: Any = yaml.MappingEndEvent if mapping else yaml.SequenceEndEvent
    while type(child := _next(parser)) is not stop:
        if mapping:
            node.keys.append((getattr(child, "value", ""), child.start_mark.index))
            node.end = max(node.end, child.end_mark.index)
            child = parser.get_event()
        node.items.append(_node(parser, child))
        node.end = max(node.end, node.items[-1].end)
    if node.flow:
        node.end = child.end_mark.index
    return node


class Editor:
    """Cuts and insertions in one text, applied together by `result`."""

    def __init__(self, text: str, json: bool) -> None:
        self.text, self.json = text, json
        self.edits: list[tuple[int, int, str]] = []

    def replace(self, start: int, end: int, new: str = "") -> None:
        self.edits.append((start, end, new))

    def result(self) -> str:
        text = self.text
        for start, end, new in sorted(self.edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def line(self, offset: int) -> int:
        """Where the line of `offset` starts."""
        return self.text.rfind("\n", 0, offset) + 1

    def next_line(self, offset: int) -> int:
        """Where the next line starts, or the end of the text."""
        found = self.text.find("\n", offset)
        return len(self.text) if found < 0 else found + 1

    def cut_lines(self, start: int, end: int) -> None:
        """Take out whole lines, from that of `start` to that of `end`."""
        self.replace(self.line(start), self.next_line(end))

    def cut_item(self, sequence: Node, index: int) -> None:
        """Take one of at least two items out of a list."""
        if sequence.flow:
            self._cut_flow(sequence, index)
        else:
            item = sequence.items[index]
            self.cut_lines(self._dash(sequence, item), item.end - 1)

    def _dash(self, sequence: Node, item: Node) -> int:
        """The `-` of a block item: often, but not always, on the line where the item starts."""
        column = sequence.start - self.line(sequence.start)
        at = self.line(item.start)
        while self.text[at : at + column + 1].strip(" ") != "-":
            if at <= sequence.start - column:
                break
            at = self.line(at - 1)
        return at + column

    def _cut_flow(self, sequence: Node, index: int) -> None:
        item, last = sequence.items[index], index == len(sequence.items) - 1
        after = self._comma(item.end)
        end = item.end if after is None else after + 1
        begin_line, rest = self.line(item.start), self.text[end : self.next_line(end)].strip()
        own_lines = not self.text[begin_line : item.start].strip() and (not rest or rest.startswith("#"))
        if own_lines:
            self.cut_lines(item.start, end - 1)
        elif not last:
            self.replace(item.start, sequence.items[index + 1].start)
        else:
            self.replace(item.start, item.end)
        if (last and after is None) or (last and not own_lines):
            before = self._comma(sequence.items[index - 1].end)
            if before is not None:
                gap = self.text[before + 1 : item.start]
                self.replace(before, before + 1 if own_lines or gap.strip() or "\n" in gap else item.start)

    def _comma(self, offset: int) -> int | None:
        """The comma after a flow item, over blanks, line ends and comments."""
        for at in self._bare(offset):
            if not self.text[at].isspace():
                return at if self.text[at] == "," else None
        return None

    def _bare(self, offset: int) -> Iterator[int]:
        """Offsets from here on that are outside comments."""
        while offset < len(self.text):
            if self.text[offset] == "#" and self.text[offset - 1].isspace():
                offset = self.next_line(offset)
                continue
            yield offset
            offset += 1

    def append_item(self, sequence: Node, value: str) -> None:
        """Put a written value behind the last item of a list."""
        if not sequence.items:
            self.replace(sequence.end - 1, sequence.end - 1, value)
            return
        last = sequence.items[-1]
        if sequence.flow:
            self.replace(last.end, last.end, f", {value}")
            return
        column = sequence.start - self.line(sequence.start)
        self._new_line(last.end - 1, " " * column + f"- {value}")

    def append_field(self, mapping: Node, after: str, key: str, value: str) -> None:
        """Put `key: value` behind the field `after` of a mapping."""
        node = mapping.get(after)
        assert node is not None
        if mapping.flow:
            name = f'"{key}"' if self.json else key
            self.replace(node.end, node.end, f", {name}: {value}")
            return
        start = mapping.key_start(after)
        self._new_line(node.end - 1, " " * (start - self.line(start)) + f"{key}: {value}")

    def _new_line(self, after: int, line: str) -> None:
        at = self.next_line(after)
        ending = "\r\n" if self.text[max(at - 2, 0) : at] == "\r\n" else "\n"
        if at and self.text[at - 1] != "\n":
            self.replace(at, at, ending + line)
        else:
            self.replace(at, at, line + ending)
