"""Who may import whom: a layer imports only from the layers before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import capriccio_patch

PACKAGE = Path(capriccio_patch.__file__).parent

LAYERS = (
    {"errors", "exits", "frames"},
    {"config", "interpose"},
    {"originals", "thread_state"},
    {"runtime"},
    {"schedulers", "backends"},
    {"wrappers"},
    {"drawing"},
    {"scheduling"},
    {"applying"},
    {"offload", "patching"},
    {"__init__"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ONE_BODY = {"offload", "patching"}  # each calls the other, at run time
PROGRAMS = {"audit", "bench"}  # they use the package as any program does

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


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in PROGRAMS:
            yield ".".join(parts), path


MODULES = dict(modules())


def imported(name: str, tree: ast.AST) -> Iterator[str]:
    """The modules of the package that a module imports, as dotted names within the package."""
    parts = name.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = parts[: len(parts) - node.level]
            elif (node.module or "").split(".")[0] == PACKAGE.name:
                base = []
            else:
                continue
            module = (node.module or "").split(".") if node.level else node.module.split(".")[1:]  # type: ignore[union-attr]
            prefix = [*base, *filter(None, module)]
            for alias in node.names:
                yield ".".join([*prefix, alias.name] if not module or not module[0] else prefix)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE.name:
                    yield alias.name.partition(".")[2] or "__init__"


def layer(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def test_every_module_has_a_layer() -> None:
    assert {layer(name) for name in MODULES} - set(LEVEL) == set()


def test_the_imports_are_found() -> None:
    found = set(imported("wrappers.locks", ast.parse(MODULES["wrappers.locks"].read_text())))
    assert {"originals", "runtime.waitqueue", "wrappers.base"} & found
    assert any(layer(each) == "runtime" for each in found)


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_from_layers_before(name: str) -> None:
    mine = layer(name)
    for other in imported(name, ast.parse(MODULES[name].read_text())):
        theirs = layer(other)
        if theirs in LEVEL and theirs != mine and not {theirs, mine} <= ONE_BODY:
            assert LEVEL[theirs] < LEVEL[mine], f"{name} imports {other}"


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) == "backends"])
def test_backends_do_not_know_the_kernel(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    assert not any(each.startswith("runtime.kernel") for each in imported(name, tree))


@pytest.mark.parametrize("name", [name for name in MODULES if layer(name) == "wrappers"])
def test_wrappers_know_no_particular_scheme(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    assert not any(layer(each) in ("backends", "schedulers") for each in imported(name, tree))


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
    "name", [name for name in MODULES if layer(name) not in ("originals", "wrappers")]
)
def test_what_is_patched_is_not_used(name: str, taken_over: set[str]) -> None:
    """Those names belong to the program; the package has `originals`."""
    tree = ast.parse(MODULES[name].read_text())
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
