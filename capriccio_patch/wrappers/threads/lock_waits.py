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

A wait may begin in a finalizer in the middle of anything: nothing is imported.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...contracts.thread import Thread
from ...cpython import originals
from ...kernel.core import Kernel
from ...kernel.parking import Lot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["LockOperations", "LockWaits"]


class LockOperations(Protocol):
    """What the waits need of a type of lock.  None of it waits."""

    def try_acquire(self, lock: Any, blocking: bool, /) -> bool:
        """``try_acquire(lock, False)``: take it for the current thread."""

    def take_for(self, lock: Any, thread: Thread, /) -> bool:
        """Take it for `thread`, which waits for it; False if others came first."""

    def drop(self, lock: Any, /) -> None:
        """What `take_for` has just taken is free again; that wakes nobody."""

    def release(self, lock: Any, /) -> None:
        """The full release, which wakes the next."""


class LockWaits:
    """The waits for the locks of one type; `kind` is what the records of its waiters say."""

    __slots__ = (
        *("_lot", "_operations", "_peers", "_told", "everywhere", "given", "kernel", "kind"),
        *("starving", "waiting"),
    )

    def __init__(self, kernel: Kernel, kind: str, operations: LockOperations) -> None:
        self.kernel = kernel
        self._operations = operations
        self._lot = Lot(kernel, kind, pass_on=self.wake)
        self.kind = kind
        self.waiting = self._lot.waiting
        """By id of a lock: who waits for it here."""
        self.everywhere = self._lot.everywhere
        """A release looks here before it calls `wake`."""
        self._peers: Sequence[LockWaits] = kernel.peers(f"waits for a {kind}", self)
        self._told: set[int] = set()
        """The locks, by id, of whose release this kernel has yet to hear."""
        self.starving: set[Thread] = set()
        self.given: dict[Thread, Any] = {}
        """Those who starved and have been given their lock, which they have yet to find out."""
        kernel.on_fork(self._after_fork)
        kernel.passed_over.append(self._passed_over)

    def wait(self, lock: Any, deadline: float | None) -> bool:
        """Park until the lock is taken; False when `deadline`, of the kernel's clock, has passed.
        Scheduler's OS thread."""
        try_acquire = self._operations.try_acquire
        lot, kernel, given = self._lot, self.kernel, self.given
        again = False
        while True:
            me = kernel.begin()
            me.kind = self.kind
            me.object = lock
            if again:
                self.starving.add(me)
            lot.add(lock, me, first=again)
            if try_acquire(lock, False):
                self._leave_with(lock, me)
                return True
            try:
                in_time = kernel.park(me, deadline)
            except BaseException:
                self.give_up(lock, me)
                raise
            if me in given and given[me] is lock:
                del given[me]
                return True
            if not in_time:
                self._leave(lock, me)
                return False
            if try_acquire(lock, False):
                return True
            again = True

    def wake(self, lock: Any) -> None:
        """It was released.  Any OS thread."""
        ident = originals.get_ident()
        for peer in self._peers or (self,):
            if ident == peer.kernel.os_ident:
                peer._wake(lock)
            elif id(lock) in peer.waiting and id(lock) not in peer._told:
                peer._told.add(id(lock))
                peer.kernel.call_soon(peer._hear, lock)

    def _hear(self, lock: Any) -> None:
        """It was released elsewhere."""
        self._told.discard(id(lock))
        self._wake(lock)

    def _wake(self, lock: Any) -> None:
        if id(lock) in self.waiting:
            kernel = self.kernel
            unfinished = kernel.unfinished
            unfinished[lock] = self._wake_first
            self._wake_first(lock)
            unfinished.pop(lock, None)

    def give_up(self, lock: Any, me: Thread) -> None:
        """`me` waits no longer; what it was woken for is the next one's."""
        if self.given.get(me) is lock:
            self._give_back(lock, me)
        elif not self._leave(lock, me):
            self.wake(lock)

    def _wake_first(self, lock: Any) -> None:
        operations, lot = self._operations, self._lot
        while (thread := lot.first(lock)) is not None:
            starves = thread in self.starving
            if starves and not operations.take_for(lock, thread):
                return  # taken meanwhile: who has it releases it
            if not lot.withdraw(lock, thread):
                if starves:
                    operations.drop(lock)
                continue
            if starves:
                self.given[thread] = lock
                self.starving.discard(thread)
            self.kernel.resume(thread)
            return

    def _leave(self, lock: Any, me: Thread) -> bool:
        """`me` waits no longer; whether it was still queued."""
        self.starving.discard(me)
        return self._lot.withdraw(lock, me)

    def _leave_with(self, lock: Any, me: Thread) -> None:
        """`me`, which has begun to wait, has the lock already."""
        me.object = None
        self._leave(lock, me)
        if self.given.get(me) is lock:  # as well
            self._give_back(lock, me)
        self.kernel.cancel(me)

    def _give_back(self, lock: Any, me: Thread) -> None:
        self.given.pop(me, None)
        self._operations.release(lock)

    def _passed_over(self, thread: Thread) -> None:
        """A finalizer waits on top of `thread`, which has to try again later."""
        if thread in self.given:
            self._give_back(self.given[thread], thread)

    def _after_fork(self) -> None:
        self.starving.clear()
        self.given.clear()
        self._told.clear()
