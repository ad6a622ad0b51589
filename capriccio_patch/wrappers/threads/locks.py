"""``_thread.lock`` and ``_thread.RLock``: existing ones and new ones alike.

The C lock stays the lock: its state is what OS threads, C code and ``repr`` see.  What is added is
who waits for it among the green threads, and which green thread owns a recursive one.

1. How green threads wait and are woken: `lock_waits`.
2. C code keeps the owner of an RLock by OS thread, so all green threads would be one.  `owners`
   says which green thread it is, for as long as the lock is held; C counts the recursion.
3. A lock that C releases without calling us (the sentinel of an OS thread, before 3.13) is waited
   for on an OS thread: ``c_released``.

These types are everybody's: importlib's locks, logging's, those of finalizers and of
``threading._shutdown``.  The functions below import nothing and hold what they use by closure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakSet

from ...contracts.thread import Thread
from ...cpython import originals
from ..base import Existing, Patch, Runtime, seconds
from .lock_waits import LockWaits, lock_waits

__all__ = ["Locks", "RLocks", "locks", "rlocks"]

# Beyond _thread.TIMEOUT_MAX the original raises OverflowError.
_TIMEOUT_MAX = originals.TIMEOUT_MAX
_POLL = 0.005  # seconds


class Locks(NamedTuple):
    """The plain locks."""

    rows: list[Patch]
    waits: LockWaits


class RLocks(NamedTuple):
    """The recursive locks."""

    rows: list[Patch]
    existing: Existing
    held: Callable[[Any], bool]
    """``held(lock)``: whether the current green thread owns it."""


def locks(runtime: Runtime, c_released: WeakSet[Any]) -> Locks:
    """Plain locks; `c_released` holds those of point 3, and may grow later."""
    kernel = runtime.kernel
    clock = kernel.clock
    get_ident = originals.get_ident
    original_acquire = originals.lock_acquire
    original_release = originals.lock_release

    def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        if timeout != -1:
            return acquire_timed(self, blocking, timeout)
        if original_acquire(self, False):
            return True
        if not blocking:
            return False
        if get_ident() != kernel.os_ident:
            return original_acquire(self)
        if c_released and self in c_released:
            return wait_outside(self, None)
        return wait_here(self, None)

    def enter(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        if original_acquire(self, False):
            return True
        return acquire(self, blocking, timeout)

    def acquire_timed(self: Any, blocking: bool, timeout: Any) -> Any:
        if get_ident() != kernel.os_ident:
            return original_acquire(self, blocking, timeout)
        limit = _limit(blocking, timeout, lambda: original_acquire(self, blocking, timeout))
        if original_acquire(self, False):
            return True
        if limit == 0:
            return False
        deadline = None if limit is None else clock() + limit
        if c_released and self in c_released:
            return wait_outside(self, deadline)
        return wait_here(self, deadline)

    def wait_outside(lock: Any, deadline: float | None) -> bool:
        timeout = -1 if deadline is None else max(0.0, deadline - clock())
        call_alone = runtime.workers.call_alone
        try:
            return bool(call_alone(_acquire_until, original_acquire, lock, timeout))
        except RuntimeError:  # no further OS thread: there are none while CPython 3.12 shuts down
            return wait_by_polling(lock, deadline)

    def wait_by_polling(lock: Any, deadline: float | None) -> bool:
        while not original_acquire(lock, False):
            now = clock()
            if deadline is not None and now >= deadline:
                return False
            kernel.sleep_until(now + _POLL)
        return True

    def release(self: Any) -> None:
        original_release(self)
        if waiting and id(self) in waiting:
            wake(self)

    def leave(self: Any, kind: Any = None, value: Any = None, trace: Any = None, /) -> None:
        original_release(self)
        if waiting and id(self) in waiting:
            wake(self)

    def acquire_for(lock: Any, thread: Thread) -> bool:
        return original_acquire(lock, False)  # type: ignore[no-any-return]

    waits = lock_waits(kernel, "lock", original_acquire, acquire_for, release)
    waiting, wait_here, wake = waits
    rows = [
        # A function that replaces two has the name of the later.
        Patch("threading", "_thread", "LockType.acquire_lock", acquire),
        Patch("threading", "_thread", "LockType.acquire", acquire),
        Patch("threading", "_thread", "LockType.__enter__", enter),
        Patch("threading", "_thread", "LockType.release_lock", release),
        Patch("threading", "_thread", "LockType.release", release),
        Patch("threading", "_thread", "LockType.__exit__", leave),
    ]
    return Locks(rows, waits)


def rlocks(runtime: Runtime) -> RLocks:
    """Recursive locks."""
    kernel = runtime.kernel
    clock = kernel.clock
    get_ident = originals.get_ident
    original_acquire = originals.rlock_acquire
    original_release = originals.rlock_release
    is_owned = originals.rlock_is_owned
    original_count: Any = originals.rlock_recursion_count
    original_save = originals.rlock_release_save
    original_restore = originals.rlock_acquire_restore
    original_repr = originals.RLockType.__repr__
    owners: dict[int, int] = {}
    deeper: set[int] = set()
    """Locks that may be held more than once: C tells, when they are released."""

    # The three that follow do without a look at the OS thread.  Another one notes the wrong owner,
    # but only while it holds the lock; and whoever finds a note believes C more.  Identifiers are
    # compared as objects: it is the owner's own that is noted.

    def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        if timeout == -1 and original_acquire(self, False):
            key = id(self)
            if key not in owners:
                owners[key] = kernel.current.ident
                return True
            return acquired_again(self, blocking)
        return acquire_slowly(self, blocking, timeout)

    def enter(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        if original_acquire(self, False):
            key = id(self)
            if key not in owners:
                owners[key] = kernel.current.ident
                return True
            return acquired_again(self, True)
        return acquire_slowly(self, blocking, timeout)

    def acquired_again(lock: Any, blocking: bool) -> Any:
        """C has given the lock to this OS thread, and somebody is noted as its owner."""
        if get_ident() != kernel.os_ident:
            return True
        key = id(lock)
        if owners[key] == kernel.current.ident:
            deeper.add(key)
            return True
        original_release(lock)
        return acquire_slowly(lock, blocking, -1)

    def acquire_slowly(self: Any, blocking: Any, timeout: Any) -> Any:
        if get_ident() != kernel.os_ident:
            return original_acquire(self, blocking, timeout)
        limit = _limit(blocking, timeout, lambda: original_acquire(self, blocking, timeout))
        if try_acquire(self, False):
            return True
        if limit == 0:
            return False
        return wait(self, None if limit is None else clock() + limit)

    def try_acquire(lock: Any, blocking: bool) -> bool:
        key = id(lock)
        ident = kernel.current.ident
        owner = owners.get(key)
        if owner is not None and owner != ident and is_owned(lock):
            return False
        # Nobody's, mine, or what a lock at this address left behind that died while held.
        if original_acquire(lock, False):
            owners[key] = ident
            if owner == ident:
                deeper.add(key)
            return True
        owners.pop(key, None)  # held by another OS thread
        return False

    def release(self: Any) -> None:
        key = id(self)
        mine = owners.get(key) is kernel.current.ident and is_owned(self)
        if mine and (not deeper or key not in deeper):
            # The note goes first: once the lock is free another OS thread may leave one of its own.
            del owners[key]
            original_release(self)
            if waiting and key in waiting:
                wake(self)
        else:
            release_slowly(self)

    def leave(self: Any, kind: Any = None, value: Any = None, trace: Any = None, /) -> None:
        key = id(self)
        mine = owners.get(key) is kernel.current.ident and is_owned(self)
        if mine and (not deeper or key not in deeper):
            del owners[key]
            original_release(self)
            if waiting and key in waiting:
                wake(self)
        else:
            release_slowly(self)

    def release_slowly(lock: Any) -> None:
        key = id(lock)
        if get_ident() != kernel.os_ident:
            original_release(lock)
            if waiting and key in waiting:
                wake(lock)
            return
        if owners.get(key) != kernel.current.ident:
            raise RuntimeError("cannot release un-acquired lock")
        if key not in deeper:
            owners.pop(key, None)
        original_release(lock)
        if key in deeper and not is_owned(lock):
            # Only green threads of this OS thread believe the note, and none of them runs now.
            owners.pop(key, None)
            deeper.discard(key)
        if waiting and key in waiting and not is_owned(lock):
            wake(lock)

    def acquire_for(lock: Any, thread: Thread) -> bool:
        key = id(lock)
        if (key in owners and is_owned(lock)) or not original_acquire(lock, False):
            return False
        owners[key] = thread.ident
        return True

    waiting, wait, wake = lock_waits(kernel, "rlock", try_acquire, acquire_for, release)

    def owned(self: Any) -> bool:
        if get_ident() != kernel.os_ident:
            return bool(is_owned(self))
        return held(self)

    def held(self: Any) -> bool:
        """Whether the current green thread owns it."""
        return owners.get(id(self)) == kernel.current.ident and bool(is_owned(self))

    def recursion_count(self: Any) -> int:
        return int(original_count(self)) if owned(self) else 0

    def release_save(self: Any) -> Any:
        if get_ident() != kernel.os_ident:
            state = original_save(self)
        else:
            key = id(self)
            if owners.get(key) != kernel.current.ident or not is_owned(self):
                raise RuntimeError("cannot release un-acquired lock")
            del owners[key]
            deeper.discard(key)
            state = original_save(self)
        if waiting and id(self) in waiting:
            wake(self)
        return state

    def acquire_restore(self: Any, state: Any, /) -> None:
        if get_ident() != kernel.os_ident:
            original_restore(self, state)
            return
        count, _ = state
        if id(self) not in owners and original_acquire(self, False):
            owners[id(self)] = kernel.current.ident
        elif not try_acquire(self, False):
            wait(self, None)
        for _ in range(count - 1):
            original_acquire(self, False)
            deeper.add(id(self))

    def represent(self: Any) -> str:
        text = original_repr(self)
        owner = owners.get(id(self))
        if owner is not None and is_owned(self):
            return text.replace(f"owner={kernel.os_ident} ", f"owner={owner} ")
        return text

    def adopt(lock: Any) -> None:
        """An RLock that exists at the patch, perhaps held by the thread that patches."""
        if is_owned(lock):
            owners[id(lock)] = kernel.current.ident
            deeper.add(id(lock))

    def after_fork() -> None:
        mine = kernel.current.ident
        for key in [key for key, owner in owners.items() if owner != mine]:
            del owners[key]

    kernel.on_fork(after_fork)
    rows = [
        Patch("threading", "_thread", "RLock.__enter__", enter),
        Patch("threading", "_thread", "RLock.acquire", acquire),
        Patch("threading", "_thread", "RLock.release", release),
        Patch("threading", "_thread", "RLock.__exit__", leave),
        Patch("threading", "_thread", "RLock._is_owned", owned),
        Patch("threading", "_thread", "RLock._release_save", release_save),
        Patch("threading", "_thread", "RLock._acquire_restore", acquire_restore),
        Patch("threading", "_thread", "RLock.__repr__", represent),
    ]
    if original_count is not None:  # from 3.11.4
        rows.append(Patch("threading", "_thread", "RLock._recursion_count", recursion_count))
    return RLocks(rows, Existing(originals.RLockType, adopt), held)


def _limit(blocking: Any, timeout: Any, refuse: Callable[[], Any]) -> float | None:
    """Seconds to wait at most, None for ever, 0 not at all; raises as the original does."""
    limit = seconds(timeout, refuse)
    if limit == -1:
        return None if blocking else 0
    if not blocking or limit < 0 or limit > _TIMEOUT_MAX:
        refuse()
    return limit


def _acquire_until(acquire: Callable[..., Any], lock: Any, timeout: float) -> bool:
    """On a worker's OS thread: take the lock, which tells that it was released."""
    return bool(acquire(lock, True, timeout))
