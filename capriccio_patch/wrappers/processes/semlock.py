"""``_multiprocessing.SemLock``: the semaphore in shared memory under multiprocessing's locks.

The rest of ``multiprocessing`` is Python over pipes, sockets and ``os.waitpid``.

1. Nobody but the system knows of the waiters in other processes, so a green thread that has to wait
   lets an OS thread wait in its stead, each its own: a semaphore is taken for one waiter, in time,
   or not at all.
2. The C object keeps the OS thread that took it last: what was taken on the worker is put down to
   the scheduler's.  Its caller does so, not the worker: who tries to take it looks whose it is and
   then calls C, and nothing may change in between.  Which green thread the scheduler's stands for
   is in `owners`; it matters to RLock, which others may neither enter again nor release, and to
   Condition, which asserts it.
3. A caller that is interrupted while its worker waits leaves the worker behind.  What that one
   takes after all it gives back.
"""

from __future__ import annotations

from math import copysign

from ...cpython import interpose, originals
from ...io.workers import Workers
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_RECURSIVE = 0
_NOBODY = 0
"""No OS thread has this identifier."""
_UNBOUNDED = 1 << 20  # a full pool could be one of threads that wait for each other


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module; none where there is no ``sem_open``."""
    if originals.SemLockType is None:
        return []
    kernel = runtime.kernel
    clock = kernel.clock
    get_ident = originals.get_ident
    original_acquire = originals.semlock_acquire
    original_release = originals.semlock_release
    original_is_mine = originals.semlock_is_mine
    workers = Workers(kernel, _UNBOUNDED)
    kernel.on_fork(workers.after_fork)
    owners: dict[int, int] = {}

    def acquire(self: Any, block: Any = True, timeout: Any = None) -> Any:
        if get_ident() != kernel.os_ident:
            return original_acquire(self, block, timeout)
        # The timeout is read as C reads a float, whether or not it is needed: TypeError.
        deadline = None if timeout is None else clock() + copysign(timeout, timeout)
        if not held_by_other(self) and original_acquire(self, False):
            owners[id(self)] = kernel.current.ident
            return True
        return bool(block) and wait(self, deadline)

    def enter(self: Any) -> Any:
        return acquire(self)

    def release(self: Any) -> None:
        if get_ident() == kernel.os_ident and held_by_other(self):
            raise AssertionError("attempt to release recursive lock not owned by thread")
        original_release(self)

    def leave(self: Any, kind: Any = None, value: Any = None, trace: Any = None, /) -> None:
        release(self)

    def is_mine(self: Any) -> bool:
        if not original_is_mine(self):
            return False
        if get_ident() != kernel.os_ident:
            return True
        # Without an entry it was taken before the patch.
        return owners.get(id(self), kernel.main.ident) == kernel.current.ident

    def held_by_other(semlock: Any) -> bool:
        """Whether C would let in, as the owner of a recursive lock, whoever is not."""
        return semlock.kind == _RECURSIVE and original_is_mine(semlock) and not is_mine(semlock)

    def wait(semlock: Any, deadline: float | None) -> bool:
        ident = kernel.current.ident
        settling = originals.allocate_lock()
        given_up = taken = False

        def acquire_for_caller() -> bool:
            """On the worker."""
            nonlocal taken
            timeout = None if deadline is None else deadline - clock()
            if not original_acquire(semlock, True, timeout):
                return False
            originals.lock_acquire(settling)
            try:
                if given_up:
                    original_release(semlock)
                else:
                    # Before this OS thread waits for another: it would be let in as the owner.
                    interpose.set_semlock_owner(semlock, _NOBODY)
                    taken = True
            finally:
                originals.lock_release(settling)
            return taken

        def own() -> None:
            owners[id(semlock)] = ident
            interpose.set_semlock_owner(semlock, kernel.os_ident)

        try:
            workers.call(acquire_for_caller)
        except BaseException:
            originals.lock_acquire(settling)
            given_up = True
            originals.lock_release(settling)
            if taken:
                own()
                original_release(semlock)
            raise
        if taken:
            own()
        return taken

    return [
        Patch("multiprocessing", "_multiprocessing", "SemLock.acquire", acquire),
        Patch("multiprocessing", "_multiprocessing", "SemLock.__enter__", enter),
        Patch("multiprocessing", "_multiprocessing", "SemLock.release", release),
        Patch("multiprocessing", "_multiprocessing", "SemLock.__exit__", leave),
        Patch("multiprocessing", "_multiprocessing", "SemLock._is_mine", is_mine),
    ]
