"""Copies the source of parts, and of all that they use, into a program that stands alone."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "parts"
_MODULES = (
    *("prelude", "locks", "queues", "pools", "state", "sockets", "pipes", "processes", "forks"),
    *("signals", "finalizers", "actors", "channels", "endings"),
)
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class _Definition:
    """A function, class or constant at the top of a module of parts."""

    position: tuple[int, int]
    source: str
    uses: frozenset[str]


@functools.cache
def _all() -> tuple[dict[str, _Definition], dict[str, set[str]]]:
    """Definitions by name, and the import statements that bind a name."""
    definitions: dict[str, _Definition] = {}
    imports: dict[str, set[str]] = {}
    for number, module in enumerate(_MODULES):
        text = (_FOLDER / f"{module}.py").read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    imports.setdefault(alias.name.partition(".")[0], set()).add(ast.unparse(node))
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                continue
            uses = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                decorators = {id(n) for d in node.decorator_list for n in ast.walk(d)}
                uses = {
                    each.id
                    for each in ast.walk(node)
                    if isinstance(each, ast.Name) and id(each) not in decorators
                }
            source = ast.get_source_segment(text, node) or ""
            for name in names:
                if name in definitions:
                    raise ValueError(f"{name} is defined twice among the parts")
                definitions[name] = _Definition(
                    (number, node.lineno), source, frozenset(uses - {name})
                )
    return definitions, imports


def embed(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """The import statements, and the definitions in order, for code made of `texts`."""
    definitions, imports = _all()
    wanted = {name for text in texts for name in _NAME.findall(text)}
    found: set[str] = set()
    modules: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name in definitions and name not in found:
            found.add(name)
            wanted |= definitions[name].uses
        elif name in imports:
            modules.add(name)
    lines = {line for name in modules for line in imports[name]}
    used = sorted((definitions[name] for name in found), key=lambda each: each.position)
    return sorted(lines), [each.source for each in used]
