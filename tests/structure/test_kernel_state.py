"""The kernel's state is written in its own room; others set the hooks that it has for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.structure.test_hot_paths import functions, marked
from tests.structure.tree import RUNTIME, tree_of

HOOKS = {"dispatch", "idle", "listens", "polled_outside", "report", "wake_watchdog"}


def written(node: ast.AST) -> Iterator[str]:
    """The attributes of a kernel that `node` assigns."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store | ast.Del):
            match inner.value:
                case ast.Name(id="kernel") | ast.Attribute(attr="kernel" | "_kernel"):
                    yield inner.attr


@pytest.mark.parametrize(
    "name", [each for each in RUNTIME if each.split(".")[0] not in ("kernel", "audit", "bench")]
)
def test_only_hooks_are_set_from_outside(name: str) -> None:
    allowed = HOOKS | {
        "current"  # in a copy of `begin`
        for function, node in functions(tree_of(name), name)
        if function in marked() and "current" in written(node)
    }
    assert set(written(tree_of(name))) <= allowed


def test_an_assignment_is_found() -> None:
    tree = ast.parse("kernel.current = a\nself._kernel.threads, b = c\nkernel.budget -= 1\n")
    assert set(written(tree)) == {"current", "threads", "budget"}
