"""Warns where gevent or eventlet patches the same process, before or after.

Their threads wait in loops of their own, which stop ours; each replaces what the other has taken
over.

1. A warning does not keep them from it: the program may have its reasons.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial

from ..cpython.others import others
from ..errors import CapriccioWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["warn_of_others"]

_CALLS = {
    "gevent.monkey": "gevent.monkey.patch_all",
    "eventlet.patcher": "eventlet.monkey_patch",
}
"""By module that has the function which patches: how programs call that."""
_in_force: list[list[Callable[[], None]]] = []
"""How to undo what the patch in force has done, if there is one."""


def warn_of_others(
    stacklevel: int,
    hook_import: Callable[[Callable[[str, Any], None], str], None],
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
        hook_import(_imported, name)


def _imported(name: str, module: Any) -> None:
    called = _CALLS[name]
    function = called.rpartition(".")[2]
    original = getattr(module, function, None)
    if not _in_force or original is None:
        return
    undo = _in_force[0]

    def warn_and_patch(*args: Any, **kwargs: Any) -> Any:
        if _in_force:
            warnings.warn(
                f"{called}() in a process that capriccio_patch has patched: threads of the one "
                "stop those of the other; take that call out",
                CapriccioWarning,
                stacklevel=2,
            )
        return original(*args, **kwargs)

    for holder in (module, sys.modules.get(called.rpartition(".")[0])):
        if getattr(holder, function, None) is original:
            setattr(holder, function, warn_and_patch)
            undo.append(partial(setattr, holder, function, original))
