"""Each module has a test file of its name, or a row in tests/README.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.tree import RUNTIME

TESTS = Path(__file__).parents[1]
ROOMS = ("contracts.", "kernel.", "preemption.", "signals.", "wrappers.threads.")


def expanded(path: str) -> Iterator[str]:
    """The paths that one with alternatives in braces stands for."""
    match = re.search(r"\{([\w,]+)\}", path)
    if match is None:
        yield path
        return
    for each in match[1].split(","):
        yield path[: match.start()] + each + path[match.end() :]


def rows() -> Iterator[tuple[str, list[str]]]:
    """The modules in the table, each with the test files that its row names."""
    for line in (TESTS / "README.md").read_text().splitlines():
        if line.startswith("| `"):
            _, modules, files, *_ = line.split("|")
            for module in re.findall(r"`([\w/{},]+\.py)`", modules):
                for path in expanded(module):
                    name = path.removesuffix(".py").replace("/", ".")
                    yield name, re.findall(r"`([\w/]+\.py)`", files)


ROWS = dict(rows())


def own_file(module: str) -> Path:
    *folders, name = module.split(".")
    return TESTS.joinpath(*folders, f"test_{name}.py")


@pytest.mark.parametrize("module", [name for name in RUNTIME if name.startswith(ROOMS)])
def test_a_module_is_tested_in_one_place(module: str) -> None:
    assert own_file(module).exists() != (module in ROWS)


@pytest.mark.parametrize("module", ROWS)
def test_a_row_names_what_there_is(module: str) -> None:
    assert module in RUNTIME
    assert ROWS[module]
    assert all([*TESTS.rglob(file)] for file in ROWS[module])
