"""However a configuration is written, `disconnect` finds the place and changes nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.backends.files import load
from isthmus.backends.files.edit import disconnect

NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6).filter(lambda n: n != "*")
SUBNETS = st.lists(NAMES | st.builds(lambda n: {"name": n}, NAMES), min_size=1, max_size=4, unique_by=str)


def named(subnet: str | dict[str, str]) -> str:
    return subnet if isinstance(subnet, str) else subnet["name"]


@st.composite
def attachments(draw: st.DrawFn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for site in ("a", "b", "c")[: draw(st.integers(2, 3))]:
        one: dict[str, Any] = {"site": site, "vpc": {"name": draw(NAMES)}}
        if draw(st.booleans()):
            one["subnets"] = ["*"]
            if draw(st.booleans()):
                one["except"] = draw(st.lists(NAMES, max_size=2, unique=True))
        else:
            subnets = draw(SUBNETS)
            one["subnets"] = list({named(s): s for s in subnets}.values())
        one["gateways"] = ["g"]
        found.append(one)
    return found


def head(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def sites() -> list[dict[str, Any]]:
    return [
        head("Fabric", "f", {"northbound": ["unix:n"], "southbound": ["unix:s"]}),
        *(
            head("Site", s, {"type": "ovn", "northbound": [f"unix:n{s}"], "southbound": [f"unix:s{s}"]})
            for s in ("a", "b", "c")
        ),
    ]


STYLES: list[dict[str, Any]] = [
    {"default_flow_style": style, "indent": indent, "width": width, "allow_unicode": unicode}
    for style in (False, None, True)
    for indent in (2, 6)
    for width in (20, 200)
    for unicode in (True, False)
]


@settings(max_examples=300, deadline=None)
@given(attachments(), st.sampled_from([*STYLES, {"json": None}, {"json": 1}]), st.data())
def test_every_subnet_and_attachment_can_be_taken_out(
    written: list[dict[str, Any]], style: dict[str, Any], data: st.DataObject
) -> None:
    one, other = (head("Interconnect", name, {"attachments": written}) for name in ("t", "u"))
    target = data.draw(st.sampled_from(written))
    free = data.draw(NAMES.filter(lambda n: n not in target.get("except", [])))
    subnet = free if target["subnets"] == ["*"] else named(data.draw(st.sampled_from(target["subnets"])))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "sites.yaml").write_text(yaml.safe_dump_all(sites()))
        if "json" in style:
            (root / "t.json").write_text(json.dumps(one, indent=style["json"]))
            (root / "u.json").write_text(json.dumps(other, indent=style["json"]))
        else:
            # two dumps: one dump would write what both share as an alias
            text = "---\n".join(yaml.safe_dump(each, **style) for each in (one, other))
            (root / "t.yaml").write_text(text)
        before = load(root)
        edit = disconnect(root, "t", target["site"], data.draw(st.sampled_from([subnet, None])))
        edit.write()
        after = load(root)
    assert edit.changes
    assert [i.name for i in after.interconnects] == [i.name for i in edit.edited.interconnects]
    assert [s.name for s in after.sites] == [s.name for s in before.sites]
    if edit.after is not None:
        found = next(i for i in after.interconnects if i.name == "t")
        assert [(a.name, [*map(str, a.subnets)], a.exclude) for a in found.attachments] == [
            (a.name, [*map(str, a.subnets)], a.exclude) for a in edit.after.attachments
        ]
