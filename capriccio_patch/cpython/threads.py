"""What ``threading`` has of ``_thread``: names that differ from one version of CPython to the next,
and the module itself, of which a program that imports it anew makes a second one."""

from __future__ import annotations

import _thread
import os
import sys
import threading
from types import ModuleType

__all__ = [
    "renew_shutdown_lock",
    "system_name",
    "thread_handle_name",
    "thread_name",
    "unite",
]

_HANDLES = ("_os_thread_handle", "_handle")
_used = getattr(getattr(threading, "get_native_id", None), "__self__", _thread)
"""The ``_thread`` that `threading` uses."""


def unite(module: ModuleType) -> None:
    """Give `module`, a ``_thread``, what the one has that ``threading`` uses, if that is another:
    each has types of its own, and functions that take no others."""
    names = [name for name in vars(_used) if not name.startswith("__")]
    vars(module).update({name: getattr(_used, name) for name in names})


def renew_shutdown_lock() -> None:
    """In a forked child, where another thread of the parent's may have it: until CPython 3.12
    ``threading`` takes it for a raw thread that has forked, and makes a new one then."""
    threading._shutdown_locks_lock = _thread.allocate_lock()  # type: ignore[attr-defined]


def thread_handle_name() -> str:
    """The attribute of a ``threading.Thread`` that has its C object; "" where it has none.

    AttributeError if ``_thread`` has such objects and a Thread none that is known.
    """
    if not hasattr(_thread, "_ThreadHandle"):
        return ""
    main = threading.main_thread()
    for name in _HANDLES:
        if isinstance(getattr(main, name, None), _thread._ThreadHandle):
            return name
    raise AttributeError("a Thread has none of " + ", ".join(_HANDLES))


def thread_name(ident: int | None) -> str | None:
    """The name of the Thread with an identifier; None without such a Thread."""
    thread = threading._active.get(ident)  # type: ignore[attr-defined]
    return None if thread is None else str(thread.name)


def system_name(ident: int | None) -> str:
    """The name of the Thread with an identifier, as the system tells that of an OS thread: as many
    bytes as it takes, and none after a null; "" without such a Thread.

    From CPython 3.14 OS threads have the names of their Threads.
    """
    name = thread_name(ident)
    if name is None:
        return ""
    most: int | None = getattr(_thread, "_NAME_MAXLEN", None)
    encoded = name.encode(sys.getfilesystemencoding(), "replace")
    return os.fsdecode(encoded.partition(b"\0")[0][:most])
