"""Every private name that the package needs is asked for at once, when this is imported.

An interpreter that lacks one is refused before anything else is tried (`checks` has the rest).
What differs from one version to the next is looked for with ``hasattr`` where it is used.  So that
nothing is passed over because its name has changed, `missing` knows which versions have it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from ..errors import PatchError
from .others import others

__all__ = ["missing"]


def _import_ctypes() -> None:
    """Some builds of libffi keep a file open for themselves: with no standard number (0, 1, 2)."""
    held: list[int] = []
    try:
        for fd in range(3):
            try:
                os.fstat(fd)
            except OSError:
                held += os.pipe()  # has the lowest numbers that are free
        import ctypes  # noqa: F401
    finally:
        for fd in held:
            os.close(fd)


_EVER = (0, 99)
_NEEDED: dict[str, tuple[int, int]] = {
    "_thread._ThreadHandle": (13, 99),
    "_thread._count": _EVER,
    "_thread._excepthook": _EVER,
    "_thread._get_main_thread_ident": (13, 99),
    "_thread._local": _EVER,
    "_thread._make_thread_handle": (13, 99),
    "_thread._set_sentinel": (0, 12),
    "_thread._shutdown": (13, 99),
    "_thread.start_joinable_thread": (13, 99),
    "_imp.exec_builtin": _EVER,
    "opcode._inline_cache_entries": _EVER,
    "sys._current_exceptions": _EVER,
    "sys._current_frames": _EVER,
    "sys._getframe": _EVER,
    "sys._setprofileallthreads": (12, 99),
    "sys._settraceallthreads": (12, 99),
    "threading._active": _EVER,
    "threading._maintain_shutdown_locks": (0, 12),
    "threading._shutdown_locks": (0, 12),
    "threading._shutdown_locks_lock": (0, 12),
    "types.LazyImportType": (15, 99),
    "warnings._filters_mutated": _EVER,
    "warnings._get_filters": (14, 99),
}
"""Of modules that every program has: the first and the last CPython 3 with a name."""
if sys.platform in ("linux", "darwin"):  # elsewhere not every system has names of OS threads
    _NEEDED |= dict.fromkeys(
        ("_thread._NAME_MAXLEN", "_thread._get_name", "_thread.set_name"), (14, 99)
    )


def missing() -> list[str]:
    """The names that this version of CPython is known to have, and that are not there."""
    minor = sys.version_info[1]
    return [
        name
        for name, (first, last) in _NEEDED.items()
        if first <= minor <= last
        if not hasattr(import_module(name.partition(".")[0]), name.partition(".")[2])
    ]


def _refusal(reason: str) -> PatchError:
    if found := others():  # what has been replaced is not missed for another reason
        return PatchError(f"{' and '.join(found)} has patched this process: take that call out")
    return PatchError(f"this Python can't be patched: names: {reason}")


if _missing := missing():
    raise _refusal(f"it lacks {', '.join(_missing)}")
try:
    _import_ctypes()

    # isort: split
    from . import frames, interpose, originals, thread_state  # noqa: F401
except (AttributeError, ImportError, KeyError, NameError) as error:
    raise _refusal(repr(error)) from error
