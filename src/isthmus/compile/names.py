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


def mac(*words: str) -> str:
    """A locally administered unicast MAC from 40 bits of a hash: stable, and unique on any one switch in practice.

    >>> mac("isthmus-default.tenant-a.cloud.transit")
    '0a:79:15:75:b8:c4'
    """
    digest = sha256("\0".join(words).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in b"\x0a" + digest[:5])
