"""What documents say is so: commands, paths, links, figures. `tests/lab/test_documents.py` runs the commands."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents import ROOT, commands, pages, yaml_blocks
from isthmus.api import API_VERSION, Draft, assemble, json_schema, parse
from isthmus.backends.files import load
from isthmus.cli import main
from isthmus.errors import Problem
from isthmus.model.intent import DEFAULT_MTU, Fabric, Origin

RUN_IN_A_LAB = {"README.md", "docs/lab.md", "docs/guests.md", "docs/command-line.md", "docs/cluster.md"}
"""Documents whose commands `tests/lab/test_documents.py` runs, or `test_install.py` beside it."""
SHOWN = {page.relative_to(ROOT).as_posix(): commands(page) for page in pages()}


def test_every_document_that_shows_isthmus_commands_is_run_in_a_lab() -> None:
    assert {page for page, lines in SHOWN.items() if any(line.startswith("isthmus") for line in lines)} == RUN_IN_A_LAB


@pytest.mark.parametrize("line", sorted({c for lines in SHOWN.values() for c in lines if c.startswith("./run")}))
def test_run_knows_the_words_that_documents_show(line: str) -> None:
    usage = subprocess.run([ROOT / "run", "help"], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^  {shlex.split(line)[1]}\b", usage, re.MULTILINE)


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = main.Parser(prog=verb)
    main._common(parser)
    main._module(verb).configure(parser)
    return parser


def test_the_command_line_is_described_in_full() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    agent = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`[a-z`, ]+`) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {verb for cell in table for verb in re.findall(r"`([a-z]+)`", cell)} == set(main.VERBS)
    for verb in main.VERBS:
        assert f"isthmus {verb}" in text
        options = {o for a in parser_of(verb)._actions for o in a.option_strings if o.startswith("--")}
        where = agent if verb == "agent" else text
        assert [o for o in options - {"--help"} if o not in where + text] == [], verb


FORMAT = ROOT / "docs" / "documents.md"
OF_LATER_VERSIONS = {"Allow", "Peer"}
"""Parts of the schema that nobody can use yet."""


def drafts(*documents: Any) -> list[Draft]:
    """The documents, and a Fabric and the Sites that they name where these are missing."""
    named = {(d["kind"], d["metadata"]["name"]) for d in documents}
    sites = {a["site"] for d in documents for a in d["spec"].get("attachments", ())} & {
        "cloud",
        "cluster",
        "east",
        "west",
    }
    more = [] if any(kind == "Fabric" for kind, _ in named) else [supplied("Fabric", "default")]
    more += [supplied("Site", s, type="ovn", gateways=["g"]) for s in sorted(sites) if ("Site", s) not in named]
    return [parse(value, Origin("documents.md", i), ROOT) for i, value in enumerate([*documents, *more])]


def supplied(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    databases = {side: [f"unix:{name}-{side}"] for side in ("northbound", "southbound")}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": databases | spec}


def problems(*documents: Any) -> tuple[Problem, ...]:
    return assemble(drafts(*documents)).problems


@pytest.mark.parametrize("block", yaml_blocks(FORMAT))
def test_what_the_page_on_documents_shows_is_valid(block: str) -> None:
    documents = list(yaml.safe_load_all(block))
    assert documents and problems(*documents) == ()


REFUSED = re.findall(r"^\| `(\{site: .*\})` \| `(\w+)` \|", FORMAT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("attachment", "code"), REFUSED)
def test_what_the_page_on_documents_calls_refused_is(attachment: str, code: str) -> None:
    attachments = [yaml.safe_load(attachment), {"site": "west", "vpc": "r", "subnets": ["app"]}]
    one = supplied("Interconnect", "t")
    one["spec"] = {"attachments": attachments}
    assert {p.code for p in problems(one, supplied("Site", "east", type="ovn", gateways=["g"]))} == {code}


def test_the_page_on_documents_tells_of_every_field_default_and_code() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    assert len(REFUSED) > 8
    parts = {name: part for name, part in json_schema()["$defs"].items() if name not in OF_LATER_VERSIONS}
    fields = {field for part in parts.values() for field in part["properties"]}
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    words = set(re.findall(r"\w+", " ".join([*re.findall(r"`([^`]+)`", prose), *yaml_blocks(FORMAT)])))
    assert sorted(fields - words) == []
    assert f"| `mtu` | `{DEFAULT_MTU}` |" in text
    (shown,) = [d for block in yaml_blocks(FORMAT) for d in yaml.safe_load_all(block) if d["kind"] == "Fabric"]
    pools = [d.result.pools for d in drafts(shown, supplied("Fabric", "other")) if isinstance(d.result, Fabric)]
    assert pools[0] == pools[1], "the defaults that it shows"
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    codes = set(re.findall(r"`((?:[A-Z][a-z]+){2,})`", text))
    assert sorted(code for code in codes if f'"{code}"' not in source) == []


def test_the_hub_of_the_examples_is_that_of_the_page_on_documents() -> None:
    example = [*yaml.safe_load_all((ROOT / "examples" / "hub-and-spokes.yaml").read_text(encoding="utf-8"))]
    shown = [d for block in yaml_blocks(FORMAT) for d in yaml.safe_load_all(block)]
    spokes = [d for d in example if d["kind"] == "Interconnect"]
    assert len(spokes) == 2 and all(spoke in shown for spoke in spokes)


def test_the_map_of_the_architecture_is_the_tree() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))
    assert [path for path in sorted(told) if not (ROOT / path).exists()] == []
    source = ROOT / "src" / "isthmus"
    parts = [p for p in source.iterdir() if p.is_dir() and (p / "__init__.py").exists() and p.name != "backends"]
    parts += [p for p in (source / "backends").iterdir() if (p / "__init__.py").exists()]
    parts += [p for p in source.glob("*.py") if p.name != "__init__.py"]
    parts += [ROOT / name for name in ("tests", "tools", "bench", "docs/decisions", "examples", "run", ".ci/run")]
    names = {f"{p.relative_to(ROOT).as_posix()}{'/' if p.is_dir() else ''}" for p in parts}
    assert sorted(names - told) == []


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return ROOT / "tools" / "docs.py"


def test_generated_parts_are_current(docs: Path) -> None:
    done = subprocess.run([sys.executable, docs, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_figures_come_from_the_committed_run(docs: Path) -> None:
    from docs import filled  # type: ignore[import-not-found]  # noqa: PLC0415

    rows = [
        {"figure": "subnet added to first packet", "value": 0.25, "unit": "s", "reference": 0.2, "ratio": 1.25},
        {"figure": "another", "value": 1, "unit": "s", "reference": None, "ratio": None},
    ]
    page = "x\n<!-- figures: subnet added -->\nold\n<!-- /figures -->\ny\n"
    new = filled(page, rows)
    assert "old" not in new and "subnet added to first packet | 0.25 s | 0.2 s | 1.25" in new and "another" not in new
    assert new.startswith("x\n<!-- figures: subnet added -->\n") and new.endswith("<!-- /figures -->\ny\n")
    assert filled(new, rows) == new
    assert "not measured yet" in filled(page, [])


@pytest.mark.parametrize(
    ("page", "number", "kubeconfig", "plugin"),
    [
        ("cluster.md", 0, "kubeconfig", "isthmus"),
        ("cluster.md", 1, None, "isthmus"),
        ("kube-ovn.md", 0, "kubeconfig", "kube-ovn"),
    ],
)
def test_the_sites_of_the_documents_about_clusters_are_valid(
    tmp_path: Path, page: str, number: int, kubeconfig: str | None, plugin: str
) -> None:
    block = yaml_blocks(ROOT / "docs" / page)[number]
    (tmp_path / "site.yaml").write_text(block.replace("/etc/isthmus/keys", str(tmp_path)), encoding="utf-8")
    for name, holds in (("ca", "CERTIFICATE"), ("isthmus", "CERTIFICATE"), ("isthmus-key", "PRIVATE KEY")):
        (tmp_path / f"{name}.pem").write_text(f"-----BEGIN {holds}-----\n", encoding="utf-8")
    (site,) = load(tmp_path).sites
    assert site.kubeconfig == (tmp_path / kubeconfig if kubeconfig else None)
    assert site.plugin == plugin
