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

5. A finalizer may run wherever something is allocated and, from CPython 3.12 on, at the next call
   after that; it may wait there, and others change the queue.  What was allocated is used only if
   the queue is still what it was.
6. A thread that was woken, and can't run because a finalizer waits on top of it, passes the wake-up
   on as well, and looks again later.
7. Where there are several kernels (`processors`) each has its lot for a kind of things.  Who wakes
   one thread wakes one in each kernel, for none knows whether another's will find the thing: who
   finds it gone waits on, at the head.

Parking is for the scheduler's OS thread; `wake_one`, `wake` and `wake_all` may be called on any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..contracts.thread import Slot, Thread, WaitQueue
from ..cpython import originals
from .core import Kernel
from .state import let_finalizers_come

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Lot", "first_of"]


class Lot:
    """Who waits for the things of one kind."""

    __slots__ = ("_key", "_kind", "_pass_on", "everywhere", "kernel", "peers", "waiting")

    def __init__(
        self,
        kernel: Kernel,
        kind: str,
        pass_on: Callable[[Any], object] | None = None,
        *,
        field: str = "",
    ) -> None:
        """`kind` is what threads wait for, as schedulers and reports have it: ``Thread.kind``.

        ``pass_on(thing)`` is called for a thread that was woken and raises; by default the next one
        that waits for the thing is woken.  If the things are records that have a field for who
        waits, a `Slot`, its name is `field`, and the lot keeps no entries of its own.
        """
        self.kernel = kernel
        self._kind = kind
        self._pass_on = self.wake_one if pass_on is None else pass_on
        self._key: Callable[[Any], Any] = _itself if field else id
        self.waiting: dict[Any, Thread | WaitQueue] = _Field(field) if field else {}
        """By id of a thing: who waits for it here."""
        self.peers: Sequence[Lot] = () if field else kernel.peers(kind, self)
        self.everywhere: Any = Everywhere(self.peers) if self.peers else self.waiting
        """What somebody waits for: to be looked at before a call of `wake_one`."""
        kernel.on_fork(self._after_fork)
        kernel.passed_over.append(self._passed_over)

    def _after_fork(self) -> None:
        """Nobody waits but the thread that has forked, if a signal handler of its wait has."""
        alive = self.kernel.threads
        slots = list(self.waiting.items())
        left = {key: each for key, slot in slots for each in _listed(slot) if each.ident in alive}
        self.waiting.clear()
        self.waiting.update(left)

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
        kernel = self.kernel
        me = kernel.begin()
        try:
            key = self._key(thing)
            waiting = self.waiting
            me.kind = self._kind
            me.object = thing
            if key in waiting:
                self.add(thing, me, first=first)
            else:
                waiting[key] = me
            if ready is not None and ready(thing):
                me.object = None
                self.withdraw(thing, me)
                kernel.cancel(me)
                return True
            in_time = kernel.park(me, deadline)
        except BaseException:
            was_woken = not self.withdraw(thing, me)
            if kernel.current is not me:
                me.object = None
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
        if self.peers:
            return self._tell_peers(Lot._wake_first, thing)
        if originals.get_ident() != self.kernel.os_ident:
            self.kernel.call_soon(self._wake_first, thing)
            return True
        return self._wake_first(thing)

    def _tell_peers(self, wake: Callable[[Lot, Any], object], thing: Any) -> bool:
        """Have each kernel make a call in which somebody waits for `thing`; whether there is any.
        Any OS thread: also that of a kernel whose lot this is not."""
        key = id(thing)
        ident = originals.get_ident()
        told = False
        for peer in self.peers:
            if key in peer.waiting:
                told = True
                if ident == peer.kernel.os_ident:
                    wake(peer, thing)
                else:
                    peer.kernel.call_soon(wake, peer, thing)
        return told

    def _wake_first(self, thing: Any) -> bool:
        """As `wake_one`, of those that wait here.  Scheduler's OS thread."""
        kernel = self.kernel
        waiting = self.waiting
        key = self._key(thing)
        while key in waiting:
            thread = self.first(thing)
            if thread is not None and self.withdraw(thing, thread):
                kernel.resume(thread)
                return True
        return False

    def wake_all(self, thing: Any) -> None:
        """Wake all who wait for `thing` now, in order.  Any OS thread."""
        if self.peers:
            self._tell_peers(Lot._wake_all, thing)
        elif originals.get_ident() != self.kernel.os_ident:
            self.kernel.call_soon(self._wake_all, thing)
        else:
            self._wake_all(thing)

    def _wake_all(self, thing: Any) -> None:
        """As `wake_all`, of those that wait here.  Scheduler's OS thread."""
        kernel = self.kernel
        for thread in self.waiters(thing):
            if self.withdraw(thing, thread):
                kernel.resume(thread)

    def wake(self, thing: Any, thread: Thread) -> None:
        """Wake `thread`, if it still waits for `thing` here.  Any OS thread."""
        kernel = self.kernel
        if originals.get_ident() != kernel.os_ident:
            kernel.call_soon(self.wake, thing, thread)
        elif self.withdraw(thing, thread):
            kernel.resume(thread)

    def waiters(self, thing: Any) -> list[Thread]:
        """All who wait for `thing`, in order.  Any OS thread."""
        return _listed(self.waiting.get(self._key(thing)))

    def first(self, thing: Any) -> Thread | None:
        """Who has waited longest for `thing`, as far as is known."""
        key = self._key(thing)
        waiting = self.waiting
        while key in waiting:
            slot: Any = waiting[key]
            if slot.__class__ is not WaitQueue:
                return slot  # type: ignore[no-any-return]
            thread = first_of(slot)
            let_finalizers_come()
            if thread is not None:
                return thread
        return None

    def add(self, thing: Any, me: Thread, *, first: bool = False) -> None:
        """`me`, which has begun to wait, queues for `thing`; with `first` before all others."""
        key = self._key(thing)
        waiting = self.waiting
        while key in waiting:
            slot = waiting[key]
            if type(slot) is WaitQueue:
                slot[me] = None
                if first:
                    slot.move_to_end(me, last=False)
                return
            queue = WaitQueue()
            if key in waiting and waiting[key] is slot:
                queue[slot] = None  # type: ignore[index]
                waiting[key] = queue
        waiting[key] = me

    def _passed_over(self, thread: Thread) -> None:
        """`thread` was chosen, but a finalizer waits on top of it."""
        thing = thread.object
        if thread.kind != self._kind or thing is None:
            return
        slot = self.waiting.get(self._key(thing))
        if slot is not thread and not (type(slot) is WaitQueue and thread in slot):
            self._pass_on(thing)  # it was woken

    def withdraw(self, thing: Any, me: Thread) -> bool:
        """`me` waits no longer for `thing`; False if it was woken already."""
        key = self._key(thing)
        waiting = self.waiting
        if key not in waiting:
            return False
        slot: Any = waiting[key]
        if slot is me:
            del waiting[key]
            return True
        if slot.__class__ is not WaitQueue or me not in slot:
            return False
        del slot[me]
        if not slot:
            del waiting[key]
        return True


class _Field(dict["Any", "Any"]):
    """A dictionary by record whose values lie in the records; None there is no entry."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __contains__(self, record: Any) -> bool:
        return getattr(record, self._name) is not None

    def __getitem__(self, record: Any) -> Any:
        return getattr(record, self._name)

    get = __getitem__  # type: ignore[assignment]

    def __setitem__(self, record: Any, slot: Slot) -> None:
        setattr(record, self._name, slot)

    def __delitem__(self, record: Any) -> None:
        setattr(record, self._name, None)

    def pop(self, record: Any, default: Any = None) -> Any:
        slot = getattr(record, self._name)
        setattr(record, self._name, None)
        return slot

    def clear(self) -> None:
        """The owner of the records clears them."""


class Everywhere:
    """By id of a thing: whether somebody waits for it, in any of the lots.  Any OS thread.

    It is true whoever waits: two looks for a release cost more than one.
    """

    __slots__ = ("_lots",)

    def __init__(self, lots: Sequence[Lot]) -> None:
        self._lots = lots

    def __contains__(self, key: int) -> bool:
        for lot in self._lots:  # noqa: SIM110  # `any` takes four times as long, at each release
            if key in lot.waiting:
                return True
        return False


def _itself(thing: Any) -> Any:
    return thing


def _listed(slot: Slot) -> list[Thread]:
    if slot is None:
        return []
    if type(slot) is not WaitQueue:
        return [slot]  # type: ignore[list-item]
    while True:
        try:
            return list(slot)
        except RuntimeError:  # it has changed: another OS thread lists it, without the GIL
            pass


def first_of(queue: WaitQueue) -> Thread | None:
    """The thread that has waited longest; None if a finalizer, as this allocates, has all woken."""
    for thread in queue:
        return thread
    return None
