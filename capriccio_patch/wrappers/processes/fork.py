"""``os.fork`` and ``os.forkpty``: the warning of CPython 3.12 about threads.

C counts OS threads.  The program's own are what it is to be warned of: green threads count, and the
OS threads of this package do not.  So C's warning is kept back, and given here when it is due.

What a fork does to the threads themselves is told by hooks (`Kernel.on_fork`,
`Kernel.around_fork`).
"""

from __future__ import annotations

import posix
import sys
import threading
import warnings
from collections.abc import Callable

from ...cpython import originals
from ...cpython.interpose import clone
from ...io import os_threads
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_TEXT = (
    "This process (pid={pid}) is multi-threaded, "
    "use of {name}() may lead to deadlocks in the child."
)


class _Ignored:
    """What a filter has in place of a regular expression, of which it only wants `match`."""

    @staticmethod
    def match(text: str) -> bool:
        return text.startswith("This process (pid=") and ") is multi-threaded" in text


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module: none where forks don't warn."""
    if sys.hexversion < 0x30C0000:
        return []
    return [
        Patch("threading", "posix", name, _fork(runtime, name, clone(getattr(posix, name))))
        for name in ("fork", "forkpty")
        if hasattr(posix, name)
    ]


def _fork(runtime: Runtime, name: str, original: Callable[[], Any]) -> Callable[[], Any]:
    kernel = runtime.kernel
    level = 2 if len(kernel.all()) == 1 else 3  # what finds the kernel is in between

    def fork() -> Any:
        before = originals.getpid()
        # A filter of our own, and not `catch_warnings`: the child goes on with the program's.
        silent = ("ignore", _Ignored, DeprecationWarning, None, 0)
        filters = _filters()
        filters.insert(0, silent)
        _changed()
        try:
            result = original()
        finally:
            if silent in filters:
                filters.remove(silent)
            _changed()
        if originals.getpid() == before and _count(len(kernel.threads)) > 1:
            text = _TEXT.format(pid=before, name=name)
            warnings.warn(text, DeprecationWarning, stacklevel=level)
        return result

    fork.__name__ = fork.__qualname__ = name
    return fork


def _filters() -> list[Any]:
    """Those in force, which may be this context's own (``-X context_aware_warnings``)."""
    found: Any = warnings
    filters: list[Any] = found._get_filters() if sys.version_info >= (3, 14) else found.filters
    return filters


def _changed() -> None:
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _count(green: int) -> int:
    """The threads of the program: its OS threads, and the green ones beyond the main thread."""
    own = -1
    while own != (own := _own()):  # until none of them has come or gone beside the look
        try:
            file = originals.os_open("/proc/self/stat", posix.O_RDONLY)
        except OSError:  # no such file here: C asks `threading` then
            return threading.active_count()
        fields = originals.read(file, 4096).rpartition(b")")[2].split()
        originals.close(file)
    return int(fields[17]) - own + green - 1


def _own() -> int:
    return os_threads.count() + os_threads.starting() + os_threads.lingering()
