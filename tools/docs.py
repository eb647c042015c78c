"""Write what is generated, and check that links between our documents lead somewhere. `--check`: write nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from isthmus.api.schema import STORED, generate, text

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def generated() -> dict[Path, str]:
    schema = text(generate())
    return {STORED: schema, ROOT / "docs" / "schema" / "isthmus.json": schema}


def dead_links() -> list[str]:
    dead = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
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
