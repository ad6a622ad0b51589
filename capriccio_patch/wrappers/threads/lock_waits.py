"""Waiting for a lock whose C object keeps its state: what `lock` and `RLock` share.

1. Queue first, try again, then park: a release on another OS thread finds either the waiter or
   leaves a lock that the second try gets.
2. A release wakes the first waiter and leaves the lock free, as stock does: whoever comes first
   gets it.  A waiter that was woken and found the lock taken goes back to the head, *starving*, and
   the next release takes the lock for it: a thread that releases and takes a lock in a loop does
   not keep the others out.
3. A wake-up that its thread can't use is passed on: the thread is interrupted, or a finalizer waits
   on top of it.
4. Finalizers may come, and wait, at any call and allocation.  What belongs together is changed
   between two of them; a wake-up that they interrupt is finished by others (`Kernel.unfinished`).

A wait may begin in a finalizer in the middle of anything: nothing is imported, and what is used is
held by closure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...contracts.thread import Thread, WaitQueue
from ...cpython import originals
from ...kernel.core import Kernel
from ...kernel.parking import Lot, first_of
from ...kernel.state import let_finalizers_come

__all__ = ["LockOperations", "LockWaits", "lock_waits"]


class LockWaits(NamedTuple):
    """The waits for the locks of one type."""

    waiting: dict[int, Thread | WaitQueue]
    """By id of a lock: who waits for it.  A release looks here before it calls `wake`."""
    wait: Callable[[Any, float | None], bool]
    """``wait(lock, deadline)``: park until the lock is taken; False when the deadline passed."""
    wake: Callable[[Any], None]
    """``wake(lock)``: it was released.  Any OS thread."""


class LockOperations(NamedTuple):
    """What the waits need of a type of lock.  None of them waits."""

    try_acquire: Callable[[Any, bool], bool]
    """``try_acquire(lock, False)``: take it for the current thread."""
    grab: Callable[[Any, bool], bool]
    """``grab(lock, False)``: have C take it, for a thread that is yet to be named."""
    grant: Callable[[Any, Thread], bool] | None
    """``grant(lock, thread)``: what was grabbed is this thread's; False if others came first.  None
    if C lets nobody else come."""
    drop: Callable[[Any], None]
    """``drop(lock)``: what was grabbed goes back to C."""
    release: Callable[[Any], None]
    """``release(lock)``: the full release, which wakes the next."""


def lock_waits(kernel: Kernel, kind: str, operations: LockOperations) -> LockWaits:
    """The waits for a type of lock; `kind` is what the records of its waiters say."""
    try_acquire, grab, grant, drop, release = operations
    get_ident = originals.get_ident
    starving: set[Thread] = set()
    given: set[Thread] = set()
    """Those who starved and have been granted their lock; they have yet to run."""
    unfinished = kernel.unfinished

    def leave(lock: Any, me: Thread) -> bool:
        """`me` waits no longer; whether it was still queued."""
        starving.discard(me)
        return withdraw(lock, me)

    def give_up(lock: Any, me: Thread) -> None:
        """`me` waits no longer; what it was woken for is the next one's."""
        if me in given:
            give_back(lock, me)
        elif not leave(lock, me):
            wake(lock)

    def give_back(lock: Any, me: Thread) -> None:
        given.discard(me)
        release(lock)

    def passed_over(thread: Thread) -> None:
        """A finalizer waits on top of `thread`, which has to try again later."""
        if thread in given:
            give_back(thread.object, thread)

    def wait(lock: Any, deadline: float | None) -> bool:
        key = id(lock)
        again = False
        while True:
            me = kernel.begin()
            me.kind = kind
            me.object = lock
            if again:
                starving.add(me)
            if key not in waiting:
                waiting[key] = me
            elif waiting[key].__class__ is not WaitQueue:
                add(lock, me, first=again)
            else:
                # Copy of `Lot.add`, inlined: goes with a compiled core.
                queue: Any = waiting[key]
                queue[me] = None
                if again:
                    queue.move_to_end(me, last=False)
            if try_acquire(lock, False):
                me.object = None
                leave(lock, me)
                if me in given:  # as well
                    give_back(lock, me)
                kernel.cancel(me)
                return True
            try:
                in_time = kernel.park(me, deadline)
            except BaseException:
                give_up(lock, me)
                raise
            if given and me in given:
                given.discard(me)
                return True
            if not in_time:
                leave(lock, me)
                return False
            if try_acquire(lock, False):
                return True
            again = True

    def wake(lock: Any) -> None:
        if get_ident() != kernel.os_ident:
            kernel.call_soon(wake, lock)
            return
        key = id(lock)
        if key not in waiting:
            return
        slot: Any = waiting[key]
        if slot.__class__ is Thread and slot.parked and not starving:
            # Copy of `wake_first` and `Kernel.resume` for one that waits alone and for the first
            # time, inlined: goes with a compiled core.
            del waiting[key]
            slot.parked = False
            push = kernel.push
            push(slot)
            return
        unfinished[lock] = wake_first
        wake_first(lock)
        unfinished.pop(lock, None)

    def wake_first(lock: Any) -> None:
        key = id(lock)
        while key in waiting:
            slot = waiting[key]
            thread: Any = slot
            if slot.__class__ is WaitQueue:
                thread = first_of(slot)
                if thread is None:
                    continue
            starves = thread in starving
            if not starves:
                let_finalizers_come()
            elif not grab(lock, False):
                return  # taken meanwhile: who has it releases it
            if (
                key not in waiting
                or waiting[key] is not slot
                or not (slot is thread or thread in slot)  # type: ignore[operator]
            ):
                if starves:
                    drop(lock)
                continue
            if starves:
                if grant is not None and not grant(lock, thread):
                    drop(lock)
                    return
                given.add(thread)
                starving.discard(thread)
            if slot is thread:
                del waiting[key]
            else:
                del slot[thread]  # type: ignore[union-attr]
                if not slot:
                    del waiting[key]
            kernel.resume(thread)
            return

    lot = Lot(kernel, kind, pass_on=wake)
    waiting = lot.waiting
    add, withdraw = lot.add, lot.withdraw

    def after_fork() -> None:
        starving.clear()
        given.clear()

    kernel.on_fork(after_fork)
    kernel.passed_over.append(passed_over)
    return LockWaits(waiting, wait, wake)
