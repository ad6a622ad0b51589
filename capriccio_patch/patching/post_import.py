"""wrapt's post-import hooks: a call that is made with a module when that is imported.

wrapt as a whole imports asyncio, inspect, importlib.metadata and what they need, for decorators and
proxies that are not used here: that took a sixth of a start.  So only its module `importer` is
imported, in a package of ours that finds its modules where wrapt has them.  The features of these
that want one of `_PUT_OFF` import it when they are used, and the extension, which imports wrapt
itself, is not there to be found.

1. A program's own wrapt is another one, with hooks of its own: which of them is asked first, the
   other one finds the module that is imported all the same.
2. Both see a module when its body has been executed, and before its importer does.

Imported while the runtime imports for itself (`Importing`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["hook_import", "when_imported"]

_PUT_OFF = ("importlib.metadata", "inspect")


class _Deferred(ModuleType):
    """Stands for a module that is imported at its first use."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


class _PutOff:
    """Within it, ``import name`` binds a module that is loaded later, unless it is there."""

    def __init__(self, *names: str) -> None:
        self._stand_ins = {name: _Deferred(name) for name in names if name not in sys.modules}

    def __enter__(self) -> None:
        sys.modules.update(self._stand_ins)

    def __exit__(self, *_: object) -> None:
        for name, stand_in in self._stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


def _importer() -> Any:
    """wrapt's `importer`, without the rest of it."""
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("wrapt")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'wrapt'", name="wrapt")
    package = ModuleType(f"{__package__}.wrapt")
    package.__path__ = [*spec.submodule_search_locations]
    sys.modules[package.__name__] = package
    sys.modules[f"{package.__name__}._wrappers"] = None  # type: ignore[assignment]
    with _PutOff(*_PUT_OFF):
        return import_module(f"{package.__name__}.importer")


when_imported: Callable[[Callable[[Any], None], str], None] = _importer().register_post_import_hook
"""Have a call made with a module when that is imported; at once if it has been."""

_hooked: set[tuple[Callable[[str, Any], None], str]] = set()


def hook_import(call: Callable[[str, Any], None], name: str) -> None:
    """Have ``call(name, module)`` made when the module `name` is imported; at once if it has been.

    For what each patch asks for anew: wrapt has one hook for a call and a name, which is never
    given back, so the call does nothing while no patch is in force.
    """
    if (call, name) not in _hooked:
        _hooked.add((call, name))
        when_imported(partial(call, name), name)
    elif (module := sys.modules.get(name)) is not None:
        call(name, module)
