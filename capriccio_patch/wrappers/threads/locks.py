"""``_thread.lock``: existing ones and new ones alike.

The C lock stays the lock: its state is what OS threads, C code and ``repr`` see.  What is added is
who waits for it among the green threads.

1. How green threads wait and are woken: `lock_waits`.
2. A lock that C releases without calling us (the sentinel of an OS thread, before 3.13) is waited
   for on an OS thread: ``c_released``.

This type is everybody's: importlib's locks, logging's, those of finalizers and of
``threading._shutdown``.  Nothing is imported here, and what is called most has what it uses by
closure.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from ...contracts.thread import Thread
from ...cpython import originals
from ...io import os_threads
from ..base import Patch, Runtime, seconds
from .lock_waits import LockWaits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Locks", "leaver", "limit", "method"]

# Beyond _thread.TIMEOUT_MAX the original raises OverflowError.
_TIMEOUT_MAX = originals.TIMEOUT_MAX
_POLL = 0.005  # seconds


class Locks:
    """The plain locks; `c_released` holds those of point 2, and may grow later."""

    def __init__(self, runtime: Runtime, c_released: WeakSet[Any]) -> None:
        self._kernel = runtime.kernel
        self._workers = runtime.workers
        self._c_released = c_released
        self.try_acquire: Any = originals.lock_acquire
        self.drop: Any = originals.lock_release
        self.waits = LockWaits(runtime.kernel, "lock", self)
        self.release = self._releaser()

    def rows(self) -> list[Patch]:
        """The rows of this module."""
        acquire = self._acquirer()
        return [
            # A function that replaces two has the name of the later.
            Patch("threading", "_thread", "LockType.acquire_lock", acquire),
            Patch("threading", "_thread", "LockType.acquire", acquire),
            Patch("threading", "_thread", "LockType.__enter__", self._acquirer()),
            Patch("threading", "_thread", "LockType.release_lock", self.release),
            Patch("threading", "_thread", "LockType.release", self.release),
            Patch("threading", "_thread", "LockType.__exit__", leaver(self.release)),
        ]

    def take_for(self, lock: Any, thread: Thread, /) -> bool:
        """C lets nobody else come meanwhile."""
        return self.try_acquire(lock, False)  # type: ignore[no-any-return]

    def _acquirer(self) -> Callable[..., Any]:
        try_acquire = self.try_acquire
        acquire_slowly = self._acquire

        def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
            if timeout == -1 and try_acquire(self, False):
                return True
            return acquire_slowly(self, blocking, timeout)

        return acquire

    def _acquire(self, lock: Any, blocking: bool, timeout: Any) -> Any:
        kernel, original_acquire = self._kernel, self.try_acquire
        if originals.get_ident() != kernel.os_ident:
            if blocking:
                os_threads.waits_for_the_program()
            return original_acquire(lock, blocking, timeout)
        most = limit(blocking, timeout, lambda: original_acquire(lock, blocking, timeout))
        if original_acquire(lock, False):
            return True
        if most == 0:
            return False
        deadline = None if most is None else kernel.clock() + most
        if self._c_released and lock in self._c_released:
            return self._wait_outside(lock, deadline)
        return self.waits.wait(lock, deadline)

    def _wait_outside(self, lock: Any, deadline: float | None) -> bool:
        timeout = -1 if deadline is None else max(0.0, deadline - self._kernel.clock())
        try:
            return bool(self._workers.call_alone(self.try_acquire, lock, True, timeout))
        except RuntimeError:  # no further OS thread: there are none while CPython 3.12 shuts down
            return self._wait_by_polling(lock, deadline)

    def _wait_by_polling(self, lock: Any, deadline: float | None) -> bool:
        while not self.try_acquire(lock, False):
            now = self._kernel.clock()
            if deadline is not None and now >= deadline:
                return False
            self._kernel.sleep_until(now + _POLL)
        return True

    def _releaser(self) -> Callable[[Any], None]:
        original_release = self.drop
        waiting, wake = self.waits.everywhere, self.waits.wake

        def release(self: Any) -> None:
            original_release(self)
            if waiting and id(self) in waiting:
                wake(self)

        return release


def leaver(release: Callable[[Any], None]) -> Callable[..., None]:
    """``__exit__`` of a lock, from its ``release``."""

    def leave(self: Any, kind: Any = None, value: Any = None, trace: Any = None, /) -> None:
        release(self)

    return leave


def method(bound: Callable[..., Any]) -> Callable[..., Any]:
    """A function that may be an attribute of a lock's class, and calls `bound` with the lock."""

    def call(self: Any, *args: Any) -> Any:
        return bound(self, *args)

    return call


def limit(blocking: Any, timeout: Any, refuse: Callable[[], Any]) -> float | None:
    """Seconds to wait at most, None for ever, 0 not at all; raises as the original does."""
    most = seconds(timeout, refuse)
    if most == -1:
        return None if blocking else 0
    if not blocking or most < 0 or most > _TIMEOUT_MAX:
        refuse()
    return most
