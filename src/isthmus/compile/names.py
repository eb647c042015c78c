"""Names, keys and MAC addresses of our rows: functions of what the user wrote, so any machine finds them again.

Owner, Interconnect and Attachment are DNS labels: a dot separates them and never occurs in them.
"""

from __future__ import annotations

from hashlib import sha256


def transit_switch(owner: str, interconnect: str) -> str:
    return f"isthmus-{owner}.{interconnect}"


def of(owner: str, interconnect: str, attachment: str, what: str) -> str:
    """Name of a row of an Attachment, e.g. `isthmus-default.tenant-a.cloud.edge`."""
    return f"isthmus-{owner}.{interconnect}.{attachment}.{what}"


def trunk_switch(owner: str) -> str:
    return f"isthmus-{owner}.probe"


def trunk(owner: str, chassis: str) -> str:
    """The switch port that a chassis' agent plugs into."""
    return f"isthmus-{owner}.probe.{chassis}"


def short(name: str) -> str:
    """Stands for a name that somebody else gave, where its characters or its length do not fit.

    >>> short("web")
    '4b5e57f6eb2f'
    """
    return sha256(name.encode()).hexdigest()[:12]


def mac(*words: str) -> str:
    """A locally administered unicast MAC from 40 bits of a hash: stable, and unique on any one switch in practice.

    >>> mac("isthmus-default.tenant-a.cloud.transit")
    '0a:79:15:75:b8:c4'
    """
    digest = sha256("\0".join(words).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in b"\x0a" + digest[:5])


def spelled(address: str, key: str, nudges: int = 0) -> str:
    """The same MAC, its letters small or large as the number `key` has it (all small without one), and `nudges` on.

    >>> spelled("0a:79:15:75:b8:c4", ""), spelled("0a:79:15:75:b8:c4", "24"), spelled("0a:79:15:75:b8:c4", "24", 1)
    ('0a:79:15:75:b8:c4', '0a:79:15:75:b8:C4', '0A:79:15:75:b8:C4')
    """
    letters = [place for place, character in enumerate(address) if character in "abcdef"]
    ways = 2 ** len(letters)
    chosen = ((1 + int(key) % (ways - 1) if key else 0) + nudges) % ways
    large = {place for bit, place in enumerate(letters) if chosen >> bit & 1}
    return "".join(c.upper() if place in large else c for place, c in enumerate(address))
