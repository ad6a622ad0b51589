"""``threading.Condition`` and ``threading.Event``: what queues, pools and started threads wait in.

They are Python in the standard library, a dozen calls for each wait, and would work as they are:
these rows make them short.

1. Who waits leaves a `Waiter` where stock leaves a lock, and it has that lock's one method which
   others call: an OS thread that runs the standard library's ``notify`` wakes green threads too.
2. Queue first, look again, then park: as everywhere.
3. Nothing here is preempted, so on the scheduler's OS thread a condition's state is consistent
   without its lock; other OS threads see it only under the lock, so what they rely on is done under
   it: setting an event, notifying.
4. What is not plain (another kind of lock, a subclass, odd arguments, another OS thread) goes the
   way of the standard library, with the condition's own methods.

Source followed: Lib/threading.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...contracts.thread import Thread
from ...cpython import originals
from ..base import Patch, Runtime
from .lock_waits import LockWaits

__all__ = ["patches"]

_NUMBERS = (float, int)
_TIMEOUT_MAX = originals.TIMEOUT_MAX


def patches(
    runtime: Runtime, lock_waits: LockWaits, rlock_held: Callable[[Any], bool]
) -> list[Patch]:
    """The rows of this module, which know the waits for plain locks and who owns an RLock."""
    kernel = runtime.kernel
    clock = kernel.clock
    get_ident = originals.get_ident
    Condition: Any = threading.Condition
    Lock = originals.LockType
    RLock = originals.RLockType
    try_lock = originals.lock_acquire
    unlock = originals.lock_release
    is_locked = originals.lock_locked
    waiting_for_lock, _, wake_for_lock = lock_waits
    stock_wait = Condition.wait
    stock_notify = Condition.notify
    stock_event_wait = threading.Event.wait
    stock_event_set = threading.Event.set

    class Waiter:
        """One wait."""

        __slots__ = ("process", "released", "thread")

        def __init__(self) -> None:
            self.process = process
            self.released = False
            self.thread: Thread | None = None
            """Who is parked."""

        def release(self) -> None:
            """End the wait.  Any OS thread."""
            if self.released:
                raise RuntimeError("release unlocked lock")
            self.released = True
            if get_ident() == kernel.os_ident:
                resume(self)
            else:
                kernel.call_soon(resume, self)

    process = object()

    def after_fork() -> None:
        """In the child there is nobody left of those who waited in the parent, but for what the
        thread that forked may have interrupted."""
        nonlocal process
        process = object()

    kernel.on_fork(after_fork)

    def resume(waiter: Waiter) -> None:
        thread = waiter.thread
        if thread is not None and (waiter.process is process or thread.ident in kernel.threads):
            waiter.thread = None
            if thread.parked:  # `Kernel.resume`, without its call
                thread.parked = False
                push = kernel.push
                push(thread)
            else:
                kernel.resume(thread)

    def withdraw(waiters: Any, waiter: Waiter) -> None:
        try:
            waiters.remove(waiter)
        except ValueError:
            pass  # released, and removed by who did so

    def waits(kind: str, what: Any, waiters: Any, waiter: Waiter, deadline: float | None) -> bool:
        """Wait for `waiter`, which is among the waiters; False if it was not released in time."""
        me = kernel.current
        finalizer = kernel.finalizer
        if me is finalizer:
            me = kernel.begin()
        else:  # `begin`, without its call
            finalizer.host = me
            me.parked = True
            me.timed_out = False
            kernel.current = finalizer
        if waiter.released or (kind == "event" and what._flag):
            withdraw(waiters, waiter)
            kernel.cancel(me)
            return True
        waiter.thread = me
        me.kind = kind
        me.object = what
        try:
            return kernel.park(me, deadline) or waiter.released
        finally:
            waiter.thread = None
            if not waiter.released:
                withdraw(waiters, waiter)

    def is_owned(condition: Any, lock: Any) -> Any:
        return rlock_held(lock) if type(lock) is RLock else condition._is_owned()

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
        plain = type(lock) is Lock and type(self) is Condition
        if not (is_locked(lock) if plain else is_owned(self, lock)):
            raise RuntimeError("cannot wait on un-acquired lock")
        waiters = self._waiters
        waiter = Waiter()
        waiters.append(waiter)
        if plain:
            lock.release()
        else:
            state = self._release_save()
        try:
            if timeout is not None and timeout <= 0:
                withdraw(waiters, waiter)
                return waiter.released  # the lock was free for a moment, as in stock
            return waits("condition", self, waiters, waiter, deadline)
        finally:
            if not plain:
                self._acquire_restore(state)
            elif not try_lock(lock, False):
                lock.acquire()

    def notify(self: Any, n: int = 1) -> Any:
        lock = self._lock
        plain = type(lock) is Lock and type(self) is Condition
        if plain and not self._waiters and is_locked(lock):
            return None
        if get_ident() != kernel.os_ident or type(n) is not int:
            return stock_notify(self, n)
        if not (is_locked(lock) if plain else is_owned(self, lock)):
            raise RuntimeError("cannot notify on un-acquired lock")
        waiters = self._waiters
        while waiters and n > 0:
            waiter = waiters[0]
            if type(waiter) is not Waiter:
                return stock_notify(self, n)
            waiters.popleft()
            if not waiter.released:
                waiter.released = True
                resume(waiter)
                n -= 1
        return None

    def enter(self: Any) -> Any:
        lock = self._lock
        if type(lock) is Lock and try_lock(lock, False):
            return True
        return lock.__enter__()

    def leave(self: Any, *args: Any) -> Any:
        lock = self._lock
        if type(lock) is not Lock:
            return lock.__exit__(*args)
        unlock(lock)  # `lock.release`, without its call
        if waiting_for_lock and id(lock) in waiting_for_lock:
            wake_for_lock(lock)
        return None

    def event_wait(self: Any, timeout: float | None = None) -> Any:
        if self._flag:
            return True
        condition: Any = self._cond
        if get_ident() != kernel.os_ident or type(condition) is not Condition:
            return stock_event_wait(self, timeout)
        deadline = None
        if timeout is not None:
            if type(timeout) not in _NUMBERS or not 0 < timeout <= _TIMEOUT_MAX:
                return stock_event_wait(self, timeout)
            deadline = clock() + timeout
        waiter = Waiter()
        waiters = condition._waiters
        waiters.append(waiter)
        return waits("event", self, waiters, waiter, deadline)

    def event_set(self: Any) -> None:
        condition: Any = self._cond
        if get_ident() != kernel.os_ident or type(condition) is not Condition:
            return stock_event_set(self)
        lock = condition._lock
        if type(lock) is not Lock or not try_lock(lock, False):
            return stock_event_set(self)
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

    def event_clear(self: Any) -> None:
        self._flag = False

    return [
        Patch("threading", "threading", "Condition.__enter__", enter),
        Patch("threading", "threading", "Condition.__exit__", leave),
        Patch("threading", "threading", "Condition.wait", wait),
        Patch("threading", "threading", "Condition.notify", notify),
        Patch("threading", "threading", "Event.wait", event_wait),
        Patch("threading", "threading", "Event.set", event_set),
        Patch("threading", "threading", "Event.clear", event_clear),
    ]
