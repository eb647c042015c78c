"""What an API refused, kept in our rows for those who ask later: `status` runs in another process than `serve`."""

from __future__ import annotations

import json
from collections.abc import Mapping

from isthmus.backends.ovsdb.site import OvnSite
from isthmus.controller import records
from isthmus.controller.entry import Entry
from isthmus.errors import Problem


def noted(entry: Entry, readable: Mapping[str, OvnSite]) -> dict[str, str]:
    """Site -> what its rows are to say of the last refusal, while something is left to ask the API for.

    Whoever has called knows; of everybody else's calls the rows tell.
    """
    found: dict[str, str] = {}
    for name, site in readable.items():
        if entry.compiled_from is not None and not entry.changes.get(site.outside):
            continue
        own = site.refusal(entry.name)
        text = _text(own) if own else "" if site.called(entry.name) else records.refused(entry.name, site)
        if text:
            found[name] = text
    return found


def read(text: str) -> Problem | None:
    """Inverse of what `noted` gives; None where somebody garbled it."""
    try:
        found = json.loads(text)
        return Problem(str(found["code"]), str(found["message"]), remedy=str(found["remedy"]))
    except (ValueError, KeyError, TypeError):
        return None


def _text(problem: Problem) -> str:
    return json.dumps({"code": problem.code, "message": problem.message, "remedy": problem.remedy})
