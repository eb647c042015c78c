"""What our documents show: commands, as a reader would type them, and documents of ours."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = re.compile(r"^(?:\./run|isthmus|export|kubectl|ctr) ")


def pages() -> list[Path]:
    """Every document of the repository."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path, heading: str = "") -> list[str]:
    """Lines of code blocks that start with a command, without their comments, in their order.

    heading  of the section that alone is meant
    """
    text = page.read_text(encoding="utf-8")
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in map(_bare, _code(text)) if COMMANDS.match(line)]


def yaml_blocks(page: Path) -> list[str]:
    """Its fenced `yaml` blocks, in their order."""
    return re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def _bare(line: str) -> str:
    return re.sub(r"\s+#.*$", "", line).strip()


def _code(text: str) -> list[str]:
    """Lines of fenced `sh` blocks and of indented blocks."""
    lines, fence = [], ""
    for line in text.splitlines():
        if line.startswith("```"):
            fence = "" if fence else line[3:] or "text"
        elif fence == "sh" or (not fence and line.startswith("    ")):
            lines.append(line)
    return lines
