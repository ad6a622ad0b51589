"""``threading.Event``: one call for each wait, where the standard library takes a dozen.

1. An event's condition is made when somebody asks for it: most events live without one, and each
   thread has an event (``Thread._started``).  Green threads wait for such an event in a lot.  A
   condition that is made later has them in its queue, as `_Parked`; then all else waits there, as
   `waiters.Waiter`.
2. Nothing here is preempted, so on the scheduler's OS thread an event's state is consistent without
   its lock; other OS threads see it only under the lock, so it is set under the lock if it has one.
   Without the GIL they may make the condition at any moment: it is looked for again behind the set.
3. What is not plain (a subclass, another condition, odd arguments, another OS thread) goes the way
   of the standard library.
4. How an event makes its condition stays in place when the patch is undone: there are events that
   have none yet.

Source followed: Lib/threading.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ...contracts.thread import Thread
from ...cpython import originals
from ...kernel.core import Kernel
from ...kernel.parking import Lot
from ..base import Patch
from .waiters import Waiter, Waits, withdraw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Events"]

_Condition: Any = threading.Condition
_Event: Any = threading.Event
_Lock = originals.LockType
_NUMBERS = (float, int)
_TIMEOUT_MAX = originals.TIMEOUT_MAX


class _Parked:
    """A green thread that waited for an event before that had a condition, in its queue."""

    __slots__ = ("_event", "_lot", "_thread")

    def __init__(self, lot: Lot, event: Any, thread: Thread) -> None:
        self._lot = lot
        self._event = event
        self._thread = thread

    def release(self) -> None:
        """End the wait.  Any OS thread."""
        self._lot.wake(self._event, self._thread)


class _LaterCondition:
    """``Event._cond`` of an event whose condition has yet to be made.  Any OS thread."""

    __slots__ = ("lot",)

    def __init__(self) -> None:
        self.lot: Lot | None = None
        """Where green threads wait, while a patch is in force."""

    def __get__(self, event: Any, owner: Any = None) -> Any:
        if event is None:
            return self
        made: Any = threading.Condition(threading.Lock())
        with made:  # nobody notifies before all are in the queue
            found = vars(event).setdefault("_cond", made)
            if found is made and self.lot is not None:
                for lot in self.lot.peers or (self.lot,):
                    parked = lot.waiters(event)
                    made._waiters.extend(_Parked(lot, event, each) for each in parked)
        return found


def _state(self: Any) -> Any:
    """``Event.__getstate__``: an event is copied with its condition, and not pickled with it."""
    _ = self._cond
    return object.__getstate__(self)  # type: ignore[attr-defined,unused-ignore]


class Events:
    """Has green threads wait for events."""

    def __init__(self, kernel: Kernel, waits: Waits) -> None:
        self.lot = Lot(kernel, "event", pass_on=lambda _: None)  # all are woken at once
        self._waits = waits

    def rows(self) -> list[Patch]:
        """The rows of this module."""
        return [
            Patch("threading", "threading", "Event.__init__", _init, self._install),
            Patch("threading", "threading", "Event._at_fork_reinit", _at_fork_reinit),
            Patch("threading", "threading", "Event.wait", self._wait()),
            Patch("threading", "threading", "Event.set", self._set()),
            Patch("threading", "threading", "Event.clear", _clear),
        ]

    def _install(self) -> Callable[[], None]:
        later = vars(_Event).get("_cond")
        if type(later) is not _LaterCondition:
            later = _LaterCondition()
            _Event._cond = later
            _Event.__getstate__ = _state
        later.lot = self.lot

        def undo() -> None:
            later.lot = None

        return undo

    def _wait(self) -> Callable[..., Any]:
        waits = self._waits
        kernel = waits.kernel
        park = waits.park
        park_in_lot = self.lot.park
        clock = kernel.clock
        get_ident = originals.get_ident
        stock_wait = _Event.wait

        def wait(self: Any, timeout: float | None = None) -> Any:
            if self._flag:
                return True
            if get_ident() != kernel.os_ident:
                return stock_wait(self, timeout)
            deadline = None
            if timeout is not None:
                if type(timeout) not in _NUMBERS or not 0 < timeout <= _TIMEOUT_MAX:
                    return stock_wait(self, timeout)
                deadline = clock() + timeout
            if type(self) is _Event and "_cond" not in vars(self):
                ready = False

                def look(self: Any) -> bool:
                    nonlocal ready
                    ready = self._flag or "_cond" in vars(self)
                    return ready

                in_time = park_in_lot(self, deadline, ready=look)
                if not ready:
                    return in_time
                if self._flag:
                    return True
            condition: Any = self._cond
            if type(condition) is not _Condition:
                return stock_wait(self, timeout)
            waiter = Waiter(waits.process)
            waiters = condition._waiters
            waiters.append(waiter)
            if self._flag:  # a finalizer has set it; from here on that releases the waiter
                withdraw(waiters, waiter)
                return True
            return park("event", self, waiters, waiter, deadline)

        return wait

    def _set(self) -> Callable[..., Any]:
        kernel = self._waits.kernel
        resume = self._waits.resume
        wake_all = self.lot.wake_all
        waiting = self.lot.everywhere
        get_ident = originals.get_ident
        try_lock = originals.lock_acquire
        stock_set = _Event.set

        def set_(self: Any) -> Any:
            if get_ident() != kernel.os_ident:
                return stock_set(self)
            if type(self) is _Event and "_cond" not in vars(self):
                self._flag = True
                if id(self) in waiting:
                    wake_all(self)
                if "_cond" not in vars(self):
                    return None
            condition: Any = self._cond
            if type(condition) is not _Condition:
                return stock_set(self)
            lock = condition._lock
            if type(lock) is not _Lock or not try_lock(lock, False):
                return stock_set(self)
            try:
                self._flag = True
                if id(self) in waiting:
                    wake_all(self)
                waiters = condition._waiters
                while waiters:
                    try:
                        waiter = waiters.popleft()
                    except IndexError:  # its time was over, on another OS thread
                        break
                    if type(waiter) is not Waiter:
                        waiters.appendleft(waiter)
                        break
                    if not waiter.released:
                        waiter.released = True
                        resume(waiter)
                if waiters:
                    condition.notify_all()
            finally:
                lock.release()
            return None

        return set_


def _init(self: Any) -> None:
    self._flag = False


def _at_fork_reinit(self: Any) -> None:
    if "_cond" in vars(self):
        self._cond._at_fork_reinit()


def _clear(self: Any) -> None:
    self._flag = False
