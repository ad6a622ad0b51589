"""The package as its imports draw it, for the tests of its structure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import capriccio_patch

PACKAGE = Path(capriccio_patch.__file__).parent
PROGRAMS = ("audit", "bench", "integrations")
"""They use the package as any program does."""


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        yield ".".join(parts), path


MODULES = dict(_modules())
"""Every module by its dotted name within the package; the package itself is \"\"."""
RUNTIME = {name: path for name, path in MODULES.items() if name.split(".")[0] not in PROGRAMS}


@cache
def tree_of(name: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(MODULES[name].read_text())


def imported(name: str, tree: ast.AST | None = None) -> set[tuple[str, str]]:
    """What a module imports of the package, anywhere in its text: (module, name in it or "")."""
    found: set[tuple[str, str]] = set()
    package = name.split(".") if name else []
    if name in MODULES and MODULES[name].name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree or tree_of(name)):
        if isinstance(node, ast.ImportFrom):
            words = node.module.split(".") if node.module else []
            if node.level:
                words = package[: len(package) - node.level + 1] + words
            elif words[0] == PACKAGE.name:
                words = words[1:]
            else:
                continue
            module = ".".join(words)
            for alias in node.names:
                inner = f"{module}.{alias.name}" if module else alias.name
                found.add((inner, "") if inner in MODULES else (module, alias.name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                first, _, rest = alias.name.partition(".")
                if first == PACKAGE.name:
                    found.add((rest, ""))
    return found


def edges(names: dict[str, Path]) -> dict[str, set[str]]:
    """By module: the modules that it imports.  A package is more than its ``__init__``, whose
    imports are its own."""
    return {name: {module for module, _ in imported(name)} for name in names}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that can reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1 or node in graph.get(node, ()):
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found
