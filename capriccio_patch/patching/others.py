"""Warns where gevent or eventlet patches the same process, before or after.

Their threads wait in loops of their own, which stop ours; each replaces what the other has taken
over.

1. A warning does not keep them from it: the program may have its reasons.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from ..cpython.others import others
from ..errors import CapriccioWarning

__all__ = ["warn_of_others"]

_CALLS = {"gevent.monkey": "patch_all", "eventlet": "monkey_patch"}
"""By module: the function that patches."""
_awaited: set[str] = set()
"""Modules for whose import there is a hook, which is never given back."""
_in_force: list[list[Callable[[], None]]] = []
"""How to undo what the patch in force has done, if there is one."""


def warn_of_others(
    stacklevel: int,
    when_imported: Callable[[Callable[[Any], None], str], None],
    undo: list[Callable[[], None]],
) -> None:
    """A CapriccioWarning, attributed as in `warnings.warn`, if one of them is in force, and one
    whenever one comes; `undo` gets what puts their calls back.  The main thread."""
    if found := others():
        warnings.warn(
            f"{' and '.join(found)} has patched this process: threads of the one stop those of the "
            "other; take that call out",
            CapriccioWarning,
            stacklevel=stacklevel + 1,
        )
    _in_force[:] = [undo]
    undo.append(_in_force.clear)
    for name in _CALLS:
        if name not in _awaited:
            _awaited.add(name)
            when_imported(_imported, name)  # at once, if it is imported
        elif (module := sys.modules.get(name)) is not None:
            _imported(module)


def _imported(module: Any) -> None:
    name = _CALLS.get(getattr(module, "__name__", ""), "")
    original = getattr(module, name, None)
    if not _in_force or original is None:
        return

    def warn_and_patch(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"{module.__name__}.{name}() in a process that capriccio_patch has patched: threads of "
            "the one stop those of the other; take that call out",
            CapriccioWarning,
            stacklevel=2,
        )
        return original(*args, **kwargs)

    setattr(module, name, warn_and_patch)
    _in_force[0].append(lambda: setattr(module, name, original))
