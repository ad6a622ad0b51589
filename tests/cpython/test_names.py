"""Nothing that the package needs of an interpreter is missing without a word."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.api import _Applied
from capriccio_patch.cpython import names
from capriccio_patch.wrappers.base import Late, Patch
from capriccio_patch.wrappers.table import Table
from tests.conftest import RunScript

PACKAGE = Path(capriccio_patch.__file__).parent
APART = ("audit", "bench")
"""Programs of the package, which say themselves what fails."""
WITHOUT = {
    "sys._stdlib_dir": "the folder of `os` is the same",
    "sys._is_gil_enabled": "only builds that may lack a GIL have it",
    "linecache._register_code": "used after the patch: an AttributeError",
    "linecache._interactive_cache": "not used",
    "runpy._run_module_as_main": "an AttributeError of the command",
    "posix._exit": "the interpreter itself needs it",
}
"""Private names whose lack does no harm, or is an error in any case, and why."""
LATER = {"_asyncio._swap_current_task": 14}
"""Not used before that CPython 3."""


def _is_private(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def _named_in(path: Path) -> set[str]:
    """The private names of modules of the standard library that a module of the package uses."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [*ast.walk(tree)]
    modules = {
        alias.asname or alias.name: alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in sys.stdlib_module_names
    }
    found = set()
    for node in nodes:
        match node:
            case ast.Attribute(ast.Name(module), name) if module in modules:
                found.add((modules[module], name))
            case ast.Call(
                ast.Name("getattr" | "hasattr"), [ast.Name(module), ast.Constant(name), *_]
            ) if module in modules:
                found.add((modules[module], name))
            case ast.Call(ast.Name("Patch"), [_, ast.Constant(module), ast.Constant(name), *_]) if (
                "." not in name
            ):
                found.add((module, name))
    return {f"{module}.{name}" for module, name in found if _is_private(name)}


def named() -> list[str]:
    """All of them that this interpreter has."""
    found = set(names._NEEDED)
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in APART:
            found |= _named_in(path)
    unused = {each for each, minor in LATER.items() if sys.version_info[1] < minor}
    return [each for each in sorted(found - {*WITHOUT} - unused) if _is_there(each)]


def _is_there(name: str) -> bool:
    module, _, attribute = name.partition(".")
    if module == "_asyncio":
        importlib.import_module("asyncio")  # the other way round it gets half of the C functions
    return hasattr(importlib.import_module(module), attribute)


def test_some_are_found() -> None:
    assert {"_thread._count", "threading._active", "_asyncio._set_running_loop"} < {*named()}
    assert len(named()) > 10


def test_the_table_knows_this_version() -> None:
    assert names.missing() == []
    minor = sys.version_info[1]
    assert [n for n, (first, last) in names._NEEDED.items() if first <= minor <= last] == [
        each for each in names._NEEDED if _is_there(each)
    ]


SCRIPT = """
import importlib, sys, warnings
import asyncio, traceback, threading, _asyncio, linecache, opcode, types, warnings
warnings.simplefilter("error")
module, _, name = sys.argv[1].partition(".")
module = importlib.import_module(module)
delattr(module, name)
try:
    import capriccio_patch
    capriccio_patch.patch_all()
except Exception as error:
    kind = type(error)
    assert kind.__name__ in ("PatchError", "CapriccioWarning"), repr(error)
    text = str(error)
    assert name in text, text
    if kind.__name__ == "PatchError":
        sys.exit()
    warnings.simplefilter("ignore")
failed = capriccio_patch.status()["failed"]
assert any(name in each + failed[each] for each in failed), failed
"""


@pytest.mark.parametrize("name", named())
def test_one_that_is_missing_is_noticed(name: str, run_script: RunScript) -> None:
    done = run_script(SCRIPT, name)
    assert done.returncode == 0, done.stderr


def _fails_to_apply(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    made = Table.__init__

    def with_one_more(table: Any, *args: Any) -> None:
        made(table, *args)
        table.rows.append(Patch("time", "time", path, print))

    monkeypatch.setattr(Table, "__init__", with_one_more)


def test_a_row_without_its_target_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _fails_to_apply(monkeypatch, "sleep_well")
    with pytest.warns(capriccio_patch.CapriccioWarning, match=r"time\.sleep_well \(.+\)$") as seen:
        capriccio_patch.patch_all()
    try:
        assert [each.filename for each in seen] == [__file__]
        assert "sleep_well" in capriccio_patch.status()["failed"]["time.sleep_well"]
        assert capriccio_patch.is_patched("time.sleep")
    finally:
        capriccio_patch.unpatch_all()


@pytest.mark.parametrize("kind", [AttributeError, ModuleNotFoundError])
def test_a_module_that_is_imported_later_warns(
    monkeypatch: pytest.MonkeyPatch, patched: None, kind: type[Exception]
) -> None:
    def lacking() -> list[Patch]:
        raise kind("it has no such name")

    applied: _Applied = vars(capriccio_patch.api)["_applied"]
    monkeypatch.setattr(applied.table, "late", (Late("time", "time", lacking),))
    with pytest.warns(capriccio_patch.CapriccioWarning, match="time .*no such name"):
        applied.imported("time", importlib.import_module("time"))
    assert capriccio_patch.status()["failed"] == {"time": f"{kind.__name__}: it has no such name"}
