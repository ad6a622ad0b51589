"""OS threads of the package's own: workers, the watchdog, waits for what C alone can wait for.

The program did not start them, and what tells of threads must not tell of them: `count` says how
many live, `idents` which, and `lingering` how many the system still knows that have ended.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub
from collections.abc import Callable
from typing import Any

from .. import originals

__all__ = ["after_fork", "count", "idents", "lingering", "start", "start_deaf"]

_OF_THE_THREAD = {
    getattr(_signal, name, 0)
    for name in ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")
}
"""What a thread's own doing brings about."""

_alive: dict[int, int] = {}
"""By identifier: the system's number of the thread, or 0.  Setting and deleting are atomic."""
_ended: list[int] = []
"""The system's numbers of those that may still be on their way out."""


def start(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call ``function(*args)`` on a new OS thread.  RuntimeError when the system has no more."""

    def run() -> None:
        ident = originals.get_ident()
        number = originals.get_native_id()
        _alive[ident] = number  # not earlier: CPython's own count begins here
        try:
            function(*args)
        finally:
            _ended.append(number)
            _alive.pop(ident, None)

    originals.start_new_thread(run, ())


def start_deaf(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """As `start`, on an OS thread that takes none of the process's signals.

    One that is there before the program blocks a signal would get it in the program's stead.
    """
    if originals.pthread_sigmask is None:
        start(function, args)
        return
    signums = originals.valid_signals() - _OF_THE_THREAD
    old = originals.pthread_sigmask(_signal.SIG_BLOCK, signums)
    try:
        start(function, args)
    finally:
        originals.pthread_sigmask(_signal.SIG_SETMASK, old)


def count() -> int:
    """How many of them live.  Any OS thread."""
    return len(_alive)


def idents() -> list[int]:
    """The identifiers of those that live.  Any OS thread."""
    return list(_alive)


def lingering() -> int:
    """How many have ended but are still in /proc.  Scheduler's OS thread."""
    left = [number for number in list(_ended) if originals.access(f"/proc/self/task/{number}", 0)]
    _ended[:] = left
    return len(left)


def after_fork() -> None:
    """In a forked child: none does."""
    _alive.clear()
    _ended.clear()
