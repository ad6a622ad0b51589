"""``_thread.lock`` and ``_thread.RLock``: existing ones and new ones alike.

The C lock stays the lock: its state is what OS threads, C code and ``repr`` see.  What is added is
who waits for it among the green threads, and which green thread owns a recursive one.

1. How green threads wait and are woken: `lock_waits`.
2. C code keeps the owner of an RLock by OS thread, so all green threads would be one: C gives it to
   whichever asks.  `owners` says which green thread has it and `deeper` how often it has taken it
   again; C counts those too, and for a moment each one that has asked C and not yet looked here.
   So C's count may be higher, and full is the release that the notes say is full.
3. A lock that C releases without calling us (the sentinel of an OS thread, before 3.13) is waited
   for on an OS thread: ``c_released``.
4. A finalizer may come at any call of C and any allocation, wait, and have other threads take and
   release the same lock meanwhile.  So a note is looked at and written with no call in between, and
   what was seen before C was asked is looked at again.

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
from .lock_waits import LockOperations, LockWaits, lock_waits

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
        # Copy of `acquire`, inlined: goes with a compiled core.
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
            return bool(call_alone(original_acquire, lock, True, timeout))
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
        # Copy of `release`, inlined: goes with a compiled core.
        original_release(self)
        if waiting and id(self) in waiting:
            wake(self)

    operations = LockOperations(original_acquire, original_acquire, None, original_release, release)
    waits = lock_waits(kernel, "lock", operations)
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
    get_ident, proxies = originals.get_ident, kernel.proxies
    original_acquire = originals.rlock_acquire
    original_release = originals.rlock_release
    is_owned = originals.rlock_is_owned
    original_count: Any = originals.rlock_recursion_count
    c_count: Callable[[Any], int] = original_count or _shown_count
    original_save = originals.rlock_release_save
    original_restore = originals.rlock_acquire_restore
    original_repr = originals.RLockType.__repr__
    owners: dict[int, int] = {}
    borrowed: dict[tuple[int, int], int] = {}
    """How often an OS thread has taken a lock again that the thread it works for owns."""
    deeper: dict[int, int] = {}
    """How often the owner has taken the lock again; not 0.  Only locks that have an owner."""

    # The four that follow do without a look at the OS thread.  Another one notes the wrong owner,
    # but only while it holds the lock; and C does not give it to anyone here for as long.
    # Identifiers are compared as objects: it is the owner's own that is noted.

    def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        if timeout == -1 and original_acquire(self, False):
            key = id(self)
            ident = kernel.current.ident
            if key not in owners:
                owners[key] = ident
                return True
            return acquired_again(self, blocking)
        return acquire_slowly(self, blocking, timeout)

    def enter(self: Any, blocking: bool = True, timeout: float = -1) -> Any:
        # Copy of `acquire`, inlined: goes with a compiled core.
        if original_acquire(self, False):
            key = id(self)
            ident = kernel.current.ident
            if key not in owners:
                owners[key] = ident
                return True
            return acquired_again(self, True)
        return acquire_slowly(self, blocking, timeout)

    def acquired_again(lock: Any, blocking: bool) -> Any:
        """C has given the lock to this OS thread, and somebody is noted as its owner."""
        if get_ident() != kernel.os_ident:
            return True
        key = id(lock)
        ident = kernel.current.ident
        if key in owners and owners[key] is ident and note(lock, ident):
            return True
        original_release(lock)
        return acquire_slowly(lock, blocking, -1)

    def acquire_slowly(self: Any, blocking: Any, timeout: Any) -> Any:
        if get_ident() != kernel.os_ident:
            if proxies and is_lenders(self):
                key = id(self), get_ident()
                borrowed[key] = borrowed.get(key, 0) + 1
                return True
            return original_acquire(self, blocking, timeout)
        limit = _limit(blocking, timeout, lambda: original_acquire(self, blocking, timeout))
        if try_acquire(self, False):
            return True
        if limit == 0:
            return False
        return wait(self, None if limit is None else clock() + limit)

    def is_lenders(lock: Any) -> bool:
        """Whether the thread that this other OS thread works for owns it, as C says too."""
        is_noted = owners.get(id(lock)) == proxies.get(get_ident(), -1)
        return is_noted and f"owner={kernel.os_ident} " in original_repr(lock)

    def note(lock: Any, ident: int) -> bool:
        """C has given the lock to this OS thread: whether it is `ident`'s, which is noted then."""
        key = id(lock)
        count = c_count(lock) if key in owners else 1
        if key not in owners:
            owners[key] = ident
        elif count == 1:  # the note is that of a lock at this address which died while held
            owners[key] = ident
            deeper.pop(key, None)
        elif owners[key] == ident:
            deeper[key] = deeper[key] + 1 if key in deeper else 1
        else:
            return False
        return True

    def try_acquire(lock: Any, blocking: bool) -> bool:
        key = id(lock)
        ident = kernel.current.ident
        if key in owners and owners[key] != ident and is_owned(lock):
            return False  # another's
        if not original_acquire(lock, False):
            return False
        if note(lock, ident):
            return True
        original_release(lock)
        return False

    def release(self: Any) -> None:
        key = id(self)
        if owners.get(key) is not kernel.current.ident or not is_owned(self):
            release_elsewhere(self)
        elif key in deeper:
            if deeper[key] > 1:
                deeper[key] -= 1
            else:
                del deeper[key]
            original_release(self)
        else:
            # The note goes first: once the lock is free another OS thread may leave one of its own.
            del owners[key]
            original_release(self)
            if waiting and key in waiting:
                wake(self)

    def leave(self: Any, kind: Any = None, value: Any = None, trace: Any = None, /) -> None:
        # Copy of `release`, inlined: goes with a compiled core.
        key = id(self)
        if owners.get(key) is not kernel.current.ident or not is_owned(self):
            release_elsewhere(self)
        elif key in deeper:
            if deeper[key] > 1:
                deeper[key] -= 1
            else:
                del deeper[key]
            original_release(self)
        else:
            del owners[key]
            original_release(self)
            if waiting and key in waiting:
                wake(self)

    def release_elsewhere(lock: Any) -> None:
        """By a thread that does not own it, or that is not of this OS thread."""
        if get_ident() == kernel.os_ident:
            raise RuntimeError("cannot release un-acquired lock")
        key = id(lock), get_ident()
        if again := borrowed.pop(key, 0):
            if again > 1:
                borrowed[key] = again - 1
            return
        forget_foreign(lock)
        original_release(lock)
        if waiting and id(lock) in waiting:
            wake(lock)

    def forget_foreign(lock: Any) -> None:
        """Another OS thread is about to release: a note of the lock is its own, or of the dead."""
        key = id(lock)
        if is_owned(lock):
            deeper.pop(key, None)
            owners.pop(key, None)

    def grab(lock: Any, blocking: bool) -> bool:
        if id(lock) in owners and is_owned(lock):
            return False
        return original_acquire(lock, False)  # type: ignore[no-any-return]

    def grant(lock: Any, thread: Thread) -> bool:
        return note(lock, thread.ident)

    operations = LockOperations(try_acquire, grab, grant, original_release, release)
    waiting, wait, wake = lock_waits(kernel, "rlock", operations)

    def owned(self: Any) -> bool:
        if get_ident() != kernel.os_ident:
            return bool(is_owned(self)) or (bool(proxies) and is_lenders(self))
        return held(self)

    def held(self: Any) -> bool:
        """Whether the current green thread owns it."""
        return owners.get(id(self)) == kernel.current.ident and bool(is_owned(self))

    def recursion_count(self: Any) -> int:
        if get_ident() != kernel.os_ident:
            return int(original_count(self))
        return 1 + deeper.get(id(self), 0) if held(self) else 0

    def release_save(self: Any) -> Any:
        if get_ident() != kernel.os_ident:
            forget_foreign(self)
            state = original_save(self)
        else:
            # Not by C's own function, which would release what others have asked C for as well.
            key = id(self)
            ident = kernel.current.ident
            if not is_owned(self) or key not in owners or owners[key] != ident:
                raise RuntimeError("cannot release un-acquired lock")
            again = 0
            if key in deeper:
                again = deeper[key]
                del deeper[key]
            del owners[key]
            original_release(self)
            for _ in range(again):
                original_release(self)
            state = (again + 1, ident)
        if waiting and id(self) in waiting:
            wake(self)
        return state

    def acquire_restore(self: Any, state: Any, /) -> None:
        if get_ident() != kernel.os_ident:
            original_restore(self, state)
            return
        count, _ = state
        if not try_acquire(self, False):
            wait(self, None)
        for _ in range(count - 1):
            original_acquire(self, False)
            note(self, kernel.current.ident)

    def represent(self: Any) -> str:
        text = original_repr(self)
        owner = owners.get(id(self))
        if owner is not None:
            return text.replace(f"owner={kernel.os_ident} ", f"owner={owner} ")
        return text

    def adopt(lock: Any) -> None:
        """An RLock that exists at the patch, perhaps held by the thread that patches."""
        if is_owned(lock):
            owners[id(lock)] = kernel.current.ident
            if (count := c_count(lock)) > 1:
                deeper[id(lock)] = count - 1

    def after_fork() -> None:
        mine = kernel.current.ident
        for key in [key for key, owner in owners.items() if owner != mine]:
            del owners[key]
            deeper.pop(key, None)

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


def _shown_count(lock: Any) -> int:
    """How often C counts an RLock as taken; before CPython 3.11.4 it says so nowhere else."""
    return int(originals.RLockType.__repr__(lock).rpartition(" count=")[2].split()[0])


def _limit(blocking: Any, timeout: Any, refuse: Callable[[], Any]) -> float | None:
    """Seconds to wait at most, None for ever, 0 not at all; raises as the original does."""
    limit = seconds(timeout, refuse)
    if limit == -1:
        return None if blocking else 0
    if not blocking or limit < 0 or limit > _TIMEOUT_MAX:
        refuse()
    return limit
