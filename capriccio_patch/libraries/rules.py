"""Doing for each library what its row of the `table` says, when it is imported; of other extension
modules from outside the standard library, what `untried` allows.

1. Nothing is imported for a library before the program imports it; until then a name in the table
   of import hooks is all there is.
2. A patch that is applied late serves what is imported already; its undo puts everything back.
3. ``only`` and ``exclude`` know the libraries by name, and calls by theirs.  CAPRICCIO_NATIVE is
   ``off``, or names: with a ``-`` before it that of a library, module or package to be left alone,
   without that of an extension module whose calls of libc are to be taken over whatever it imports;
   ``table`` leaves alone what is in no row.
4. A failure is never raised into the program's import: it is in `status`.

Main OS thread, but for `status` and `executed`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module

from ..cpython import libraries as named
from ..cpython import originals
from ..cpython.modules import is_standard
from ..errors import ConfigError
from ..wrappers.base import Offloader, Patch, Runtime
from .hooks import Hooks, denied
from .table import TABLE, Calls, Library
from .untried import Untried, written_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Libraries", "known"]

OFF, ONLY_TABLE = "off", "table"

TakeOver = Callable[[str, Offloader], object]
"""Has what a dotted name leads to called as an offloader says; ConfigError if there is none."""

_in_force: list[Libraries] = []
"""The one of the patch in force, if any."""


def known() -> list[str]:
    """What ``only`` and ``exclude`` may name: libraries, and the modules of their calls."""
    return [name for each in TABLE for name in (each.name, *each.modules())]


class Libraries:
    """What one patch does for the libraries that the program imports."""

    def __init__(
        self,
        runtime: Runtime,
        native: Iterable[str],
        hooks: Hooks,
        wants: Callable[[Patch], bool],
        apply: Callable[[Patch], None],
        take_over: TakeOver,
        offloader: Callable[..., Offloader],
    ) -> None:
        """`native` is the setting, `wants` says which rows the program wants.

        `offloader` makes what makes calls on OS threads, with ``waits`` and ``to_the_end``.
        """
        self._runtime = runtime
        self._left_out = {name[1:] for name in native if name.startswith("-")}
        self._off = OFF in native
        self._table = (*TABLE, *_added(native))
        self._hooks = hooks
        self._wants = wants
        self._apply = apply
        self._take_over = take_over
        self._offloader = offloader
        self._served: dict[str, list[str]] = {}
        """By library: the calls that are taken over by name."""
        self._hooked: dict[str, dict[str, list[str]]] = {}
        """By library, and by shared object: the functions of libc."""
        self._why_not: dict[str, str] = {}
        self._untried = Untried(hooks)
        self._leaves_untried = bool(hooks.why_not) or ONLY_TABLE in native
        self._served_by_table = {name for library in self._table for name in library.modules()}
        self._put_off: list[tuple[str, str]] = []
        """Names and paths of extension modules that other OS threads have imported."""

    def begin(
        self,
        hook_import: Callable[[Callable[[str, Any], None], str], None],
        when_executed: list[Callable[[Any], None]],
    ) -> None:
        """Serve what is imported, and wait for the import of the rest.

        `when_executed` are called with each module that has been executed.
        """
        if self._off:
            return
        when_executed.append(self.executed)
        _in_force[:] = [self]
        for library in self._table:
            for name in library.modules():
                hook_import(_imported, name)
        for module in list(sys.modules.values()):
            self.executed(module)

    def executed(self, module: Any) -> None:
        """A module has been executed: of an extension module that nobody has tried, take over what
        may be; serve one of the table that calls itself by another name.  Any OS thread."""
        if not _in_force or not _is_extension(module):
            return
        name = _imported_as(module)
        if name in self._served_by_table:
            if name != module.__dict__.get("__name__"):  # which is what hooks on imports go by
                self.imported(name, module)
            return
        if self._leaves_untried:
            return
        self._put_off.append((name, module.__file__))
        if originals.get_ident() != self._runtime.kernel.os_ident:
            return  # with the next one here
        while self._put_off:
            name, path = self._put_off.pop()
            try:
                self._try(name, path)
            except Exception as error:  # the program's import goes on without us
                self._why_not[name] = f"{type(error).__name__}: {error}"

    def _try(self, name: str, path: str) -> None:
        if denied(os.path.basename(path)) is not None:
            return
        packages = [name[:at] for at, char in enumerate(f"{name}.") if char == "."]
        if not self._left_out.isdisjoint(packages):
            self._why_not[name] = "CAPRICCIO_NATIVE leaves it out"
        elif self._wants(Patch(name, name, "", None)):
            taken, why = self._untried.take(path)
            if taken:
                self._hooked[name] = taken
            if why is not None:
                self._why_not[name] = why
                named.note(path, partial(_why_it_waits, path, why))

    def end(self) -> None:
        """The patch is undone."""
        _in_force.clear()
        self._hooks.end()

    def imported(self, name: str, module: Any) -> None:
        """A module of the table, imported as `name`, is there: what it calls itself may differ."""
        for library in self._table:
            if name in library.modules() and self._is_wanted(library, name):
                try:
                    self._serve(library, name, module)
                except Exception as error:  # the program's import goes on without us
                    self._why_not[library.name] = f"{type(error).__name__}: {error}"

    def _is_wanted(self, library: Library, module: str) -> bool:
        if library.name in self._left_out:
            self._why_not[library.name] = "CAPRICCIO_NATIVE leaves it out"
        elif not self._wants(Patch(library.name, module, "", None)):
            self._why_not[library.name] = "only or exclude leave it out"
        else:
            return True
        return False

    def _serve(self, library: Library, name: str, module: Any) -> None:
        if name in library.hooked:
            self._hook(library, module)
        if library.name in self._hooked:
            return
        served = self._served.setdefault(library.name, [])
        if name in library.adapted:
            adapter = import_module(f".{library.adapter}", __package__)
            for row in adapter.patches(self._runtime, module):
                if row.name not in served and self._wants(row):
                    self._apply(row)
                    served.append(row.name)
        for calls in library.calls:
            if calls.module == name:
                served += self._offload(library, calls, served)

    def _hook(self, library: Library, module: Any) -> None:
        """Take over what the extension module calls, if it is one and that can be done."""
        path = getattr(module, "__file__", None) or ""
        if not path.endswith(".so"):
            return
        why_not = self._hooks.why_not or denied(os.path.basename(path))
        if why_not is None:
            taken = self._hooks.take(path)
            if taken:
                self._hooked.setdefault(library.name, {}).update(taken)
        elif not library.calls and not library.adapter:
            self._why_not[library.name] = why_not

    def _offload(self, library: Library, calls: Calls, served: list[str]) -> list[str]:
        offloader = partial(self._offloader, waits=calls.waits, to_the_end=not calls.leaves)
        names = []
        for path in calls.names:
            row = Patch(library.name, calls.module, path, None)
            if row.name not in served and self._wants(row):
                try:
                    self._take_over(row.name, offloader)
                except ConfigError:
                    continue  # this version has none
                names.append(row.name)
        return names

    def status(self) -> dict[str, str]:
        """By library that the program has imported: what is done for it, or why nothing."""
        told = {
            name: "parks in " + ", ".join(served) for name, served in self._served.items() if served
        }
        for name, taken in self._hooked.items():
            functions = sorted({each for names in taken.values() for each in names})
            told[name] = f"{', '.join(taken)} park in {', '.join(functions)}"
        for name, why in self._why_not.items():
            told[name] = f"{told[name]}; left alone: {why}" if name in self._hooked else why
        return told


def _added(native: Iterable[str]) -> Iterable[Library]:
    known = {each.name for each in TABLE}
    return [
        Library(name, hooked=(name,))
        for name in native
        if not name.startswith("-") and name not in (OFF, ONLY_TABLE) and name not in known
    ]


def _imported(name: str, module: Any) -> None:
    for libraries in _in_force:
        libraries.imported(name, module)


def _imported_as(module: Any) -> str:
    """The name by which an extension module was imported; not what `_bjoern` calls itself."""
    namespace = module.__dict__
    name = getattr(namespace.get("__spec__"), "name", None)
    return name if type(name) is str else str(namespace.get("__name__"))


def _is_extension(module: Any) -> bool:
    """Whether it is an extension module from outside the standard library.  Calls nothing of it."""
    namespace = getattr(module, "__dict__", None)
    if type(namespace) is not dict:
        return False
    path = namespace.get("__file__")
    return type(path) is str and path.endswith(".so") and not is_standard(namespace)


def _why_it_waits(path: str, why: str) -> str:
    """What the report of a blocked call says of a module that is left alone."""
    language = written_in(path)
    return f"{why}; it is written in {language}" if language else why
