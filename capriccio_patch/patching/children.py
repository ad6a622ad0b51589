"""What a process leaves in its environment for the interpreters that it starts.

Facts.  An interpreter that is started by exec, `subprocess`, `multiprocessing` (spawn, forkserver)
or a program that restarts itself knows of its parent what the environment has.  Each looks for a
module ``sitecustomize`` before it runs any code of the program, on a path that begins with
PYTHONPATH.  A process that is forked has its parent's memory, and so the patch.

Decision.  PYTHONPATH begins with the folder of the start-up hook, whose ``sitecustomize`` takes
that folder off the path again, patches if CAPRICCIO_PATCH=1, and runs the ``sitecustomize`` that it
hides.  The settings are passed on in the variables that a user may set.

Cost.  A child is not patched if it gets an environment without these variables, or if it ignores
them (``-I``, ``-E``) or starts without `site` (``-S``).

1. What the program has set itself since then is kept when the patch is undone.
2. The folder stands in PYTHONPATH once, however often a program restarts itself.
"""

from __future__ import annotations

import os
from functools import partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Settings

__all__ = ["set_environment"]

_HOOK = os.path.join(os.path.dirname(os.path.dirname(__file__)), "sitecustomize", "hook")


def set_environment(settings: Settings) -> Callable[[], None]:
    """Have interpreters that are started from now on patched, or not, or neither; how to undo it.

    The main thread.
    """
    if settings.children is None:
        return _nothing
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = [entry for entry in entries if entry and entry != _HOOK]
    wanted: dict[str, str | None] = {"CAPRICCIO_PATCH": None}
    if settings.children:
        path.insert(0, _HOOK)
        wanted |= settings.variables() | {"CAPRICCIO_PATCH": "1"}
    if path != [entry for entry in entries if entry]:
        wanted["PYTHONPATH"] = os.pathsep.join(path) or None
    before = {name: os.environ.get(name) for name in wanted}
    for name, value in wanted.items():
        _set(name, value)
    return partial(_restore, before, wanted)


def _restore(before: dict[str, str | None], ours: dict[str, str | None]) -> None:
    for name, value in before.items():
        if os.environ.get(name) == ours[name]:
            _set(name, value)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _nothing() -> None:
    pass
