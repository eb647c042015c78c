"""What OVN's match expressions are made of: fields, predicates, and nodes that judge a packet in three values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import AddressValueError, NetmaskValueError, ip_address, ip_network

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


@lru_cache(maxsize=65536)
def address(word: str) -> tuple[int, int, int]:
    """Family and interval of an address or prefix. OVN refuses bits outside of the mask, so do we."""
    try:
        if "/" in word:
            network = ip_network(word)
            return network.version, int(network.network_address), int(network.broadcast_address)
        address = ip_address(word)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Unreadable(word) from error
    return address.version, int(address), int(address)


class Node:
    def test(self, negated: bool) -> Test:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Join(Node):
    """Parts joined by `&&` or `||`."""

    every: bool
    parts: tuple[Node, ...]

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
class Not(Node):
    inner: Node

    def test(self, negated: bool) -> Test:
        return self.inner.test(not negated)


@dataclass(frozen=True, slots=True)
class Known(Node):
    """A truth that depends on nothing, or None."""

    truth: Truth

    def test(self, negated: bool) -> Test:
        answer = None if self.truth is None else self.truth != negated
        return lambda _facts: answer


@dataclass(frozen=True, slots=True)
class Kind(Node):
    """A predicate about family and protocol, such as `ip4` or `tcp`: pairs of (families, protocols or None)."""

    families: frozenset[int]
    protocols: frozenset[int] | None

    def test(self, negated: bool) -> Test:
        families, protocols = self.families, self.protocols

        def judge(facts: Facts) -> Truth:
            return (facts.family in families and (protocols is None or facts.proto in protocols)) != negated

        return judge


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """`field relation values`; values are intervals, strings, or names of sets."""

    name: str
    relation: str
    intervals: tuple[Interval, ...]
    strings: tuple[str, ...]
    sets: tuple[str, ...]
    needs: Kind | None

    def test(self, negated: bool) -> Test:
        # As in expr.c: negation turns the relation around, and the prerequisite is joined afterwards with `&&`.
        relation = INVERSE[self.relation] if negated else self.relation
        name, relate = self.name, _relation(self, relation)
        needs = self.needs.test(False) if self.needs else None

        def judge(facts: Facts) -> Truth:
            if needs is not None and not needs(facts):
                return False
            value = facts.fields.get(name)
            return None if value is None else relate(value, facts)

        return judge


INVERSE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def _relation(node: Compare, relation: str) -> Callable[[str | int, Facts], Truth]:
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


def _contained(node: Compare, value: str | int, facts: Facts, wanted: bool) -> Truth:
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
            family, low, high = address(word)
        except Unreadable:
            return None
        if family == facts.family and low <= value <= high:
            return True
    return False


_BOTH, _V4, _V6 = frozenset({4, 6}), frozenset({4}), frozenset({6})
_IP, _IP4, _IP6 = Kind(_BOTH, None), Kind(_V4, None), Kind(_V6, None)
_ICMP4, _ICMP6 = Kind(_V4, frozenset({1})), Kind(_V6, frozenset({58}))
_TCP, _UDP, _SCTP = (Kind(_BOTH, frozenset({n})) for n in (6, 17, 132))

PREDICATES: dict[str, Node] = {
    "ip": _IP,
    "ip4": _IP4,
    "ip6": _IP6,
    "icmp4": _ICMP4,
    "icmp6": _ICMP6,
    "icmp": Join(False, (_ICMP4, _ICMP6)),
    "tcp": _TCP,
    "udp": _UDP,
    "sctp": _SCTP,
    "arp": Known(False),
    "rarp": Known(False),
    "vlan.present": Known(False),
    "eth.bcast": Known(False),
    "eth.mcast": Known(False),
    "nd": Compare("icmp6.type", "==", ((135, 136),), (), (), _ICMP6),
    "nd_ns": Compare("icmp6.type", "==", ((135, 135),), (), (), _ICMP6),
    "nd_na": Compare("icmp6.type", "==", ((136, 136),), (), (), _ICMP6),
    "nd_rs": Compare("icmp6.type", "==", ((133, 133),), (), (), _ICMP6),
    "nd_ra": Compare("icmp6.type", "==", ((134, 134),), (), (), _ICMP6),
    "ip4.mcast": Compare("ip4.dst", "==", ((0xE0000000, 0xEFFFFFFF),), (), (), _IP4),
    "ip4.src_mcast": Compare("ip4.src", "==", ((0xE0000000, 0xEFFFFFFF),), (), (), _IP4),
    "ip6.mcast": Compare("ip6.dst", "==", ((0xFF << 120, (1 << 128) - 1),), (), (), _IP6),
    "ip.is_frag": Compare("ip.is_frag", "==", ((1, 1),), (), (), _IP),
    "ip.first_frag": Compare("ip.first_frag", "==", ((1, 1),), (), (), _IP),
    "ip.later_frag": Compare("ip.later_frag", "==", ((1, 1),), (), (), _IP),
}

FIELDS: dict[str, Kind | None] = {
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

ORDINAL = frozenset(
    {"eth.src", "eth.dst", "eth.bcast", "eth.mcast", "vlan.present", "pkt.mark"}
    | {"ip4.src", "ip4.dst", "ip4.mcast", "ip4.src_mcast", "ip6.src", "ip6.dst", "ip6.mcast"}
    | {"ip.frag", "ip.is_frag", "ip.first_frag", "ip.later_frag", "tcp.flags"}
    | {f"{protocol}.{end}" for protocol in ("tcp", "udp", "sctp") for end in ("src", "dst")}
)
"""What may be compared otherwise than for equality. The others are nominal (expr.c), such as `inport` and `tcp`:
`inport != "a"` and `!tcp` are errors to OVN, and a policy or an ACL with them does nothing."""
