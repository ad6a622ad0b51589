"""What stands twice for speed says so where it stands, and docs/hot_paths.md lists it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.structure.tree import RUNTIME, tree_of

LIST = Path(__file__).parents[2] / "docs/hot_paths.md"
MARK = re.compile(r"inlined: goes with\s+(?:#\s+)?a\s+(?:#\s+)?compiled\s+(?:#\s+)?core")


def functions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions in a module, with their dotted names, outer ones first."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}"
            if isinstance(child, ast.FunctionDef):
                yield inner, child
            yield from functions(child, inner)
        else:
            yield from functions(child, name)


def marked() -> set[str]:
    """The functions that say that they hold a copy."""
    found = set()
    for name, path in RUNTIME.items():
        text = path.read_text()
        for match in MARK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            inside = [
                function
                for function, node in functions(tree_of(name), name)
                if node.lineno <= line <= (node.end_lineno or 0)
            ]
            assert inside, f"{name}:{line} is in no function"
            found.add(inside[-1])
    return found


def listed() -> set[str]:
    """The second column of the table."""
    rows = [row.split("|")[2] for row in LIST.read_text().splitlines() if row.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def test_each_copy_is_listed() -> None:
    assert marked() == listed()
