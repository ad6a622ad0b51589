"""OS threads after the end of the main thread's code, while other threads go on.

CPython 3.12 starts no thread from then on ("can't create new thread at interpreter shutdown"):
`Py_FinalizeEx` sets ``interp->finalizing`` before it waits for the threads that are no daemons.  A
server whose main thread only starts others lives in that state, and its green threads need workers
as before.  C code may go on starting threads, and so does this, by ctypes.

Followed: CPython 3.12, Python/pylifecycle.c and Modules/_threadmodule.c.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["start"]

_REFUSES = sys.version_info[:2] == (3, 12)
_to_run: list[Callable[[], None]] = []
"""What the threads that were started last are to call."""
_entry: Any = None
"""What C calls on such a thread."""
_is_importing = False


def start(run: Callable[[], None], error: RuntimeError) -> None:
    """Call `run` on a new OS thread, though starting one by `_thread` has raised `error`.

    Raises `error` where that had another reason, or there is no ctypes.  Any OS thread.
    """
    global _entry, _is_importing
    if not _REFUSES or "shutdown" not in str(error) or _is_importing:
        raise error
    _is_importing = True  # which may itself need a worker, for a file
    try:
        import ctypes
    except ImportError:
        raise error from None
    finally:
        _is_importing = False
    if _entry is None:
        _entry = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(lambda _: _to_run.pop()())
    start_thread = ctypes.pythonapi["PyThread_start_new_thread"]
    start_thread.restype = ctypes.c_ulong
    _to_run.append(run)
    if start_thread(_entry, None) == ctypes.c_ulong(-1).value:
        _to_run.remove(run)
        raise RuntimeError("can't start new thread")
