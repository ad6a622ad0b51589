"""What a build without the GIL needs where others have it: the other OS threads stand still.

1. Within `standstill` no other OS thread of this interpreter runs Python code; with the GIL it does
   nothing, since what is done within does not let go of it.
2. No collection may begin within: it would wait for the standstill's end, and so for itself.
3. What the program may run within could wait for an OS thread that stands still.  An audit hook is
   told of the end itself, so where there is one, another OS thread's state is not read.

Any OS thread.  What is done within takes microseconds.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

from . import frames
from .audit_hooks import is_audited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _T = TypeVar("_T")

__all__ = [
    "IS_FREE_THREADED",
    "full_collections",
    "has_gil",
    "read_others",
    "standstill",
    "standstills",
]


IS_FREE_THREADED = "t" in getattr(sys, "abiflags", "")
"""Whether this build can do without the GIL; it may have it all the same (`has_gil`)."""


def has_gil() -> bool:
    """Whether one OS thread at a time runs Python code.  Any OS thread."""
    has: Any = getattr(sys, "_is_gil_enabled", None)
    return has is None or bool(has())


class _WithGil:
    """Nobody else runs as it is."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""


class _Standstill:
    """From `__enter__` to `__exit__` (Python/pystate.c, _PyEval_StopTheWorld)."""

    __slots__ = ("_collects", "_interpreter", "_start", "_stop")

    def __init__(self) -> None:
        api = ctypes.pythonapi
        call = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
        self._stop = call(("_PyEval_StopTheWorld", api))
        self._start = call(("_PyEval_StartTheWorld", api))
        interpreter = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Main", api))
        self._interpreter: int = interpreter()
        self._collects = False

    def __enter__(self) -> None:
        self._stop(self._interpreter)
        self._collects = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._collects:
            gc.enable()
        self._start(self._interpreter)


standstill = _Standstill() if IS_FREE_THREADED else _WithGil()


def read_others(read: Callable[[], _T]) -> _T | None:
    """What `read` returns, which looks at the state of another OS thread and does nothing else.

    None where that can't be done now: see point 3.
    """
    if not IS_FREE_THREADED:
        return read()
    if is_audited():
        return None
    with standstill:
        return read()


def full_collections() -> int:
    """How many collections there have been that may have kept everybody waiting.

    Without the GIL each looks at all objects, whichever generation it is counted in.
    """
    counted = gc.get_stats()
    if not IS_FREE_THREADED:
        return int(counted[-1]["collections"])  # nothing is made that could begin a collection here
    return sum(each["collections"] for each in counted)


def standstills() -> int:
    """How often something that no thread is to blame for may have kept everybody waiting."""
    return full_collections() + frames.searches()
