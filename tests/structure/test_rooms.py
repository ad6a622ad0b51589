"""Who may know what: the rules of the rooms, as `docs/architecture.md` has them."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.structure.tree import MODULES, RUNTIME, imported, tree_of

MOST_LINES = 400

FAMILIES = ("threads", "sockets", "files", "processes", "offloaded")


def inside(room: str) -> list[str]:
    """The modules of a room."""
    return [name for name in RUNTIME if name == room or name.startswith(f"{room}.")]


def rooms_of(name: str) -> set[str]:
    """The rooms of the first level that a module imports from."""
    return {other.split(".")[0] for other, _ in imported(name)} - {name.split(".", maxsplit=1)[0]}


def imported_stdlib(name: str) -> set[str]:
    """The modules of the standard library that a module imports, at its head or in a function."""
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found & sys.stdlib_module_names


@pytest.mark.parametrize("name", inside("contracts"))
def test_contracts_know_no_room_but_the_ground_floor(name: str) -> None:
    assert rooms_of(name) <= {"cpython"}


@pytest.mark.parametrize("name", inside("cpython"))
def test_what_knows_cpython_knows_no_room(name: str) -> None:
    assert rooms_of(name) <= {"errors"}


@pytest.mark.parametrize("name", inside("kernel"))
def test_the_kernel_knows_threads_and_time_and_no_descriptor(name: str) -> None:
    assert rooms_of(name) <= {"contracts", "cpython"}
    assert not {module for module, _ in imported(name)} & {"contracts.descriptor"}


@pytest.mark.parametrize("name", inside("io"))
def test_io_knows_no_module_that_is_patched(name: str) -> None:
    assert rooms_of(name) <= {"contracts", "cpython", "kernel"}
    assert not imported_stdlib(name) & {"socket", "_socket", "select", "threading", "queue", "ssl"}


@pytest.mark.parametrize("name", inside("backends"))
def test_backends_know_the_contracts_and_not_the_kernel(name: str) -> None:
    assert "kernel" not in rooms_of(name)
    assert not {module for module, _ in imported(name)} & {"io.disk", "io.descriptors"}


@pytest.mark.parametrize("name", inside("wrappers"))
def test_wrappers_know_no_particular_scheme_or_scheduler(name: str) -> None:
    assert not rooms_of(name) & {"backends", "schedulers", "patching"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_wrappers_knows_no_other(family: str) -> None:
    others = tuple(f"wrappers.{other}" for other in FAMILIES if other != family)
    for name in inside(f"wrappers.{family}"):
        assert not [module for module, _ in imported(name) if module.startswith(others)], name


@pytest.mark.parametrize("name", inside("patching"))
def test_patching_knows_rows_and_not_what_is_in_them(name: str) -> None:
    known = {module for module, _ in imported(name) if module.startswith("wrappers")}
    assert known <= {"wrappers.base"}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_owns_one_thing(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


def test_no_room_has_a_public_name() -> None:
    """Importing a module binds its name in its package, over the function that has it."""
    for name in MODULES:
        package, _, own = name.rpartition(".")
        if own:
            found = sys.modules.get(f"capriccio_patch.{package}".rstrip("."))
            public = getattr(found, "__all__", ())
            assert own not in public, name


@pytest.mark.parametrize("name", RUNTIME)
def test_typing_is_for_checkers_alone(name: str) -> None:
    """Its import is a twentieth of a start.  What has a NamedTuple is imported later."""
    heads = [node for node in tree_of(name).body if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in heads if node.module == "typing" for alias in node.names}
    assert not names or "NamedTuple" in names
