"""Write what is generated, and check that links between our documents lead somewhere. `--check`: write nothing.

Generated are the JSON Schema, the CRDs, the rights, the workloads and, in pages, what stands between
`<!-- figures: TEXT -->` and `<!-- /figures -->`: the committed run's figures whose names begin with the text.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isthmus.api import crds, rbac, workloads
from isthmus.api.schema import STORED, generate, text

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
RESULTS = ROOT / "bench" / "results" / "latest.json"
FIGURES = re.compile(r"(<!-- figures: (?P<what>[^>]+?) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    schema = text(generate())
    found = {STORED: schema, ROOT / "docs" / "schema" / "isthmus.json": schema}
    found[ROOT / "charts" / "isthmus" / "crds" / "kubeovn.yaml"] = crds.text()
    found[ROOT / "charts" / "isthmus" / "isthmus.yaml"] = workloads.text()
    found[ROOT / "examples" / "kubernetes" / "rbac.yaml"] = rbac.text()
    found[ROOT / "examples" / "kubernetes" / "rbac-kube-ovn.yaml"] = rbac.text(rbac.PURPOSE, rbac.BESIDE)
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    for page in pages():
        old = page.read_text(encoding="utf-8")
        if FIGURES.search(old):
            found[page] = filled(old, rows)
    return found


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def filled(page: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The page with its figures."""
    known = list(rows)
    return FIGURES.sub(
        lambda m: f"{m[1]}{_table([r for r in known if r['figure'].startswith(m['what'])])}\n{m[3]}", page
    )


def _table(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "not measured yet"
    lines = ["| figure | value | reference | ratio | aim |", "|---|---|---|---|---|"]
    for row in rows:
        reference = "none" if row["reference"] is None else f"{row['reference']:g} {row['unit']}"
        ratio = "none" if row["ratio"] is None else f"{row['ratio']:.2f}"
        aim = f"{row['aim']}: {'met' if row['met'] else 'missed'}" if row.get("aim") else "none"
        lines.append(f"| {row['figure']} | {row['value']:g} {row['unit']} | {reference} | {ratio} | {aim} |")
    return "\n".join(lines)


def dead_links() -> list[str]:
    dead = []
    for page in pages():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(ROOT)}: {target} does not exist")
    return dead


def main() -> int:
    wrong = dead_links()
    for path, content in generated().items():
        if path.exists() and path.read_text(encoding="utf-8") == content:
            continue
        if "--check" in sys.argv[1:]:
            wrong.append(f"{path.relative_to(ROOT)} is not current: ./run docs writes it")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
