"""The audit, the benchmarks and the integrations are programs on top of the package: they use its
public names alone.

A program may import its own folder, and of the package the names in ``__all__``.  The test looks
for other ways to the same end as well: an import by name, attributes of the package, and code or
dotted names in strings, which child processes and ``sys.modules`` take.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import capriccio_patch

PACKAGE = Path(capriccio_patch.__file__).parent
NAME = PACKAGE.name
PROGRAMS = ("audit", "bench", "integrations")
FILES = sorted(path for program in PROGRAMS for path in (PACKAGE / program).rglob("*.py"))
PUBLIC = {*capriccio_patch.__all__, "__init__"}
OWN_NAMES = ("__package__", "__name__")


def private(source: str, path: Path) -> Iterator[str]:
    """What a module of a program uses of the package and should not, each in a few words."""
    home = path.relative_to(PACKAGE).parts[0]
    folder = [NAME, *path.relative_to(PACKAGE).parts[:-1]]
    tree = ast.parse(source)
    aliases = {NAME}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {it.asname for it in node.names if it.name == NAME and it.asname}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for it in names:
                    yield from _dotted(it.name, home)
            case ast.ImportFrom(module=module, level=level, names=names):
                base = folder[: len(folder) - level + 1] if level else []
                for it in names:
                    yield from _dotted(".".join([*base, *filter(None, [module])]), home, it.name)
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if owner in aliases:
                if attribute not in PUBLIC | {home}:
                    yield f"{owner}.{attribute}"
            case ast.Constant(value=str(text)):
                for found in re.findall(rf"\b{NAME}\.(\w+)", text):
                    if found not in PUBLIC | {home}:
                        yield f"{NAME}.{found} in a string"
                if found := re.search(rf"\bfrom {NAME} import ([\w, ]+)", text):
                    for name in re.split(r"[, ]+", found[1]):
                        if name not in PUBLIC:
                            yield f"{name} of {NAME} in a string"
            case ast.Call(func=function, args=args):
                yield from _call(_last(function), args, aliases)


def _dotted(module: str, home: str, name: str = "") -> Iterator[str]:
    """An import of `module`, or of `name` from it."""
    first, *rest = module.split(".")
    if first != NAME or rest[:1] == [home]:
        return
    if rest or (name and name not in PUBLIC | {home}):
        yield f"{module}{name and ': '}{name}"


def _call(function: str, args: list[ast.expr], aliases: set[str]) -> Iterator[str]:
    if function in ("getattr", "vars"):
        for each in args:
            if isinstance(each, ast.Name) and each.id in aliases:
                yield f"{function} of the package"
    if function in ("import_module", "__import__") and args and not _stays(args[0]):
        yield f"{function} of a name that only the run knows"


def _stays(name: ast.expr) -> bool:
    """Whether an import by this name can be seen to reach no further than the text shows."""
    if isinstance(name, ast.Constant):  # if it names the package, the string is looked at anyway
        return isinstance(name.value, str) and not name.value.startswith(".")
    match name:
        case ast.JoinedStr(
            values=[ast.FormattedValue(value=ast.Name(id=own)), ast.Constant(value=str(dot)), *_]
        ):
            return own in OWN_NAMES and dot.startswith(".")
    return False


def _last(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_program_uses_public_names_alone(path: Path) -> None:
    assert list(private(path.read_text(), path)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from capriccio_patch import originals",
        "from ... import kernel",
        "from ...runtime import kernel",
        "from ...errors import PatchError",
        "import capriccio_patch.runtime.kernel",
        "import capriccio_patch as it\nit.patching.status()",
        "import capriccio_patch\ncapriccio_patch.patching.status()",
        "import capriccio_patch\ngetattr(capriccio_patch, 'patching')",
        "import importlib\nimportlib.import_module('capriccio_patch.runtime')",
        "import importlib\nimportlib.import_module('..runtime', __package__)",
        "from importlib import import_module\nimport_module(name)",
        "from importlib import import_module\nimport_module(f'{other}.runtime')",
        "import sys\nsys.modules['capriccio_patch.runtime']",
        "run('import capriccio_patch; capriccio_patch.runtime.kernel')",
        "run('from capriccio_patch import status, originals')",
        "from capriccio_patch.bench import micro",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    assert list(private(source, PACKAGE / "audit/rows/module.py"))


@pytest.mark.parametrize(
    "source",
    [
        "from capriccio_patch import original, status",
        "import capriccio_patch\ncapriccio_patch.patch_all()",
        "from .. import scene",
        "from ..scene import Scene",
        "from ... import available_backends",
        "from capriccio_patch.audit import scene",
        "from importlib import import_module\nimport_module(f'{__package__}.{family}')",
        "import importlib\nimportlib.import_module('json')",
        "import os, socket\nfrom asyncio import run",
    ],
)
def test_a_public_name_is_let_pass(source: str) -> None:
    assert not list(private(source, PACKAGE / "audit/rows/module.py"))


def test_every_program_is_looked_at() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES} == set(PROGRAMS)
    assert len(FILES) > 40
