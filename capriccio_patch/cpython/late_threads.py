"""OS threads after the end of the main thread's code, while other threads go on.

CPython 3.12 starts no thread from then on ("can't create new thread at interpreter shutdown"):
`Py_FinalizeEx` sets ``interp->finalizing`` before it waits for the threads that are no daemons.  A
server whose main thread only starts others lives in that state, and its green threads need workers
as before.  C code may go on starting threads, and so does this, by ctypes.

1. Nothing is imported when a thread is wanted: an import may wait itself, and the thread that is
   wanted may be the watchdog, without which others that compute would keep it waiting.

Followed: CPython 3.12, Python/pylifecycle.c and Modules/_threadmodule.c.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

__all__ = ["start"]

_REFUSES = sys.version_info[:2] == (3, 12)
_to_run: list[Callable[[], None]] = []
"""What the threads that were started last are to call."""
if _REFUSES:
    _entry = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(lambda _: _to_run.pop()())  # C calls it there
    _start_thread = ctypes.pythonapi["PyThread_start_new_thread"]
    _start_thread.restype = ctypes.c_ssize_t


def start(run: Callable[[], None], error: RuntimeError) -> None:
    """Call `run` on a new OS thread, though starting one by `_thread` has raised `error`.

    Raises `error` where that had another reason.  Any OS thread.
    """
    if not _REFUSES or "shutdown" not in str(error):
        raise error
    _to_run.append(run)
    if _start_thread(_entry, None) == -1:
        _to_run.remove(run)
        raise RuntimeError("can't start new thread")
