"""How a row of the wrappers' tables is applied, and how that is undone.

A row names one thing (`wrappers.base.Patch`).  How it is taken over follows from what it is:

* a C builtin is redirected in place (`interpose.Redirect`);
* an attribute of a class, C types included, is set there, and bound methods of existing instances
  that somebody stored are redirected one by one;
* of anything else, the attribute of the module is replaced.

A target is found without binding: what a class has in its dictionary is what is put back there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from types import BuiltinFunctionType, MethodDescriptorType, ModuleType, WrapperDescriptorType

from ..cpython import interpose
from ..cpython.collector import instances, of_kinds
from ..cpython.modules import is_standard, standard
from ..errors import CapriccioWarning
from ..wrappers.base import Existing, Patch, name_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Application",
    "find",
    "found_at",
    "import_targets",
]

_METHODS_OF_C = (MethodDescriptorType, WrapperDescriptorType)

RowsAgain = Callable[[list[Patch], "Any"], list[Patch]]


def _none(rows: list[Patch], module: Any) -> list[Patch]:
    return []


class Application:
    """The rows that have been applied, to tell of and to undo."""

    def __init__(self) -> None:
        self._existing: tuple[Existing, ...] = ()
        self._served: dict[str, list[Any]] = {}
        """By name: the modules whose rows have been applied."""
        self._rows: list[Patch] = []
        self._again: RowsAgain = _none
        self.of_kinds: Callable[..., list[Any]] = of_kinds
        """How existing objects are found."""
        self.also_executed: list[Callable[[Any], None]] = []
        """What else is called with each module that has been executed."""
        self.opened: list[Callable[[], None]] = []
        """What is to be called when the patch is over, last first."""
        self.undo: list[Callable[[], None]] = []
        self.how: dict[str, str] = {}
        """By name of a row: the way in which it was applied."""
        self.failed: dict[str, str] = {}
        """By name of a row: why it could not be applied."""
        self._told: set[str] = set()
        self.originals: dict[int, Any] = {}
        """By id of what is found at a path now: the callable that was there."""

    def apply_all(
        self, rows: list[Patch], existing: tuple[Existing, ...], again: RowsAgain
    ) -> None:
        """Apply all rows, and serve the objects that exist already.

        `again` makes the rows for another module of the name that given rows have.
        """
        import_targets(rows)  # not by locks of which half are taken over
        for row in rows:
            self.apply(row)
        _rehash()
        self._rows = rows
        self._served = {
            row.module: [sys.modules[row.module]] for row in rows if row.module in sys.modules
        }
        self._again = again
        self._existing = existing
        self._adopt(rows)

    def apply(self, row: Patch) -> None:
        """Apply one row; nothing is raised for one that can't be."""
        self._take_over(row)
        if row.install is not None and row.name in self.how:
            self.undo.append(row.install())

    def warn_of_failures(self, stacklevel: int) -> None:
        """One CapriccioWarning for what could not be taken over since the last.

        `stacklevel` as in `warnings.warn`, for the caller.  Main OS thread.
        """
        failed = [f"{name} ({self.failed[name]})" for name in self.failed.keys() - self._told]
        if failed:
            self._told.update(self.failed)
            text = f"not taken over, so that it may keep all threads waiting: {', '.join(failed)}"
            standard("warnings").warn(text, CapriccioWarning, stacklevel)

    def put_back(self) -> None:
        """Undo everything, last first."""
        releasers = {each.cls: each.release for each in self._existing if each.release is not None}
        if releasers:
            for instance in instances(releasers, self.of_kinds)[0]:
                for cls, release in releasers.items():
                    if isinstance(instance, cls):
                        release(instance)
        while self.undo:
            self.undo.pop()()
        _rehash()

    def close(self) -> None:
        """Call what is to be called when the patch is over, also after what fails of it."""
        if self.opened:
            try:
                self.opened.pop()()
            finally:
                self.close()

    def _take_over(self, row: Patch) -> None:
        try:
            parent, attribute, found = find(row)
        except AttributeError as error:
            self.failed[row.name] = str(error)
            return
        if isinstance(parent, type):
            self._apply_to_class(row, parent, attribute, found)
        elif isinstance(found, BuiltinFunctionType):
            real = interpose.clone(found)
            redirect = interpose.Redirect(found, row.replacement)
            self.undo.append(redirect.undo)
            self.originals[id(found)] = real
            self.how[row.name] = "in place"
        else:
            setattr(parent, attribute, row.replacement)
            self.undo.append(lambda: setattr(parent, attribute, found))
            self.originals[id(row.replacement)] = found
            self.how[row.name] = "attribute"

    def _apply_to_class(self, row: Patch, cls: type, attribute: str, found: Any) -> None:
        own = attribute in vars(cls)
        replacement = row.replacement
        in_c = type(replacement) in _METHODS_OF_C  # which have all of it
        if callable(replacement) and hasattr(replacement, "__name__") and not in_c:
            name_as(replacement, cls, attribute, found)
        interpose.set_attribute(cls, attribute, replacement)
        if own:
            self.undo.append(lambda: interpose.set_attribute(cls, attribute, found))
        else:
            self.undo.append(lambda: interpose.del_attribute(cls, attribute))
        self.originals[id(replacement)] = found
        self.how[row.name] = "in place"

    def executed(self, module: Any) -> list[Patch]:
        """Take over a C module made in addition to one that is taken over; returns its rows."""
        for each in self.also_executed:
            each(module)
        name = vars(module).get("__name__")
        served = self._served.get(name) if type(name) is str else None
        if served is None or not _is_of_c(module) or any(each is module for each in served):
            return []
        served.append(module)
        old = [row for row in self._rows if row.module == name and row.name in self.how]
        again = self._again(old, module)
        for row in again:
            self.apply(row)
        return again

    def _adopt(self, rows: list[Patch]) -> None:
        """Serve what exists already: stored bound methods, state kept in instances, and C modules
        that were made more than once (tests do that)."""
        replaced: dict[type, dict[str, Any]] = {}
        for row in rows:
            if row.name in self.how and "." in row.path:
                cls, attribute, found = find(row)
                if isinstance(cls, type) and found is row.replacement:
                    replaced.setdefault(cls, {})[attribute] = found
        classes = (each.cls for each in self._existing)
        found, methods = instances((*replaced, *classes, ModuleType), self.of_kinds)
        again = [row for each in found if type(each) is ModuleType for row in self.executed(each)]
        for existing in self._existing:
            if existing.cls in replaced:
                for each in found:
                    if isinstance(each, existing.cls):
                        existing.adopt(each)
        for method in methods:
            owner = method.__self__
            for cls in type(owner).__mro__:
                replacement = replaced.get(cls, {}).get(method.__name__)
                if replacement is not None:
                    redirect = interpose.MethodRedirect(method, replacement.__get__(owner))
                    self.undo.append(redirect.undo)
                    break
        if again:
            self._adopt(again)


def import_targets(rows: list[Patch]) -> None:
    """Import the modules in which `rows` find what they take over."""
    for module in dict.fromkeys(row.module for row in rows if row.owner is None):
        if module not in sys.modules:
            try:
                import_module(module)
            except ImportError:
                pass  # its rows will say so


def find(row: Patch) -> tuple[Any, str, Any]:
    """Where a row's target is found: its parent, the attribute's name, and what is there now.

    AttributeError when there is no such thing, ModuleNotFoundError without its module.
    """
    if row.owner is not None:
        return _resolved(row.owner, row.path.rpartition(".")[2])
    return _resolved(sys.modules.get(row.module) or import_module(row.module), row.path)


def found_at(name: str) -> Any:
    """What a dotted name leads to.

    AttributeError or ModuleNotFoundError when there is no such thing.
    """
    module, path = _split(name)
    return _resolved(import_module(module), path)[2]


def _resolved(target: Any, path: str) -> tuple[Any, str, Any]:
    """The parent, the name and the value of the attribute at `path`, which starts at `target`."""
    found = target
    for attribute in path.split("."):
        parent = found
        found = _attribute(parent, attribute)
    return parent, attribute, found


def _attribute(parent: Any, name: str) -> Any:
    if isinstance(parent, type):
        for cls in parent.__mro__:
            if name in cls.__dict__:
                return cls.__dict__[name]
    return getattr(parent, name)


def _split(name: str) -> tuple[str, str]:
    """The longest importable prefix of a dotted name, and the rest."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            import_module(module)
        except ModuleNotFoundError:
            continue
        return module, ".".join(parts[end:])
    raise ModuleNotFoundError(f"no module in {name!r}")


def _is_of_c(module: ModuleType) -> bool:
    """Whether it was made by the import system of the interpreter's C code, and not as a stand-in
    by a program."""
    from importlib.machinery import BuiltinImporter, ExtensionFileLoader

    if not is_standard(vars(module)):
        return False
    loader = getattr(vars(module).get("__spec__"), "loader", None)
    return loader is BuiltinImporter or isinstance(loader, ExtensionFileLoader)


def _rehash() -> None:
    """Keep builtins members of ``os.supports_fd`` and the like: redirected they hash otherwise."""
    for name, each in vars(os).items():
        if name.startswith("supports_") and type(each) is set:
            members = list(each)
            each.clear()
            each.update(members)
