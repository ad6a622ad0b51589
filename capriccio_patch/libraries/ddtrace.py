"""ddtrace: the modules that it has loaded stay loaded, `threading` and `_thread` too.

Where gevent is installed, used or not, ``import ddtrace.auto`` takes the modules of threads out of
`sys.modules` so that the program gets others than ddtrace's own, for gevent to patch.  The others
would be stock's.  ``DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE`` is ddtrace's switch for that; what the
program has set itself stays.

1. The variable is there only while ddtrace reads it: it is not for the interpreters that the
   program starts, which may run gevent.
"""

from __future__ import annotations

import os

from ..wrappers.base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_SWITCH = "DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE"
_OURS = "0"
_set = False


def patches(_runtime: Runtime, module: Any) -> list[Patch]:
    """No rows: at the import of the package that reads the variable it is set, and taken back when
    all of that has been imported."""
    global _set
    if module.__name__ == "ddtrace.bootstrap":
        _set = _SWITCH not in os.environ
        if _set:
            os.environ[_SWITCH] = _OURS
    elif _set:
        _set = False
        os.environ.pop(_SWITCH, None)
    return []
