"""Who may import whom: a room imports only from the rooms below it, and no circle is anywhere.

Each file is looked at, wherever in it an import stands, and there is no exemption.
"""

from __future__ import annotations

import ast

import pytest

import capriccio_patch
from tests.structure.tree import RUNTIME, circles, edges, imported, tree_of

LAYERS = (
    {"errors"},
    {"cpython"},
    {"config", "contracts"},
    {"kernel"},
    {"io"},
    {"preemption"},
    {"signals", "graph"},
    {"backends", "diagnosis", "schedulers"},
    {"wrappers.base", "wrappers.caller"},
    {"wrappers.time", "wrappers.threads", "wrappers.sockets", "wrappers.files"},
    {"wrappers.processes", "wrappers.offloaded"},
    {"wrappers.table"},
    {"core", "patching"},
    {"libraries", "processors"},
    {"api"},
    {""},
    {"__main__", "ps", "sitecustomize"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# The public name of a module and that of the C module behind it.
BEHIND = {
    "posix": "os",
    "_thread": "threading",
    "_socket": "socket",
    "_queue": "queue",
    "_io": "io",
    "_signal": "signal",
    "_ssl": "ssl",
}


def room(name: str) -> str:
    """The folder or module of the first level that a module lies in; in ``wrappers``, of the
    second."""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "wrappers" else words[0]


ROOMS = {name: room(name) for name in RUNTIME if name != "wrappers"}


def test_every_module_has_a_room() -> None:
    assert set(ROOMS.values()) == set(LEVEL)


def test_the_imports_are_found() -> None:
    found = imported("wrappers.threads.locks")
    assert ("cpython.originals", "") in found
    assert ("contracts.thread", "Thread") in found
    text = "def f():\n    from ..files import paths\n    import capriccio_patch.api\n"
    assert imported("wrappers.threads.locks", ast.parse(text)) == {
        ("wrappers.files.paths", ""),
        ("api", ""),
    }


@pytest.mark.parametrize("name", ROOMS)
def test_imports_only_from_rooms_below(name: str) -> None:
    for other, _ in imported(name):
        mine, theirs = ROOMS[name], ROOMS[other]
        if theirs != mine:
            assert LEVEL[theirs] < LEVEL[mine], f"{name} imports {other}"


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert circles(graph) == [["b", "c"], ["e"]]


def test_no_modules_import_each_other() -> None:
    assert circles(edges(RUNTIME)) == []


def test_no_rooms_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for name, mine in ROOMS.items():
        graph.setdefault(mine, set()).update({ROOMS[other] for other, _ in imported(name)} - {mine})
    assert circles(graph) == []


FIRST = ("cpython.names", "cpython.originals")
"""What runs when the package is imported, before there can be a patch."""
ASKS = ("diagnosis.ps", "diagnosis.reaching")
"""What runs in a process of its own, which asks another one."""


@pytest.fixture(scope="module")
def taken_over() -> set[str]:
    """What is patched here, by its own name and by that of the public module."""
    capriccio_patch.patch_all()
    names = set(capriccio_patch.status()["how"])
    capriccio_patch.unpatch_all()
    public = set()
    for name in names:
        module, _, rest = name.partition(".")
        public.add(f"{BEHIND.get(module, module)}.{rest}")
    return names | public


@pytest.mark.parametrize(
    "name",
    [each for each in RUNTIME if each not in FIRST + ASKS and not each.startswith("wrappers")],
)
def test_what_is_patched_is_not_used(name: str, taken_over: set[str]) -> None:
    """Those names belong to the program; the package has `originals`."""
    tree = tree_of(name)
    stdlib = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    used = {
        f"{stdlib[node.value.id]}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in stdlib
    }
    used |= {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level
        for alias in node.names
    }
    assert used & taken_over == set()
