"""wrapt's post-import hooks: a call that is made with a module when that is imported.

wrapt as a whole imports asyncio, inspect, importlib.metadata and what they need, for decorators and
proxies that are not used here: that took a sixth of a start.  So only its module `importer` is
imported, in a package of ours that finds its modules where wrapt has them, but for `__wrapt__`, of
which `importer` has the proxy that its loader is: `_Proxy` does for a loader.  What `importer`
wants of the standard library is imported when it is used.

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

from ..cpython.modules import standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["hook_import", "when_imported"]


class _Proxy:
    """What wrapt's hooks need of its ``ObjectProxy``: it stands for a loader, but for what it has
    itself."""

    def __init__(self, loader: Any) -> None:
        self.__self_setattr__("__wrapped__", loader)

    __self_setattr__ = object.__setattr__

    __class__ = property(lambda self: type(self.__wrapped__))
    __dict__ = property(lambda self: vars(self.__wrapped__))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__wrapped__, name, value)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


class _StandIns:
    """Within it, these are found in place of modules that are not there yet."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = {name: each for name, each in modules.items() if name not in sys.modules}

    def __enter__(self) -> None:
        sys.modules.update(self._modules)

    def __exit__(self, *_: object) -> None:
        for name in self._modules:
            del sys.modules[name]


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


def _find_spec(name: str) -> Any:
    return standard("importlib.util").find_spec(name)


def _importer() -> Any:
    """wrapt's `importer`, without the rest of it."""
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("wrapt")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'wrapt'", name="wrapt")
    name = f"{__package__}.wrapt"
    sys.modules[name] = _module(name, __path__=[*spec.submodule_search_locations])
    proxies = f"{name}.__wrapt__"
    sys.modules[proxies] = _module(proxies, ObjectProxy=_Proxy, BaseObjectProxy=_Proxy)
    put_off = {
        "importlib.metadata": _module("importlib.metadata"),
        "importlib.util": _module("importlib.util", find_spec=_find_spec),
    }
    with _StandIns(put_off):
        return import_module(f"{name}.importer")


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
