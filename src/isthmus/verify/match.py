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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, NetmaskValueError, ip_address, ip_network

Truth = bool | None
Interval = tuple[int, int]
"""First and last value, both included."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a match may ask of a packet at one place.

    fields  field name -> its value: numbers, addresses as numbers, port names as strings. A field that is absent is
            unknown; prerequisites (`tcp` before `tcp.dst`) have been judged before it is looked up.
    family  4 or 6
    proto   IP protocol number
    sets    address set name -> its strings; port group name (with `@`) -> names of its ports
    """

    fields: Mapping[str, str | int]
    family: int
    proto: int = 1
    sets: Mapping[str, Iterable[str]] = field(default_factory=dict)


Test = Callable[[Facts], Truth]


class Unreadable(ValueError):
    """The expression is not in the subset that this file reads."""


class Refused(Unreadable):
    """OVN refuses the expression: ovn-controller logs a warning and makes no flow of the row."""


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
                family, low, high = _address(word)
            except Unreadable:
                continue
            found.append((family, (low, high)))
    return tuple(found)


def _address(word: str) -> tuple[int, int, int]:
    """Family and interval of an address or prefix. OVN refuses bits outside of the mask, so do we."""
    try:
        if "/" in word:
            network = ip_network(word)
            return network.version, int(network.network_address), int(network.broadcast_address)
        address = ip_address(word)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Unreadable(word) from error
    return address.version, int(address), int(address)


class _Node:
    def test(self, negated: bool) -> Test:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Join(_Node):
    """Parts joined by `&&` or `||`."""

    every: bool
    parts: tuple[_Node, ...]

    def test(self, negated: bool) -> Test:
        tests = tuple(p.test(negated) for p in self.parts)
        return _all(tests) if self.every != negated else _any(tests)


def _all(tests: tuple[Test, ...]) -> Test:
    def judge(facts: Facts) -> Truth:
        answer: Truth = True
        for test in tests:
            one = test(facts)
            if one is False:
                return False
            if one is None:
                answer = None
        return answer

    return judge


def _any(tests: tuple[Test, ...]) -> Test:
    def judge(facts: Facts) -> Truth:
        answer: Truth = False
        for test in tests:
            one = test(facts)
            if one:
                return True
            if one is None:
                answer = None
        return answer

    return judge


@dataclass(frozen=True, slots=True)
class _Not(_Node):
    inner: _Node

    def test(self, negated: bool) -> Test:
        return self.inner.test(not negated)


@dataclass(frozen=True, slots=True)
class _Known(_Node):
    """A truth that depends on nothing, or None."""

    truth: Truth

    def test(self, negated: bool) -> Test:
        answer = None if self.truth is None else self.truth != negated
        return lambda _facts: answer


@dataclass(frozen=True, slots=True)
class _Kind(_Node):
    """A predicate about family and protocol, such as `ip4` or `tcp`: pairs of (families, protocols or None)."""

    families: frozenset[int]
    protocols: frozenset[int] | None

    def test(self, negated: bool) -> Test:
        families, protocols = self.families, self.protocols

        def judge(facts: Facts) -> Truth:
            return (facts.family in families and (protocols is None or facts.proto in protocols)) != negated

        return judge


@dataclass(frozen=True, slots=True)
class _Compare(_Node):
    """`field relation values`; values are intervals, strings, or names of sets."""

    name: str
    relation: str
    intervals: tuple[Interval, ...]
    strings: tuple[str, ...]
    sets: tuple[str, ...]
    needs: _Kind | None

    def test(self, negated: bool) -> Test:
        # As in expr.c: negation turns the relation around, and the prerequisite is joined afterwards with `&&`.
        relation = _INVERSE[self.relation] if negated else self.relation
        name, relate = self.name, _relation(self, relation)
        needs = self.needs.test(False) if self.needs else None

        def judge(facts: Facts) -> Truth:
            if needs is not None and not needs(facts):
                return False
            value = facts.fields.get(name)
            return None if value is None else relate(value, facts)

        return judge


_INVERSE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def _relation(node: _Compare, relation: str) -> Callable[[str | int, Facts], Truth]:
    if relation in ("==", "!="):
        wanted = relation == "=="
        return lambda value, facts: _contained(node, value, facts, wanted)
    number = node.intervals[0][0]
    order: dict[str, Callable[[int], bool]] = {
        "<": lambda v: v < number,
        "<=": lambda v: v <= number,
        ">": lambda v: v > number,
        ">=": lambda v: v >= number,
    }
    compare = order[relation]
    return lambda value, _facts: compare(value) if isinstance(value, int) else None


def _contained(node: _Compare, value: str | int, facts: Facts, wanted: bool) -> Truth:
    if isinstance(value, str):
        inside: Truth = value in node.strings
    else:
        inside = any(low <= value <= high for low, high in node.intervals)
    for name in node.sets:
        if inside:
            break
        inside = _in_set(name, value, facts)
    return None if inside is None else inside == wanted


def _in_set(name: str, value: str | int, facts: Facts) -> Truth:
    members = facts.sets.get(name)
    if members is None:
        return None
    if isinstance(value, str):
        return value in members
    for word in members:
        try:
            family, low, high = _address(word)
        except Unreadable:
            return None
        if family == facts.family and low <= value <= high:
            return True
    return False


_BOTH, _V4, _V6 = frozenset({4, 6}), frozenset({4}), frozenset({6})
_IP, _IP4, _IP6 = _Kind(_BOTH, None), _Kind(_V4, None), _Kind(_V6, None)
_ICMP4, _ICMP6 = _Kind(_V4, frozenset({1})), _Kind(_V6, frozenset({58}))
_TCP, _UDP, _SCTP = (_Kind(_BOTH, frozenset({n})) for n in (6, 17, 132))

_PREDICATES: dict[str, _Node] = {
    "ip": _IP,
    "ip4": _IP4,
    "ip6": _IP6,
    "icmp4": _ICMP4,
    "icmp6": _ICMP6,
    "icmp": _Join(False, (_ICMP4, _ICMP6)),
    "tcp": _TCP,
    "udp": _UDP,
    "sctp": _SCTP,
    "arp": _Known(False),
    "rarp": _Known(False),
    "vlan.present": _Known(False),
    "eth.bcast": _Known(False),
    "eth.mcast": _Known(False),
    "nd": _Compare("icmp6.type", "==", ((135, 136),), (), (), _ICMP6),
    "nd_ns": _Compare("icmp6.type", "==", ((135, 135),), (), (), _ICMP6),
    "nd_na": _Compare("icmp6.type", "==", ((136, 136),), (), (), _ICMP6),
    "nd_rs": _Compare("icmp6.type", "==", ((133, 133),), (), (), _ICMP6),
    "nd_ra": _Compare("icmp6.type", "==", ((134, 134),), (), (), _ICMP6),
    "ip4.mcast": _Compare("ip4.dst", "==", ((0xE0000000, 0xEFFFFFFF),), (), (), _IP4),
    "ip4.src_mcast": _Compare("ip4.src", "==", ((0xE0000000, 0xEFFFFFFF),), (), (), _IP4),
    "ip6.mcast": _Compare("ip6.dst", "==", ((0xFF << 120, (1 << 128) - 1),), (), (), _IP6),
    "ip.is_frag": _Compare("ip.is_frag", "==", ((1, 1),), (), (), _IP),
    "ip.first_frag": _Compare("ip.first_frag", "==", ((1, 1),), (), (), _IP),
    "ip.later_frag": _Compare("ip.later_frag", "==", ((1, 1),), (), (), _IP),
}

_FIELDS: dict[str, _Kind | None] = {
    "inport": None,
    "outport": None,
    "eth.src": None,
    "eth.dst": None,
    "eth.type": None,
    "pkt.mark": None,
    "ip.proto": _IP,
    "ip.ttl": _IP,
    "ip.dscp": _IP,
    "ip.ecn": _IP,
    "ip.frag": _IP,
    "ip4.src": _IP4,
    "ip4.dst": _IP4,
    "ip6.src": _IP6,
    "ip6.dst": _IP6,
    "icmp4.type": _ICMP4,
    "icmp4.code": _ICMP4,
    "icmp6.type": _ICMP6,
    "icmp6.code": _ICMP6,
    "tcp.src": _TCP,
    "tcp.dst": _TCP,
    "tcp.flags": _TCP,
    "udp.src": _UDP,
    "udp.dst": _UDP,
    "sctp.src": _SCTP,
    "sctp.dst": _SCTP,
}

_ORDINAL = frozenset(
    {"eth.src", "eth.dst", "eth.bcast", "eth.mcast", "vlan.present", "pkt.mark"}
    | {"ip4.src", "ip4.dst", "ip4.mcast", "ip4.src_mcast", "ip6.src", "ip6.dst", "ip6.mcast"}
    | {"ip.frag", "ip.is_frag", "ip.first_frag", "ip.later_frag", "tcp.flags"}
    | {f"{protocol}.{end}" for protocol in ("tcp", "udp", "sctp") for end in ("src", "dst")}
)
"""What may be compared otherwise than for equality. The others are nominal (expr.c), such as `inport` and `tcp`:
`inport != "a"` and `!tcp` are errors to OVN, and a policy or an ACL with them does nothing."""

_UNKNOWN_FIELD = re.compile(r"^(x?x?reg\d+|flags|ct|ct_label|ct_mark|vlan|arp|nd|ip6|outer)([.\[].*)?$")
_TOKEN = re.compile(
    r"""\s*(?: (?P<string>"[^"]*") | (?P<op>&&|\|\||==|!=|<=|>=|<|>|!|\(|\)|\{|\}|,)
        | (?P<word>[$@]?[A-Za-z0-9_.:/\[\]-]+) )""",
    re.VERBOSE,
)
_WORD_CONSTANT = re.compile(r"^(0x[0-9a-fA-F]+|\d+)(/(0x[0-9a-fA-F]+|\d+))?$")
_MAC = re.compile(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
_RELATIONS = frozenset(_INVERSE)


class _Parser:
    """Recursive descent over the tokens; `&&` and `||` may not be mixed without parentheses, as in OVN."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.negated = False
        self.intervals: list[tuple[int, Interval]] = []

    def whole(self) -> _Node:
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

    def joined(self) -> _Node:
        parts = [self.single()]
        operator = self.peek()
        if operator not in ("&&", "||"):
            return parts[0]
        while self.peek() == operator:
            self.take()
            parts.append(self.single())
        if self.peek() in ("&&", "||"):
            raise Unreadable("&& and || mixed without parentheses")
        return _Join(operator == "&&", tuple(parts))

    def single(self) -> _Node:
        token = self.peek()
        if token == "!":
            self.take()
            self.negated = not self.negated
            inner = self.single()
            self.negated = not self.negated
            return _Not(inner)
        if token == "(":
            self.take()
            inner = self.joined()
            self.expect(")")
            return inner
        if token == "is_chassis_resident":
            return self.function()
        return self.comparison()

    def function(self) -> _Node:
        self.take()
        self.expect("(")
        self.take()
        self.expect(")")
        return _Known(None)

    def comparison(self) -> _Node:
        first = self.take()
        if first in ("0", "1") and self.peek() not in _RELATIONS:
            return _Known(first == "1")
        if _is_constant(first):
            raise Unreadable("a constant on the left")
        name, bits = _subfield(first)
        if self.peek() not in _RELATIONS:
            return self.predicate(name, bits)
        relation = self.take()
        values = self.values()
        if bits is not None or _unknown(name):
            return _Known(None)
        if name in _PREDICATES and name not in _FIELDS:
            return self.predicate_compare(name, relation, values)
        return self.field(name, relation, values)

    def predicate(self, name: str, bits: str | None) -> _Node:
        if bits is not None or _unknown(name):
            return _Known(None)
        if name not in _PREDICATES:
            raise Unreadable(name)
        if self.negated:
            self.must_be_ordinal(name)
        return _PREDICATES[name]

    def must_be_ordinal(self, name: str) -> None:
        if name not in _ORDINAL:
            raise Refused(f"{name} may only be tested for equality, `!` taken into account")

    def predicate_compare(self, name: str, relation: str, values: list[str]) -> _Node:
        if values not in (["0"], ["1"]) or relation not in ("==", "!="):
            raise Unreadable(name)
        positive = (values == ["1"]) == (relation == "==")
        if positive == self.negated:
            self.must_be_ordinal(name)
        return _PREDICATES[name] if positive else _Not(_PREDICATES[name])

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

    def field(self, name: str, relation: str, values: list[str]) -> _Node:
        if name not in _FIELDS:
            raise Unreadable(name)
        if relation != ("!=" if self.negated else "=="):
            self.must_be_ordinal(name)
        strings = tuple(v[1:-1] for v in values if v.startswith('"'))
        sets = tuple(v if v[0] == "@" else v[1:] for v in values if v[0] in "$@")
        plain = [v for v in values if v[0] not in '"$@']
        if relation not in ("==", "!=") and (len(values) != 1 or not plain):
            raise Unreadable("an order of more than one number")
        intervals = tuple(self.constant(name, v) for v in plain)
        return _Compare(name, relation, intervals, strings, sets, _FIELDS[name])

    def constant(self, name: str, word: str) -> Interval:
        if _MAC.match(word):
            number = int(word.replace(":", ""), 16)
            return number, number
        if _WORD_CONSTANT.match(word) and "/" not in word and ":" not in word:
            return int(word, 0), int(word, 0)
        family, low, high = _address(word)
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
    return name not in _FIELDS and name not in _PREDICATES and bool(_UNKNOWN_FIELD.match(name))


def address_number(text: str) -> int:
    """The number of an IP address, for `Facts.fields`."""
    address: IPv4Address | IPv6Address = ip_address(text)
    return int(address)
