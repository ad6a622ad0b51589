"""OS threads after the end of the main thread's code, while other threads go on.

CPython 3.12 starts no thread from then on ("can't create new thread at interpreter shutdown"):
`Py_FinalizeEx` sets ``interp->finalizing`` before it waits for the threads that are no daemons.  A
server whose main thread only starts others lives in that state, and its green threads need workers
as before.  C code may go on starting threads, and so does this, by ctypes.

Decision.  ctypes is imported on the main thread when it begins to wait for the others, and not when
a thread is wanted: an import may wait itself, and the one wanted may be the watchdog, without which
others that compute would keep it waiting.

Followed: CPython 3.12, Python/pylifecycle.c, Modules/_threadmodule.c, Lib/threading.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["serve", "start"]

_REFUSES = sys.version_info[:2] == (3, 12)
_to_run: list[Callable[[], None]] = []
"""What the threads that were started last are to call."""
_start_thread: Any = None
"""C's function; None before the main thread's end."""
_entry: Any = None
"""What C calls on such a thread."""


def serve() -> Callable[[], None]:
    """Be there for threads that are started after the end of the main thread's code; returns what
    undoes that.  Main OS thread."""
    if not _REFUSES:
        return lambda: None
    at_exit: list[Any] = getattr(threading, "_threading_atexits")  # noqa: B009
    at_exit.append(_prepare)

    def undo() -> None:
        if _prepare in at_exit:
            at_exit.remove(_prepare)

    return undo


def _prepare() -> None:
    global _start_thread, _entry
    if threading.active_count() < 2:
        return
    try:
        import ctypes
    except ImportError:  # then it is as before: who needs a worker waits itself
        return
    _entry = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(lambda _: _to_run.pop()())
    start_thread = ctypes.pythonapi["PyThread_start_new_thread"]
    start_thread.restype = ctypes.c_ssize_t
    _start_thread = start_thread


def start(run: Callable[[], None], error: RuntimeError) -> None:
    """Call `run` on a new OS thread, though starting one by `_thread` has raised `error`.

    Raises `error` where that had another reason, or there is no ctypes.  Any OS thread.
    """
    if _start_thread is None:
        raise error
    _to_run.append(run)
    if _start_thread(_entry, None) == -1:
        _to_run.remove(run)
        raise RuntimeError("can't start new thread")
