"""Waiting for child processes (``os.wait`` and its relatives) and for ``os.system``.

``subprocess``, ``os.popen``, ``pty`` and ``multiprocessing`` are Python over these, over pipes and
over ``fork``.  Each wait first makes the original call with ``WNOHANG``; if there is nothing to tell:

* *One child, until it exits*: a descriptor of the process (pidfd_open(2)), which becomes readable.
* *Any of several, or until one stops or continues*, or no descriptor to be had (an older system, none
  left): an OS thread waits with ``WNOWAIT``, which reaps nothing.  Green threads that wait for the
  same share it.  One whose waiters have given up stays until the next change and ends with it.

Then the original call is made with ``WNOHANG`` again.

1. A child is reaped by the program's own call and by nothing else; one that somebody else reaps
   meanwhile is ECHILD, as in stock.
2. A wait is armed first, tried again, then parked, so that no change falls in between.
3. Where neither facility exists (no ``waitid``), the original call is made on a worker.

``fork``, ``posix_spawn`` and ``_posixsubprocess.fork_exec`` are left as they are: they return when
the child runs, and stock stops every thread for as long, because they keep the GIL.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from .. import originals
from ..runtime.descriptors import READ
from ..runtime.thread import Thread
from .base import Patch, Runtime

__all__ = ["patches"]

T = TypeVar("T")

_UNTIL_STOPPED = getattr(os, "WUNTRACED", 0)
_UNTIL_CONTINUED = getattr(os, "WCONTINUED", 0)
_NO_WAIT = os.WNOHANG

_EXITED = getattr(os, "WEXITED", 0)
_STOPPED = getattr(os, "WSTOPPED", 0)
_CONTINUED = getattr(os, "WCONTINUED", 0)
_KEEP = getattr(os, "WNOWAIT", 0)
_ONE = getattr(os, "P_PID", -1)
_GROUP = getattr(os, "P_PGID", -1)
_ANY = getattr(os, "P_ALL", -1)
_DESCRIPTOR = getattr(os, "P_PIDFD", -1)


class _Change(NamedTuple):
    """What is waited for, in the words of waitid(2)."""

    kind: int
    number: int
    states: int


class _Watch:
    """An OS thread in waitid(2), and the green threads that it will wake."""

    __slots__ = ("failed", "threads")

    def __init__(self) -> None:
        self.threads: dict[Thread, None] = {}
        self.failed = False


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    rows = [*_wait_patches(runtime), _system_patch(runtime)]
    if originals.waitid is not None:
        rows.append(_waitid_patch(runtime))
    return rows


def _wait_patches(runtime: Runtime) -> list[Patch]:
    kernel = runtime.kernel
    wait_for = _make_wait_for(runtime)
    original_waitpid = originals.waitpid
    original_wait3 = originals.wait3
    original_wait4 = originals.wait4

    def goes_through(options: Any) -> bool:
        """Whether the original call doesn't block, may block, or fails."""
        if not kernel.is_mine():
            return True
        try:
            flags = operator.index(options)
        except TypeError:
            return True
        return bool(flags & _NO_WAIT or flags & ~(_UNTIL_STOPPED | _UNTIL_CONTINUED))

    def wait() -> Any:
        return waitpid(-1, 0)

    def waitpid(pid: Any, options: Any, /) -> Any:
        if goes_through(options):
            return original_waitpid(pid, options)

        def attempt() -> Any:
            found = original_waitpid(pid, options | _NO_WAIT)
            return found if found[0] else None

        return wait_for(attempt, lambda: _child(pid, options), lambda: original_waitpid(pid, options))

    def wait3(options: Any) -> Any:
        if goes_through(options):
            return original_wait3(options)

        def attempt() -> Any:
            found = original_wait3(options | _NO_WAIT)
            return found if found[0] else None

        return wait_for(attempt, lambda: _child(-1, options), lambda: original_wait3(options))

    def wait4(pid: Any, options: Any) -> Any:
        if goes_through(options):
            return original_wait4(pid, options)

        def attempt() -> Any:
            found = original_wait4(pid, options | _NO_WAIT)
            return found if found[0] else None

        return wait_for(attempt, lambda: _child(pid, options), lambda: original_wait4(pid, options))

    rows = [
        Patch("os", "posix", "wait", wait),
        Patch("os", "posix", "waitpid", waitpid),
    ]
    if original_wait3 is not None:
        rows.append(Patch("os", "posix", "wait3", wait3))
    if original_wait4 is not None:
        rows.append(Patch("os", "posix", "wait4", wait4))
    return rows
