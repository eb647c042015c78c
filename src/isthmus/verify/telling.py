"""What `admission` found, in a sentence and in JSON, by the names that people know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.verify.admission import Admission

SHOWN = 8
"""Of a list in a sentence; JSON has all."""

Names = Mapping[str, str]
"""Id of a security group -> its name."""


def sentence(found: Admission, names: Names) -> str:
    """One line, with the rule that is missing where one is."""
    if found.place is None:
        return f"address group {found.gate.peers[0]} of {_attachment(found)}: {found.row}: {found.reason}"
    many = f"{len(found.ports)} port{'s' if len(found.ports) > 1 else ''}"
    head = f"{found.place}: {many} of {_groups(found.groups, names)}"
    if found.kind in ("unenforced", "widened"):
        return f"{head}: {found.reason}: {found.row}"
    s = "s" if len(found.ports) == 1 else ""
    verb, to = (f"let{s} in", "from") if found.ingress else (f"let{s} out", "to")
    there = _some([str(p) for p in found.peers])
    if found.kind == "unknown":
        return f"{head}: whether anything passes {to} {there} cannot be judged: {found.row}"
    passes = f"only {_some(found.passes)}" if found.passes else "nothing new"
    said = f"{head} {verb} {passes} {to} {there}"
    return f"{said}; {found.reason}: {found.row}" if found.difference else f"{said}; {_remedy(found, names)}"


def _remedy(found: Admission, names: Names) -> str:
    direction, to = ("ingress", "from") if found.ingress else ("egress", "to")
    versions = " and ".join(f"IPv{v}" for v in found.missing)
    name, group = found.gate.peers
    whom = f"remote address group {name} ({group})" if group else "the other sides' prefixes"
    text = f"missing: {direction} {versions} {to} {whom}"
    if not found.ingress:
        return text
    known = [names.get(g, g) for g in found.groups]
    if not known:
        return f"{text}; the ports are in no security group"
    groups = ", ".join(known)
    if found.gate.groups:
        return f"{text}; or add {groups} to securityGroups in {_attachment(found)}"
    return f"{text}; or write securityGroups: [{groups}] in {_attachment(found)}"


def _attachment(found: Admission) -> str:
    return f"attachment {found.gate.attachment} of interconnect {found.gate.interconnect}"


def _groups(groups: Sequence[str], names: Names) -> str:
    if not groups:
        return "no security group"
    words = [f"{names[g]} ({g})" if g in names else g for g in groups]
    return f"security group{'s' if len(words) > 1 else ''} {', '.join(words)}"


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def as_json(found: Admission, names: Names) -> dict[str, object]:
    name, group = found.gate.peers
    return {
        "kind": found.kind,
        "difference": found.difference,
        "interconnect": found.gate.interconnect,
        "attachment": found.gate.attachment,
        "direction": "ingress" if found.ingress else "egress",
        "subnet": found.place.as_json() if found.place else None,
        "peers": [p.as_json() for p in found.peers],
        "ports": list(found.ports),
        "securityGroups": [{"id": g, "name": names.get(g, "")} for g in found.groups],
        "passes": list(found.passes),
        "missing": [f"IPv{v}" for v in found.missing],
        "addressGroup": {"id": group, "name": name},
        "row": found.row.as_json(),
        "reason": found.reason,
    }
