"""Waiting for a lock whose C object keeps its state: what `lock` and `RLock` share.

1. Queue first, try again, then park: a release on another OS thread finds either the waiter or
   leaves a lock that the second try gets.
2. A release wakes the first waiter and leaves the lock free, as stock does: whoever comes first
   gets it.  A waiter that was woken and found the lock taken goes back to the head, *starving*, and
   the next release takes the lock for it: a thread that releases and takes a lock in a loop does
   not keep the others out.
3. A wake-up that its thread can't use (it is interrupted) is passed on.

A wait may begin in a finalizer in the middle of anything: nothing is imported, and what is used is
held by closure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...contracts.thread import Slot, Thread
from ...cpython import originals
from ...kernel.core import Kernel
from ...kernel.waitqueue import added, contains, first, removed

__all__ = ["LockWaits", "lock_waits"]


class LockWaits(NamedTuple):
    """The waits for the locks of one type."""

    waiting: dict[int, Slot]
    """By id of a lock: who waits for it.  A release looks here before it calls `wake`."""
    wait: Callable[[Any, float | None], bool]
    """``wait(lock, deadline)``: park until the lock is taken; False when the deadline passed."""
    wake: Callable[[Any], None]
    """``wake(lock)``: it was released.  Any OS thread."""


def lock_waits(
    kernel: Kernel,
    kind: str,
    try_acquire: Callable[[Any, bool], bool],
    acquire_for: Callable[[Any, Thread], bool],
    release: Callable[[Any], None],
) -> LockWaits:
    """The waits for a type of lock, from its operations.

    ``try_acquire(lock, False)`` takes it for the current thread, ``acquire_for(lock, thread)`` for
    another one, both without waiting; ``release(lock)`` is the full release, which wakes the next.
    """
    get_ident = originals.get_ident
    waiting: dict[int, Slot] = {}
    starving: set[Thread] = set()

    def store(key: int, slot: Slot) -> None:
        if slot is None:
            waiting.pop(key, None)
        else:
            waiting[key] = slot

    def leave(lock: Any, me: Thread) -> bool:
        """`me` waits no longer; whether it was still queued."""
        key = id(lock)
        slot = waiting.get(key)
        starving.discard(me)
        if not contains(slot, me):
            return False
        store(key, removed(slot, me))
        return True

    def wait(lock: Any, deadline: float | None) -> bool:
        key = id(lock)
        again = False
        while True:
            # `begin`, without its call: each wait of a Condition or an Event passes here.
            me = kernel.current
            finalizer = kernel.finalizer
            if me is finalizer:
                me = kernel.begin()
            else:
                finalizer.host = me
                me.parked = True
                me.timed_out = False
                kernel.current = finalizer
            if key in waiting:
                waiting[key] = added(waiting[key], me, first=again)
            else:
                waiting[key] = me
            if try_acquire(lock, False):
                leave(lock, me)
                kernel.cancel(me)
                return True
            if again:
                starving.add(me)
            me.kind = kind
            me.object = lock
            try:
                in_time = kernel.park(me, deadline)
            except BaseException:
                if not leave(lock, me):
                    if again:
                        release(lock)  # it was ours already
                    else:
                        wake(lock)
                raise
            if not in_time:
                leave(lock, me)
                return False
            if again or try_acquire(lock, False):
                return True
            again = True

    def wake(lock: Any) -> None:
        if get_ident() != kernel.os_ident:
            kernel.call_soon(wake, lock)
            return
        key = id(lock)
        slot = waiting.get(key)
        if type(slot) is Thread and slot.parked and not starving:
            # What follows below, and `resume`, for one who waits alone and for the first time.
            del waiting[key]
            slot.parked = False
            push = kernel.push
            push(slot)
            return
        if slot is None:
            return
        thread = first(slot)
        if thread in starving:
            if not acquire_for(lock, thread):
                return  # taken meanwhile: whoever has it releases it
            starving.discard(thread)
        store(key, removed(slot, thread))
        kernel.resume(thread)

    def after_fork() -> None:
        waiting.clear()
        starving.clear()

    kernel.on_fork(after_fork)
    return LockWaits(waiting, wait, wake)
