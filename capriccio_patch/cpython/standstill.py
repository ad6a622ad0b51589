"""What a build without the GIL needs where others have it: the other OS threads stand still.

1. Within `standstill` no other OS thread of this interpreter runs Python code; with the GIL it does
   nothing, since what is done within does not let go of it.
2. No collection may begin within: it would wait for the standstill's end, and so for itself.
3. What the program may run within could wait for an OS thread that stands still.  An audit hook is
   told of the end itself, so where there is one, another OS thread's state is not read.
4. What was due on the calling OS thread when it had the others stop must not come within: a
   collection, or a stop that somebody else had asked for before, which would now be its own.
5. No trace function and no tool is told of what is done within: it may have the others stop itself.
6. A build that can do without the GIL has it while a module of C is being imported, and for good
   after one that needs it.  Then nobody is stopped: an OS thread that stands still may have the
   GIL, and the calling one would wait for it when the interpreter has it share.

Any OS thread.  What is done within takes microseconds.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from itertools import starmap

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
    "knows_what_is_due",
    "read_others",
    "standstill",
    "standstills",
]


_is_gil_enabled: Any = getattr(sys, "_is_gil_enabled", None)

IS_FREE_THREADED = "t" in getattr(sys, "abiflags", "")
"""Whether this build can do without the GIL; it may have it all the same (`has_gil`)."""


def has_gil() -> bool:
    """Whether one OS thread at a time runs Python code.  Any OS thread."""
    return _is_gil_enabled is None or bool(_is_gil_enabled())


class _WithGil:
    """Nobody else runs as it is."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""


_BREAKER = 3
"""Where in a PyThreadState the word of what is due lies (``eval_breaker``), in words."""
_CALL, _COLLECTION, _STOP, _MERGE = 1 << 2, 1 << 4, 1 << 5, 1 << 6
"""Bits of it (Include/internal/pycore_ceval.h); the last frees what other OS threads let go of."""

_api = ctypes.pythonapi
_thread_state = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_Get", _api))
_enter_tracing = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThreadState_EnterTracing", _api))
_leave_tracing = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(("PyThreadState_LeaveTracing", _api))


def _word() -> memoryview[int]:
    """What is due on the calling OS thread."""
    place = _thread_state() + _BREAKER * ctypes.sizeof(ctypes.c_size_t)
    return memoryview((ctypes.c_size_t * 1).from_address(place)).cast("B").cast("P")


def knows_what_is_due() -> bool:
    """Whether a call that is due is seen.  Main OS thread."""
    later = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    is_true = ctypes.cast(_api.PyObject_IsTrue, ctypes.c_void_p).value
    word = _word()
    asking = map(later(("Py_AddPendingCall", _api)), (is_true,), (id(False),))
    (_,) = asking  # nothing comes before the next call
    return bool(word[0] & _CALL)


_TRIES = 20
"""A millisecond each, until the GIL is taken to stay."""


class _Standstill:
    """From `__enter__` to `__exit__` (Python/pystate.c, _PyEval_StopTheWorld)."""

    __slots__ = (
        "_collected",
        "_has_stopped",
        "_interpreter",
        "_sleep",
        "_start",
        "_stop",
        "_tries",
    )

    def __init__(self) -> None:
        call = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
        self._stop = call(("_PyEval_StopTheWorld", _api))
        self._start = call(("_PyEval_StartTheWorld", _api))
        interpreter = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyInterpreterState_Main", _api))
        self._interpreter: int = interpreter()
        self._sleep = ctypes.CDLL(None).usleep  # `originals` needs this module
        self._collected: list[bool] = []
        """Whether there were collections: of each OS thread within, more than one with the GIL."""
        self._has_stopped = False
        self._tries = 0
        """How often the GIL was there, one time after the other."""

    def __enter__(self) -> None:
        # What is due comes after a call and at a jump back: there is neither from the stop to the
        # look, since unpacking a `map` object is no call, and to jump back is to let it come.
        word = _word()
        state = _thread_state()
        _enter_tracing(state)
        try:
            while True:
                starting = map(self._start, (self._interpreter,))
                asking = starmap(_is_gil_enabled, ((),))
                (_,) = map(self._stop, (self._interpreter,))
                (has,) = asking
                if not has and not word[0] & (_COLLECTION | _STOP | _MERGE):
                    self._has_stopped = True
                    self._tries = 0
                    break
                (_,) = starting
                if has:
                    if self._tries >= _TRIES:
                        break
                    self._tries += 1
                    self._sleep(1000)
        except BaseException:  # of a signal handler: what was due has come
            _leave_tracing(state)
            raise
        self._collected.append(gc.isenabled())
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._collected.pop():
            gc.enable()
        if self._has_stopped:
            self._has_stopped = False
            self._start(self._interpreter)
        _leave_tracing(_thread_state())


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
