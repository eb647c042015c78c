"""OVN's match expressions, the part that people write in policies and ACLs.

Answers are three-valued: True, False, or None where the rows cannot say (`is_chassis_resident`, conntrack state,
registers, a syntax that this file does not know). Sources: ovn-sb(5) "Logical_Flow", OVN's lib/expr.c for the order
of negation and prerequisites (23.03).

>>> compile_match('inport == "a" && ip4.dst == {10.0.0.0/8, 192.0.2.1}')(
...     Facts(fields={"inport": "a", "ip4.dst": 0x0A000001}, family=4)
... )
True
"""

from __future__ import annotations

import re
from functools import lru_cache

from isthmus.verify.terms import (
    FIELDS,
    INVERSE,
    ORDINAL,
    PREDICATES,
    Compare,
    Facts,
    Interval,
    Join,
    Known,
    Node,
    Not,
    Refused,
    Test,
    Unreadable,
    address,
)

__all__ = ["Facts", "compile_match", "constants", "refusal"]


def compile_match(text: str) -> Test:
    """A function that judges `text`.

    For an unreadable one it always answers None; for one that OVN refuses, False: the row has no effect.
    """
    return _compile(text)[0]


def refusal(text: str) -> str:
    """Why OVN makes no flow of a row with this match; "" where it does."""
    try:
        _Parser(text).whole()
    except Refused as error:
        return str(error)
    except Unreadable:
        pass
    return ""


def constants(text: str) -> tuple[tuple[int, Interval], ...]:
    """Every IP constant in `text` as (family, interval): where the answer may change with the address."""
    return _compile(text)[1]


@lru_cache(maxsize=65536)
def _compile(text: str) -> tuple[Test, tuple[tuple[int, Interval], ...]]:
    parser = _Parser(text)
    try:
        tree = parser.whole()
    except Refused:
        return (lambda _facts: False), ()
    except Unreadable:
        return (lambda _facts: None), _loose_constants(text)
    return tree.test(False), tuple(parser.intervals)


def _loose_constants(text: str) -> tuple[tuple[int, Interval], ...]:
    found = []
    for word in re.split(r"[\s{}(),]+", text):
        if "." in word or ":" in word:
            try:
                family, low, high = address(word)
            except Unreadable:
                continue
            found.append((family, (low, high)))
    return tuple(found)


_UNKNOWN_FIELD = re.compile(r"^(x?x?reg\d+|flags|ct|ct_label|ct_mark|vlan|arp|nd|ip6|outer)([.\[].*)?$")
_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"[^"]*") | (?P<op>&&|\|\||==|!=|<=|>=|<|>|!|\(|\)|\{|\}|,)
        | (?P<word>[$@]?[A-Za-z0-9_.:/\[\]-]+) )""",
    re.VERBOSE,
)
_WORD_CONSTANT = re.compile(r"^(0x[0-9a-fA-F]+|\d+)(/(0x[0-9a-fA-F]+|\d+))?$")
_MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
_RELATIONS = frozenset(INVERSE)


class _Parser:
    """Recursive descent over the tokens; `&&` and `||` may not be mixed without parentheses, as in OVN."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.negated = False
        self.intervals: list[tuple[int, Interval]] = []

    def whole(self) -> Node:
        tree = self.joined()
        if self.at != len(self.tokens):
            raise Unreadable("something follows the expression")
        return tree

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        if not token:
            raise Unreadable("the expression ends early")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise Unreadable(f"{token} expected")

    def joined(self) -> Node:
        parts = [self.single()]
        operator = self.peek()
        if operator not in ("&&", "||"):
            return parts[0]
        while self.peek() == operator:
            self.take()
            parts.append(self.single())
        if self.peek() in ("&&", "||"):
            raise Unreadable("&& and || mixed without parentheses")
        return Join(operator == "&&", tuple(parts))

    def single(self) -> Node:
        token = self.peek()
        if token == "!":
            self.take()
            self.negated = not self.negated
            inner = self.single()
            self.negated = not self.negated
            return Not(inner)
        if token == "(":
            self.take()
            inner = self.joined()
            self.expect(")")
            return inner
        if token == "is_chassis_resident":
            return self.function()
        return self.comparison()

    def function(self) -> Node:
        self.take()
        self.expect("(")
        self.take()
        self.expect(")")
        return Known(None)

    def comparison(self) -> Node:
        first = self.take()
        if first in ("0", "1") and self.peek() not in _RELATIONS:
            return Known(first == "1")
        if _is_constant(first):
            raise Unreadable("a constant on the left")
        name, bits = _subfield(first)
        if self.peek() not in _RELATIONS:
            return self.predicate(name, bits)
        relation = self.take()
        values = self.values()
        if bits is not None or _unknown(name):
            return Known(None)
        if name in PREDICATES and name not in FIELDS:
            return self.predicate_compare(name, relation, values)
        return self.field(name, relation, values)

    def predicate(self, name: str, bits: str | None) -> Node:
        if bits is not None or _unknown(name):
            return Known(None)
        if name not in PREDICATES:
            raise Unreadable(name)
        if self.negated:
            self.must_be_ordinal(name)
        return PREDICATES[name]

    def must_be_ordinal(self, name: str) -> None:
        if name not in ORDINAL:
            raise Refused(f"{name} may only be tested for equality, `!` taken into account")

    def predicate_compare(self, name: str, relation: str, values: list[str]) -> Node:
        if values not in (["0"], ["1"]) or relation not in ("==", "!="):
            raise Unreadable(name)
        positive = (values == ["1"]) == (relation == "==")
        if positive == self.negated:
            self.must_be_ordinal(name)
        return PREDICATES[name] if positive else Not(PREDICATES[name])

    def values(self) -> list[str]:
        if self.peek() != "{":
            return [self.take()]
        self.take()
        found: list[str] = []
        while self.peek() != "}":
            token = self.take()
            if token != ",":
                found.append(token)
        self.take()
        return found

    def field(self, name: str, relation: str, values: list[str]) -> Node:
        if name not in FIELDS:
            raise Unreadable(name)
        if relation != ("!=" if self.negated else "=="):
            self.must_be_ordinal(name)
        strings = tuple(v[1:-1] for v in values if v.startswith('"'))
        sets = tuple(v if v[0] == "@" else v[1:] for v in values if v[0] in "$@")
        plain = [v for v in values if v[0] not in '"$@']
        if relation not in ("==", "!=") and (len(values) != 1 or not plain):
            raise Unreadable("an order of more than one number")
        intervals = tuple(self.constant(name, v) for v in plain)
        return Compare(name, relation, intervals, strings, sets, FIELDS[name])

    def constant(self, name: str, word: str) -> Interval:
        if _MAC.match(word):
            number = int(word.replace(":", ""), 16)
            return number, number
        if _WORD_CONSTANT.match(word) and "/" not in word and ":" not in word:
            return int(word, 0), int(word, 0)
        family, low, high = address(word)
        if not name.startswith(f"ip{family}."):
            raise Unreadable(word)
        self.intervals.append((family, (low, high)))
        return low, high


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(text[at:])
        found.append(match.group(0).strip())
        at = match.end()
    return found


def _is_constant(word: str) -> bool:
    return word[0].isdigit() or word[0] in '"$@{' or ":" in word


def _subfield(word: str) -> tuple[str, str | None]:
    name, bracket, rest = word.partition("[")
    return name, (rest if bracket else None)


def _unknown(name: str) -> bool:
    return name not in FIELDS and name not in PREDICATES and bool(_UNKNOWN_FIELD.match(name))
