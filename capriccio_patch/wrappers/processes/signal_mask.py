"""``pthread_sigmask``: a mask for each green thread, where the system knows one of the OS thread.

A signal to the process goes to any OS thread that does not block it, and Python's handler runs in
the main thread whichever that is.  So what matters is who does *not* block a signal:

1. The scheduler's OS thread has the main thread's mask.
2. What another green thread blocks is blocked for itself alone, and it is told so; nothing changes
   for the process.  (``multiprocessing`` blocks everything in a thread that serves descriptors.)
3. What it unblocks can be delivered from then on: it is unblocked for the OS thread.

A child process inherits the main thread's mask, whoever starts it.  The OS threads of other kernels
block all signals; what starts a process there sets that mask first (`io.os_threads`).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import operator
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from ...contracts.thread import Thread
from ...cpython import originals
from ...io import os_threads
from ...io.on_main import OnMain
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module; none where threads have no masks."""
    if originals.pthread_sigmask is None:
        return []
    kernel = runtime.kernel
    original = originals.pthread_sigmask
    masks: WeakKeyDictionary[Thread, set[int]] = WeakKeyDictionary()
    note = os_threads.note_mask if len(kernel.all()) > 1 else _nothing

    def pthread_sigmask(how: Any, mask: Iterable[Any], /) -> Any:
        home = kernel.here()
        if home is None:
            return original(how, mask)
        ident = home.current.ident
        if ident == kernel.main.ident:
            old = original(how, mask)
            note()
            return old
        given = list(mask)
        if not _is_valid(how, given):
            return original(how, given)  # raises
        me = kernel.threads[ident]
        old = masks.get(me)
        if old is None:
            old = os_threads.mask()
        masks[me] = new = _changed(old, how, {operator.index(each) for each in given})
        unblocked = old - new
        if unblocked and home is kernel:
            unblock(unblocked)
        elif unblocked:
            OnMain(kernel, home, unblock, unblocked).make("signal")
        return set(old)

    def unblock(signums: set[int]) -> None:
        original(_signal.SIG_UNBLOCK, signums)
        note()

    return [Patch("signal", "_signal", "pthread_sigmask", pthread_sigmask)]


def _nothing() -> None:
    """The main OS thread is the only one that runs green threads."""


def _is_valid(how: Any, given: list[Any]) -> bool:
    return how in (
        _signal.SIG_BLOCK,
        _signal.SIG_UNBLOCK,
        _signal.SIG_SETMASK,
    ) and originals.valid_signals().issuperset(given)


def _changed(old: set[int], how: int, given: set[int]) -> set[int]:
    """`old` after pthread_sigmask(3)."""
    if how == _signal.SIG_BLOCK:
        return old | given
    if how == _signal.SIG_UNBLOCK:
        return old - given
    return given
