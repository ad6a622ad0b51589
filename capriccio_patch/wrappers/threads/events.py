"""``threading.Event``: one call for each wait, where the standard library takes a dozen.

1. An event's condition stays what it is: who waits leaves a `waiters.Waiter` in its queue.
2. Nothing here is preempted, so on the scheduler's OS thread an event's state is consistent without
   its lock; other OS threads see it only under the lock, so it is set under the lock.
3. What is not plain (another condition, odd arguments, another OS thread) goes the way of the
   standard library.

Source followed: Lib/threading.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...cpython import originals
from ..base import Patch
from .waiters import Waiter, Waits, withdraw

__all__ = ["patches"]

_Condition: Any = threading.Condition
_Lock = originals.LockType
_NUMBERS = (float, int)
_TIMEOUT_MAX = originals.TIMEOUT_MAX


def patches(waits: Waits) -> list[Patch]:
    """The rows of this module."""
    return [
        Patch("threading", "threading", "Event.wait", _wait(waits)),
        Patch("threading", "threading", "Event.set", _set(waits)),
        Patch("threading", "threading", "Event.clear", _clear),
    ]


def _wait(waits: Waits) -> Callable[..., Any]:
    kernel = waits.kernel
    park = waits.park
    clock = kernel.clock
    get_ident = originals.get_ident
    stock_wait = threading.Event.wait

    def wait(self: Any, timeout: float | None = None) -> Any:
        if self._flag:
            return True
        condition: Any = self._cond
        if get_ident() != kernel.os_ident or type(condition) is not _Condition:
            return stock_wait(self, timeout)
        deadline = None
        if timeout is not None:
            if type(timeout) not in _NUMBERS or not 0 < timeout <= _TIMEOUT_MAX:
                return stock_wait(self, timeout)
            deadline = clock() + timeout
        waiter = Waiter(waits.process)
        waiters = condition._waiters
        waiters.append(waiter)
        if self._flag:  # a finalizer has set it; from here on that releases the waiter
            withdraw(waiters, waiter)
            return True
        return park("event", self, waiters, waiter, deadline)

    return wait


def _set(waits: Waits) -> Callable[..., Any]:
    kernel = waits.kernel
    resume = waits.resume
    get_ident = originals.get_ident
    try_lock = originals.lock_acquire
    stock_set = threading.Event.set

    def set_(self: Any) -> None:
        condition: Any = self._cond
        if get_ident() != kernel.os_ident or type(condition) is not _Condition:
            return stock_set(self)
        lock = condition._lock
        if type(lock) is not _Lock or not try_lock(lock, False):
            return stock_set(self)
        try:
            self._flag = True
            waiters = condition._waiters
            while waiters and type(waiters[0]) is Waiter:
                waiter = waiters.popleft()
                if not waiter.released:
                    waiter.released = True
                    resume(waiter)
            if waiters:
                condition.notify_all()
        finally:
            lock.release()
        return None

    return set_


def _clear(self: Any) -> None:
    self._flag = False
