"""Whose an object in Neutron is: written into its description, in the same call that makes it, and into its tags.

Either is enough to find it again. Older Neutrons take tags only in a second call, and between the two we may die; and
a description is soon edited by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LIMIT = 255
"""Characters of a description (neutron-lib, `DESCRIPTION_FIELD_SIZE`)."""

TAGGED = frozenset({"network", "subnet", "port"})
"""Resources of ours that take tags (Networking API, "Tag extension")."""

_KEY = r"[!-.0-~]+/[!-.0-~]+/[!-~]+"
"""Interconnect, attachment, and what it is: anybody may write a mark, so it need not make sense, but can be printed."""

_MARK = re.compile(rf"\[isthmus ([a-z0-9-]+) ({_KEY})\]$")


def description(owner: str, key: str) -> str:
    """A sentence for whoever finds the object, and the mark.

    >>> description("default", "tenant-a/cloud/link")
    'Isthmus keeps this; `isthmus disconnect tenant-a` removes it. [isthmus default tenant-a/cloud/link]'
    """
    mark = f"[isthmus {owner} {key}]"
    text = f"Isthmus keeps this; `isthmus disconnect {key.partition('/')[0]}` removes it."
    return f"{text[: LIMIT - len(mark) - 1]} {mark}"


def tags(owner: str, key: str) -> frozenset[str]:
    """What `openstack network list --tags` finds it by."""
    return frozenset({f"isthmus:owner={owner}", f"isthmus:interconnect={key.partition('/')[0]}", f"isthmus:key={key}"})


def key_of(owner: str, found: Mapping[str, Any]) -> str:
    """The key of an object that bears this owner's mark; "" for everybody else's.

    >>> key_of("default", {"description": description("default", "tenant-a/cloud/link")})
    'tenant-a/cloud/link'
    """
    of, key = _mark(found)
    return key if of == owner else ""


def owner_of(found: Mapping[str, Any]) -> str:
    """The owner that an object's mark names, or ""."""
    return _mark(found)[0]


def _mark(found: Mapping[str, Any]) -> tuple[str, str]:
    if match := _MARK.search(found.get("description") or ""):
        return match[1], match[2]
    said = dict(tag.split("=", 1) for tag in found.get("tags", ()) if "=" in tag)
    owner, key = said.get("isthmus:owner", ""), said.get("isthmus:key", "")
    return (owner, key) if owner and re.fullmatch(_KEY, key) else ("", "")
