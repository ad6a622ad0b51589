"""``threading.Condition``: what queues, pools and started threads wait in.

It is Python in the standard library, a dozen calls for each wait, and would work as it is: these
rows make it short.

1. Who waits leaves a `waiters.Waiter` where stock leaves a lock.
2. Nothing here is preempted, so on the scheduler's OS thread a condition's state is consistent
   without its lock; other OS threads see it only under the lock, so what they rely on is done under
   it: notifying.  Not under it a thread whose time is over leaves the queue, which without the GIL
   may be at any moment.
3. What is not plain (another kind of lock, a subclass, odd arguments, another OS thread) goes the
   way of the standard library, with the condition's own methods.

Source followed: Lib/threading.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...cpython import originals
from ..base import Patch
from .waiters import Waiter, Waits, withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_Condition: Any = threading.Condition
_Lock = originals.LockType
_RLock = originals.RLockType
_NUMBERS = (float, int)
_TIMEOUT_MAX = originals.TIMEOUT_MAX


def patches(waits: Waits, rlock_held: Callable[[Any], bool]) -> list[Patch]:
    """The rows of this module, which know who owns an RLock."""
    conditions = _Conditions(waits, rlock_held)
    return [
        Patch("threading", "threading", "Condition.__enter__", _enter),
        Patch("threading", "threading", "Condition.__exit__", _leave),
        Patch("threading", "threading", "Condition.wait", conditions.wait()),
        Patch("threading", "threading", "Condition.notify", conditions.notify()),
    ]


class _Conditions:
    """Makes the functions that wait and wake."""

    def __init__(self, waits: Waits, rlock_held: Callable[[Any], bool]) -> None:
        self._waits = waits
        self._rlock_held = rlock_held

    def _is_owned(self, condition: Any, lock: Any) -> Any:
        return self._rlock_held(lock) if type(lock) is _RLock else condition._is_owned()

    def wait(self) -> Callable[..., Any]:
        """``Condition.wait``."""
        waits = self._waits
        park = waits.park
        kernel = waits.kernel
        clock = kernel.clock
        get_ident = originals.get_ident
        is_locked = originals.lock_locked
        try_lock = originals.lock_acquire
        is_owned = self._is_owned
        stock_wait = _Condition.wait

        def wait(self: Any, timeout: float | None = None) -> Any:
            if get_ident() != kernel.os_ident:
                return stock_wait(self, timeout)
            deadline = None
            if timeout is not None:
                if type(timeout) not in _NUMBERS or not timeout <= _TIMEOUT_MAX:
                    return stock_wait(self, timeout)
                if timeout > 0:
                    deadline = clock() + timeout
            lock = self._lock
            plain = type(lock) is _Lock and type(self) is _Condition
            if not (is_locked(lock) if plain else is_owned(self, lock)):
                return stock_wait(self, timeout)  # raises
            waiters = self._waiters
            waiter = Waiter(waits.process)
            waiters.append(waiter)
            if plain:
                lock.release()
            else:
                state = self._release_save()
            try:
                if timeout is not None and timeout <= 0:
                    withdraw(waiters, waiter)
                    return waiter.released  # the lock was free for a moment, as in stock
                return park("condition", self, waiters, waiter, deadline)
            finally:
                if not plain:
                    self._acquire_restore(state)
                elif not try_lock(lock, False):
                    lock.acquire()

        return wait

    def notify(self) -> Callable[..., Any]:
        """``Condition.notify``."""
        kernel = self._waits.kernel
        resume = self._waits.resume
        get_ident = originals.get_ident
        is_locked = originals.lock_locked
        is_owned = self._is_owned
        stock_notify = _Condition.notify

        def notify(self: Any, n: int = 1) -> Any:
            lock = self._lock
            plain = type(lock) is _Lock and type(self) is _Condition
            if plain and not self._waiters and is_locked(lock):
                return None
            if get_ident() != kernel.os_ident:
                return _notify_elsewhere(self, n)
            if type(n) is not int:
                return stock_notify(self, n)
            if not (is_locked(lock) if plain else is_owned(self, lock)):
                return stock_notify(self, n)  # raises
            pop = self._waiters.popleft
            while n > 0:
                try:
                    waiter = pop()
                except IndexError:
                    break
                if type(waiter) is not Waiter:
                    try:
                        waiter.release()
                    except RuntimeError:  # a call was interrupted before it could take it out
                        continue
                elif waiter.released:
                    continue
                else:
                    waiter.released = True
                    resume(waiter)
                n -= 1
            return None

        return notify


def _notify_elsewhere(condition: Any, n: Any) -> None:
    """On another OS thread: as the standard library, of a queue that may be empty at any moment."""
    if not condition._is_owned():
        raise RuntimeError("cannot notify on un-acquired lock")
    waiters = condition._waiters
    while n > 0:
        try:
            waiter = waiters[0]
        except IndexError:
            return
        try:
            waiter.release()
        except RuntimeError:  # an earlier call was interrupted before it could take it out
            pass
        else:
            n -= 1
        withdraw(waiters, waiter)


def _enter(self: Any) -> Any:
    return self._lock.__enter__()


def _leave(self: Any, *args: Any) -> Any:
    return self._lock.__exit__(*args)
