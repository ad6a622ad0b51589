"""Whose module it is: the standard library's, the runtime's, or one of the program's own.

Facts.  ``sys.modules`` is asked before any path.  So a program that has a ``token`` or ``resource``
of its own, which a plain ``python`` finds first, would find what the runtime has imported for
itself.  And what the program has under the name of a module of the standard library is not what the
runtime wants, neither to use it nor to take it over.

Decision.  The runtime imports with the standard library first on the path and what is installed
next, and puts aside what it alone has imported.  When the program imports such a name the path
decides, as ever: if it leads to where the runtime's module came from, the program gets that very
module, else its own.

Cost.  The first import of each such module searches the path, as it does in a plain ``python``.

1. `is_standard` goes by where a module comes from and not by what it is called.
2. What is found without a path (built in, frozen) stays where it is, and so does what stands under
   another name than its own (``os.path``).
3. Once the program has imported a module it is the program's: to reload it or to import it anew
   goes as ever.

This is imported before the path is put in order, so it imports nothing that a path leads to.
"""

from __future__ import annotations

import os
import sys

from .collector import NoCollections
from .evaluation import texts_compiled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import (
        BuiltinImporter,
        ExtensionFileLoader,
        FrozenImporter,
        ModuleSpec,
        PathFinder,
        SourceFileLoader,
        SourcelessFileLoader,
    )
    from importlib.util import module_from_spec, spec_from_file_location
    from os.path import isfile
    from types import ModuleType
    from typing import Any
else:
    from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec, module_from_spec
    from _frozen_importlib_external import (
        ExtensionFileLoader,
        PathFinder,
        SourceFileLoader,
        SourcelessFileLoader,
        spec_from_file_location,
    )
    from _frozen_importlib_external import _path_isfile as isfile

    ModuleType = type(sys)

__all__ = [
    "Importing",
    "entries_of_option_m",
    "imported",
    "is_standard",
    "put_aside",
    "standard",
    "whole",
]

_PACKAGE = __name__.partition(".")[0]
_INSIDE = f"{_PACKAGE}."

_DIRECTORY: str = getattr(sys, "_stdlib_dir", None) or os.path.dirname(os.__file__)
_EXTENSIONS = os.path.join(
    sys.base_exec_prefix, sys.platlibdir, os.path.basename(_DIRECTORY), "lib-dynload"
)
# The prefix keeps a `..` of how Python was started, the path does not.
if _EXTENSIONS not in sys.path:
    _EXTENSIONS = os.path.normpath(_EXTENSIONS)
_PLACES = (_DIRECTORY, _EXTENSIONS)
_WITHIN = tuple(place + os.sep for place in _PLACES)
_INSTALLED = (f"{os.sep}site-packages", f"{os.sep}dist-packages")
_NOWHERE = ("built-in", "frozen")
"""The origins of what is in the interpreter itself."""

_aside: dict[str, ModuleType] = {}


def is_standard(namespace: dict[str, Any]) -> bool:
    """Whether the module with this namespace is the standard library's.

    Calls nothing of the program's.  Any OS thread, signal handlers.
    """
    spec = namespace.get("__spec__")
    if type(spec) is not ModuleSpec or type(spec.origin) is not str:
        return False
    origin = spec.origin
    if origin in _NOWHERE:
        return True
    return origin.startswith(_WITHIN) and not any(part in origin for part in _INSTALLED)


def imported(name: str) -> Any:
    """The standard library's module `name` if the program has imported it, else None."""
    module = sys.modules.get(name)
    return module if is_standard(getattr(module, "__dict__", {})) else None


def standard(name: str) -> Any:
    """The standard library's module `name`, whatever the program has under that name.

    It is imported if need be, and put aside then.  ModuleNotFoundError if there is none.  Any OS
    thread.
    """
    return imported(name) or _aside.get(name) or _load(name)


def whole(name: str) -> Any:
    """As `standard`, but none that the program is still importing: what asks on another OS thread
    may come in the midst."""
    found = imported(name)
    if found is not None and not getattr(found.__spec__, "_initializing", False):
        return found
    return _aside.get(name) or _load(name)


def _load(name: str) -> ModuleType:
    spec = (
        BuiltinImporter.find_spec(name)
        or FrozenImporter.find_spec(name)
        or PathFinder.find_spec(name, _PLACES)
    )
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"the standard library has no module {name!r}", name=name)
    module = module_from_spec(spec)
    with texts_compiled:
        spec.loader.exec_module(module)
    _keep(name, module)  # nobody is given what is not whole
    return module


def put_aside(names: Iterable[str]) -> None:
    """Have modules of `names` no longer be imported; the program has imported none of them.

    The package itself stays, and what is being imported right now.
    """
    for name in names:
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        if (
            type(module) is ModuleType
            and type(spec) is ModuleSpec
            and spec.name == name
            and type(spec.loader) in _AGAIN
            and name.partition(".")[0] != _PACKAGE
            and not getattr(spec, "_initializing", False)
        ):
            del sys.modules[name]
            _keep(name, module)


def entries_of_option_m() -> int:
    """How many entries ``python -m`` has put first on the path: the current directory, if that
    still exists, or none.  A debugger that runs modules has put its own there, and that one
    behind."""
    if sys.flags.safe_path:
        return 0
    try:
        here = os.getcwd()
    except OSError:
        return 0
    return int(sys.path[:1] in ([here], [""]))


class Importing:
    """Within it the runtime imports for itself, and makes what it keeps.  Not for imports of the
    program's modules."""

    __slots__ = ("_before", "_collections", "_first", "_here")

    def __enter__(self) -> None:
        self._collections = NoCollections()
        self._collections.__enter__()
        # While ``python -m`` looks for its module it has the current directory on the path.
        by_option = sys.argv[:1] == ["-m"]
        self._here = sys.path[: by_option and entries_of_option_m()]
        # From CPython 3.11.9 to 3.12.4 it imports one that may be the program's, by PYTHONPATH.
        if by_option and "threading" in sys.modules and imported("threading") is None:
            del sys.modules["threading"]
        self._first = [*_PLACES, *(place for place in sys.path if place.endswith(_INSTALLED))]
        self._before = frozenset(sys.modules)
        _begin_to_find()
        sys.path[: len(self._here)] = self._first

    def __exit__(self, *_: object) -> None:
        if sys.path[: len(self._first)] == self._first:
            sys.path[: len(self._first)] = self._here
        put_aside(sys.modules.keys() - self._before)
        self._collections.__exit__()


def _keep(name: str, module: ModuleType) -> None:
    _aside[name] = module
    _begin_to_find()


def _begin_to_find() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


class _Finder:
    """Finds what is put aside, where the finders behind it lead to the place it came from, and the
    package's own modules, which are many: for those that are files of Python it needs one look."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the import system asks for each module that is not imported."""
        if path and name.startswith(_INSIDE):
            return self._find_own(name, f"{path[0]}{os.sep}{name.rpartition('.')[2]}")
        module = _aside.get(name)
        if module is None:
            return None
        found = self._find(name, path, target)
        old = module.__spec__
        if found is not None and old is not None and found.origin == old.origin:
            loader = found.loader
            again = _AGAIN.get(type(loader))
            if again is not None:
                found.loader = again(name, loader.path)  # type: ignore[union-attr]
        return found

    def _find_own(self, name: str, place: str) -> ModuleSpec | None:
        for file, inside in ((f"{place}.py", None), (f"{place}{os.sep}__init__.py", [place])):
            if isfile(file):
                loader = SourceFileLoader(name, file)
                return spec_from_file_location(
                    name, file, loader=loader, submodule_search_locations=inside
                )
        return None

    def _find(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


class _Again:
    """Gives the module back that was put aside; the rest is as for its file."""

    _spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module, which is the program's from now on."""
        module = _aside.pop(spec.name, None)
        if module is None:
            return super().create_module(spec)  # type: ignore[misc,no-any-return]
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed; the import system has given it another spec."""
        if self._spec is None:
            super().exec_module(module)  # type: ignore[misc]
        else:
            module.__spec__ = self._spec


class _AgainSource(_Again, SourceFileLoader):  # type: ignore[misc]
    pass


class _AgainSourceless(_Again, SourcelessFileLoader):
    pass


class _AgainExtension(_Again, ExtensionFileLoader):  # type: ignore[misc]
    pass


_AGAIN: dict[type, Any] = {
    SourceFileLoader: _AgainSource,
    SourcelessFileLoader: _AgainSourceless,
    ExtensionFileLoader: _AgainExtension,
}
_finder: Any = _Finder()
