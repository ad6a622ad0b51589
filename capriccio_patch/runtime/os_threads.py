"""OS threads of the package's own: workers, the watchdog, waits for what C alone can wait for.

The program did not start them, so `_thread._count` must not count them: `count` says how many live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import originals

__all__ = ["after_fork", "count", "start"]

_alive: list[None] = []  # append and pop are atomic, a counter is not


def start(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call ``function(*args)`` on a new OS thread.  RuntimeError when the system has no more."""

    def run() -> None:
        _alive.append(None)  # not earlier: CPython's own count begins here
        try:
            function(*args)
        finally:
            if _alive:
                _alive.pop()

    originals.start_new_thread(run, ())


def count() -> int:
    """How many of them live.  Any OS thread."""
    return len(_alive)


def after_fork() -> None:
    """In a forked child: none does."""
    _alive.clear()
