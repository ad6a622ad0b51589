"""Lots: where threads park until somebody wakes them, first come first served.

A `Lot` is for the things of one kind: all locks, all import locks, all ends of threads.  A thread
parks in it *for* one of them, which it keeps alive; whoever makes the thing available wakes one
thread, or all.  This is the one way to wait for a thing; `Kernel.begin` and `Kernel.park` alone are
for a thread whose wake-up is addressed to it (a request, a signal, several things at once).

1. A thread is queued first, looks at the thing again, and then parks: what becomes available before
   it looks is found by it, and what becomes available later finds it in the queue.
2. A thread is taken out of the queue by who wakes it, exactly once for each time that it parks;
   `Kernel.resume` refuses a second one.  A thread that gives up takes itself out.
3. A thread that was woken, and raises instead of going on, passes the wake-up on.
4. A thing that nobody waits for has no entry, one that a single thread waits for is an entry with
   that thread: there may be 100,000 such things.  Each operation takes constant time, removal from
   the middle too.

Parking is for the scheduler's OS thread; `wake_one` and `wake_all` may be called on any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..contracts.thread import Slot, Thread, WaitQueue
from ..cpython import originals
from .core import Kernel

__all__ = ["Lot", "RecordLot"]


class Lot:
    """Who waits for the things of one kind."""

    __slots__ = ("_kernel", "_kind", "_pass_on", "waiting")

    def __init__(
        self, kernel: Kernel, kind: str, pass_on: Callable[[Any], object] | None = None
    ) -> None:
        """`kind` is what threads wait for, as schedulers and reports have it: ``Thread.kind``.

        ``pass_on(thing)`` is called for a thread that was woken and raises; by default the next one
        that waits for the thing is woken.
        """
        self._kernel = kernel
        self._kind = kind
        self._pass_on = self.wake_one if pass_on is None else pass_on
        self.waiting: dict[int, Thread | WaitQueue] = {}
        """By id of a thing: who waits for it.  To be looked at before a call of `wake_one`."""
        kernel.on_fork(self.clear)

    def park(
        self,
        thing: Any,
        deadline: float | None = None,
        *,
        first: bool = False,
        ready: Callable[[Any], object] | None = None,
    ) -> bool:
        """Wait for `thing`; False when `deadline`, of the kernel's clock, has passed.

        `first`: it was woken for nothing, and goes to the head of the queue.  ``ready(thing)`` is
        called once the thread is queued; if it returns something true the thread does not park.
        It must not wait.  Raises what it raises, and what an interrupt of the wait raises.
        """
        kernel = self._kernel
        me = kernel.begin()
        try:
            slot = self._slot(thing)
            self._store(thing, me if slot is None else _joined(slot, me, first))
            if ready is not None and ready(thing):
                self.withdraw(thing, me)
                kernel.cancel(me)
                return True
            me.kind = self._kind
            me.object = thing
            in_time = kernel.park(me, deadline)
        except BaseException:
            was_woken = not self.withdraw(thing, me)
            if kernel.current is not me:
                kernel.cancel(me)  # `ready` has raised
            if was_woken:
                self._pass_on(thing)
            raise
        if not in_time:
            self.withdraw(thing, me)
        return in_time

    def wake_one(self, thing: Any) -> bool:
        """Wake the thread that has waited longest for `thing`; whether there is one, as far as is
        known.  Any OS thread.
        """
        kernel = self._kernel
        if originals.get_ident() != kernel.os_ident:
            kernel.call_soon(self.wake_one, thing)
            return True
        thread = self.take(thing)
        if thread is None:
            return False
        kernel.resume(thread)
        return True

    def wake_all(self, thing: Any) -> None:
        """Wake all who wait for `thing` now, in order.  Any OS thread."""
        kernel = self._kernel
        if originals.get_ident() != kernel.os_ident:
            kernel.call_soon(self.wake_all, thing)
            return
        threads = self.waiters(thing)
        if threads:
            self._store(thing, None)
        for thread in threads:
            kernel.resume(thread)

    def waiters(self, thing: Any) -> list[Thread]:
        """All who wait for `thing`, in order."""
        slot = self._slot(thing)
        if slot is None:
            return []
        return list(slot) if type(slot) is WaitQueue else [slot]  # type: ignore[list-item]

    def take(self, thing: Any) -> Thread | None:
        """Take out the thread that has waited longest, for the caller to resume."""
        slot = self._slot(thing)
        if type(slot) is not WaitQueue:
            if slot is not None:
                self._store(thing, None)
            return slot  # type: ignore[return-value]
        thread, _ = slot.popitem(last=False)
        if not slot:
            self._store(thing, None)
        return thread

    def withdraw(self, thing: Any, me: Thread) -> bool:
        """`me` waits no longer for `thing`; False if it was woken already."""
        slot = self._slot(thing)
        if slot is me:
            self._store(thing, None)
            return True
        if type(slot) is not WaitQueue or me not in slot:
            return False
        del slot[me]
        if not slot:
            self._store(thing, None)
        return True

    def clear(self) -> None:
        """Forget all who wait: in a forked child."""
        self.waiting.clear()

    def _slot(self, thing: Any) -> Slot:
        return self.waiting.get(id(thing))

    def _store(self, thing: Any, slot: Slot) -> None:
        if slot is None:
            del self.waiting[id(thing)]
        else:
            self.waiting[id(thing)] = slot


class RecordLot(Lot):
    """A lot for records with a field of their own for who waits, which makes an entry needless."""

    __slots__ = ("_field",)

    def __init__(
        self,
        kernel: Kernel,
        kind: str,
        field: str,
        pass_on: Callable[[Any], object] | None = None,
    ) -> None:
        """`field` is the name of the field, a `Slot`.  After a fork the records are the owner's
        to clear.
        """
        super().__init__(kernel, kind, pass_on)
        self._field = field

    def _slot(self, thing: Any) -> Slot:
        slot: Slot = getattr(thing, self._field)
        return slot

    def _store(self, thing: Any, slot: Slot) -> None:
        setattr(thing, self._field, slot)


def _joined(slot: Thread | WaitQueue, thread: Thread, first: bool) -> WaitQueue:
    """`slot` with `thread` at its end, or at its head."""
    if type(slot) is WaitQueue:
        queue = slot
    else:
        queue = WaitQueue()
        queue[slot] = None  # type: ignore[index]
    queue[thread] = None
    if first:
        queue.move_to_end(thread, last=False)
    return queue
