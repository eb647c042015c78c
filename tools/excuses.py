"""Count what lets a test pass without proof, and hold it against the argued list `tests/allowed.txt`.

Counted: skips and expected failures, retries, sleeps of more than a second. A line of the list reads

    PATH KIND COUNT  reason

and must match exactly, so that an excuse that has gone is taken off the list too.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "allowed.txt"
SKIPS = {"skip", "skipif", "skipIf", "skipUnless", "skipTest", "importorskip", "xfail", "expectedFailure"}
RETRIES = {"retry", "retries", "flaky", "rerun", "reruns", "retrying"}
LONGEST = 1.0
"""Seconds that a test may sleep."""


def excuses(tree: ast.AST) -> Iterator[str]:
    """The kind of each excuse in a module: skip, retry or sleep."""
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and _name(node) in SKIPS:
            yield "skip"
        elif _name(node).lower() in RETRIES:
            yield "retry"
        elif isinstance(node, ast.Call) and _name(node.func) == "sleep" and node.args:
            yield from _sleep(node.args[0], constants)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.name
    return node.arg if isinstance(node, (ast.keyword, ast.arg)) and node.arg else ""


def _sleep(length: ast.expr, constants: dict[str, object]) -> Iterator[str]:
    value = length.value if isinstance(length, ast.Constant) else constants.get(_name(length))
    if isinstance(value, (int, float)) and value > LONGEST:
        yield "sleep"


def counted(root: Path) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted((root / "tests").rglob("*.py")):
        for kind in excuses(ast.parse(path.read_bytes())):
            found[str(path.relative_to(root)), kind] += 1
    return found


def allowed(path: Path) -> tuple[dict[tuple[str, str], int], list[str]]:
    """The list, and what is wrong with it."""
    found: dict[tuple[str, str], int] = {}
    wrong = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(maxsplit=3)
        if len(words) < 4 or not words[2].isdigit():
            wrong.append(f"{path.name}:{number}: write PATH KIND COUNT reason")
            continue
        found[words[0], words[1]] = int(words[2])
    return found, wrong


def main() -> int:
    listed, wrong = allowed(LIST)
    found = counted(ROOT)
    for key in sorted({*found, *listed}):
        if found[key] != listed.get(key, 0):
            wrong.append(f"{key[0]}: {found[key]} of kind {key[1]}, {listed.get(key, 0)} argued in {LIST.name}")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"excuses in tests: {found.total()}, argued: {sum(listed.values())}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
