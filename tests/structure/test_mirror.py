"""Each module of the package has a test file of its name, or a row in tests/README.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.tree import MODULES

TESTS = Path(__file__).parents[1]
FILES = [name for name, path in MODULES.items() if path.name != "__init__.py"]


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
    return TESTS.joinpath(*folders, f"test_{name.strip('_')}.py")


@pytest.mark.parametrize("module", FILES)
def test_a_module_has_a_test_file_of_its_name_or_a_row(module: str) -> None:
    assert own_file(module).exists() != (module in ROWS)


@pytest.mark.parametrize("module", ROWS)
def test_a_row_names_what_there_is(module: str) -> None:
    assert module in FILES
    assert ROWS[module]
    assert all((TESTS / file).exists() for file in ROWS[module])


def test_no_module_has_two_rows() -> None:
    named = [module for module, _ in rows()]
    assert len(named) == len(set(named))
