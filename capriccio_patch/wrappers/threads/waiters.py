"""What a thread leaves in the queue of a condition or an event while it waits.

The queue is the condition's own, a deque in which stock leaves locks and which the standard
library's methods work on, so no lot of the kernel's is used: a `Waiter` stands for one thread.

1. A `Waiter` has the one method of a lock that others call: an OS thread that runs the standard
   library's ``notify`` wakes green threads too.
2. It is queued before its thread looks again and parks, and is released once.
3. After a fork nobody is left in the child of those that waited in the parent, but for what the
   thread that forked may have interrupted.
"""

from __future__ import annotations

from ...contracts.thread import Thread
from ...cpython import originals
from ...kernel.core import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Waiter", "Waits", "withdraw"]

_get_ident = originals.get_ident


class _Process:
    """Where a wait has begun."""

    __slots__ = ("is_this", "waits")

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.is_this = True


class Waiter:
    """One wait, in the process of `Waits.process`."""

    __slots__ = ("process", "released", "thread")

    def __init__(self, process: _Process) -> None:
        self.process = process
        self.released = False
        self.thread: Thread | None = None
        """The thread that is parked."""

    def release(self) -> None:
        """End the wait.  Any OS thread."""
        if self.released:
            raise RuntimeError("release unlocked lock")
        self.released = True
        waits = self.process.waits
        if _get_ident() == waits.kernel.os_ident:
            waits.resume(self)
        else:
            waits.kernel.call_soon(waits.resume, self)


class Waits:
    """Has threads wait for their waiters to be released.  Scheduler's OS thread."""

    __slots__ = ("kernel", "process")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.process = _Process(self)
        kernel.on_fork(self._after_fork)

    def _after_fork(self) -> None:
        self.process.is_this = False
        self.process = _Process(self)

    def park(
        self, kind: str, thing: Any, waiters: Any, waiter: Waiter, deadline: float | None
    ) -> bool:
        """Wait for `waiter`, which is among the waiters; False if it was not released in time."""
        kernel = self.kernel
        me = kernel.begin()
        if waiter.released:
            kernel.cancel(me)
            return True
        waiter.thread = me
        me.kind = kind
        me.object = thing
        try:
            return kernel.park(me, deadline) or waiter.released
        finally:
            waiter.thread = None
            if not waiter.released:
                withdraw(waiters, waiter)

    def resume(self, waiter: Waiter) -> None:
        """`waiter` was released: its thread goes on."""
        thread = waiter.thread
        kernel = self.kernel
        waits = waiter.process.waits
        if waits is not self:  # it waits in another kernel of this process
            waits.kernel.call_soon(waits.resume, waiter)
            return
        if thread is not None and (waiter.process.is_this or thread.ident in kernel.threads):
            waiter.thread = None
            kernel.resume(thread)


def withdraw(waiters: Any, waiter: Waiter) -> None:
    """Take `waiter` out of the queue, unless whoever has released it did so."""
    try:
        waiters.remove(waiter)
    except ValueError:
        pass
