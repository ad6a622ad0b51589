"""Waiting for descriptors: who waits for which, who is woken by an event, and in which order.

1. ``can_read`` means: nothing proves that a read would block, and nobody is queued.  Who tries a
   read sets it false *first*; an event that arrives meanwhile sets it true and is not overwritten.
2. A waiter is queued before it looks again and parks.  Who is taken out of a queue owns that
   wake-up: it uses it or passes it on (`pass_on`).
3. Waiters are served in the order in which they came; one that was woken for nothing goes back to
   the head.
4. An ``Observer`` (select, poll) is woken by any event and looks for itself.

Scheduler's OS thread only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable

from ..contracts.descriptor import ERR, HUP, NVAL, PRI, RDHUP, READ, WRITE, Descriptor
from ..contracts.socket_backend import REUSED
from ..contracts.thread import Thread
from ..kernel.core import Kernel
from ..kernel.parking import Lot
from .identity import identity_if_open

__all__ = ["Waits"]

_WAKES_READERS = READ | PRI | ERR | HUP | NVAL | RDHUP
_WAKES_WRITERS = WRITE | ERR | HUP | NVAL
_NOT_EXACT = PRI | ERR | HUP | RDHUP


class Waits:
    """The waits on descriptors, and the events that end them."""

    __slots__ = (
        "_calls",
        "_edge_triggered",
        "_holds_files",
        "_kernel",
        "_readers",
        "_writers",
        "get",
        "limit_of",
        "table",
    )

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._edge_triggered = kernel.backend.edge_triggered
        self._holds_files = kernel.backend.holds_files
        self._calls: dict[int, tuple[Descriptor, Callable[[], None]]] = {}
        """What is called when a descriptor of the package's own becomes readable."""
        self._readers = Lot(kernel, "read", self.pass_on, field="readers")
        self._writers = Lot(kernel, "write", field="writers")
        self.table: dict[int, Descriptor] = {}
        self.get = self.table.get
        self.limit_of: Callable[[int, int], float | None] = _no_limit
        """Seconds that the kernel lets a blocking call wait for an event of a number: what knows
        sockets sets it."""
        kernel.dispatch = self.dispatch

    def record(self, fd: int) -> Descriptor:
        """The record of a descriptor that we don't own, made at need."""
        descriptor = self.table.get(fd)
        if descriptor is None:
            descriptor = self.table[fd] = Descriptor(fd)
        return descriptor

    # -- the package's own -------------------------------------------------------------------

    def watch(self, fd: int, call: Callable[[], None]) -> None:
        """Have `call` made whenever `fd`, which the package has opened, becomes readable.

        `call` takes all that there is to take.
        """
        descriptor = Descriptor(fd, owned=True)
        self._calls[fd] = (descriptor, call)
        self._kernel.backend.add_request(descriptor, READ)

    def unwatch(self, fd: int) -> None:
        """`fd` is about to be closed, or to be the program's."""
        descriptor, _ = self._calls.pop(fd)
        self._kernel.backend.withdraw(descriptor)
        self._kernel.backend.forget(descriptor)

    def _call(self, fd: int) -> None:
        descriptor, call = self._calls[fd]
        call()
        if not self._edge_triggered and fd in self._calls:
            descriptor.armed = 0
            self._kernel.backend.add_request(descriptor, READ)

    # -- waits of threads --------------------------------------------------------------------

    def wait_read(self, d: Descriptor, deadline: float | None, again: bool) -> bool:
        """Park until a read may succeed; False when `deadline` passed.

        `again`: the caller was woken for nothing, so it goes first.
        """
        return self._wait(self._readers, d, deadline, again)

    def _arm_to_read(self, d: Descriptor) -> bool:
        """A reader is queued: whether it need not park."""
        if d.can_read:
            return True
        if not d.owned or not d.armed & READ:
            self.arm(d)
        return False

    def wait_write(self, d: Descriptor, deadline: float | None, again: bool) -> bool:
        """Park until a write may succeed; False when `deadline` passed.

        Writes block rarely, so nothing is remembered of them: each wait has the backend look.
        """
        return self._wait(self._writers, d, deadline, again)

    def _wait(self, lot: Lot, d: Descriptor, deadline: float | None, again: bool) -> bool:
        ready = self._arm_to_read if lot is self._readers else self.arm
        try:
            in_time = lot.park(d, deadline, first=again, ready=ready)
        except BaseException:
            self._gave_up(d)
            raise
        if not in_time:
            self._gave_up(d)
        return in_time

    def left(self, d: Descriptor, me: Thread, kind: str, raised: bool) -> None:
        """A wait of C's has ended without its turn: it is undone as by the lot.  C has `me` queued
        for `d`, to ``read`` or to ``write``; `raised`, or the deadline has passed."""
        is_reader = kind == "read"
        was_woken = not (self._readers if is_reader else self._writers).withdraw(d, me)
        if raised:
            self._failed(me)
            if was_woken and is_reader:
                self.pass_on(d)
            elif was_woken:
                self.pass_on_write(d)
        self._gave_up(d)

    def _gave_up(self, d: Descriptor) -> None:
        """A wait has ended without an event: the scheme may have to let go of the descriptor."""
        if self._holds_files and not d.interest():
            self._kernel.backend.withdraw(d)

    def _failed(self, me: Thread) -> None:
        """A wait has raised; before it could park, if `me` is not the current thread again."""
        if self._kernel.current is not me:
            self._kernel.cancel(me)

    def observe(
        self,
        wanted: dict[int, int],
        deadline: float | None,
        ready: Callable[[], bool] | None = None,
    ) -> bool:
        """Park until something happens on one of the descriptors `wanted`: {number: events}.

        ``ready()`` is asked once they are observed; if it is true the thread does not park.
        """
        kernel = self._kernel
        me = kernel.begin()
        me.kind = "select"
        me.object = wanted
        watched: list[Descriptor] = []
        try:
            for fd, events in wanted.items():
                d = self.record(fd)
                if d.observers is None:
                    d.observers = {}
                d.observers[me] = events
                watched.append(d)
                self.arm(d)
            if ready is not None and ready():
                kernel.cancel(me)
                return True
            return kernel.park(me, deadline)
        except BaseException:
            self._failed(me)
            raise
        finally:
            for d in watched:
                if d.observers is not None:
                    d.observers.pop(me, None)
                    if not d.observers:
                        d.observers = None
            if self._holds_files:
                for d in watched:
                    self._gave_up(d)

    def pass_on(self, d: Descriptor) -> None:
        """The first reader has used its turn and there may be more: the next one's turn."""
        if d.readers is None:
            d.can_read = True
        else:
            self._readers.wake_one(d)

    def pass_on_write(self, d: Descriptor) -> None:
        """As `pass_on`, for writers."""
        if d.writers is not None:
            self._writers.wake_one(d)

    def arm(self, d: Descriptor) -> None:
        """Have the backend report `d`, even if the state that is waited for is there already."""
        if d.file is None:
            self._identify(d)
        events = self._kernel.backend.add_request(d, d.interest())
        if d.reused:  # as schemes of third parties say it
            d.reused = False
            events |= REUSED
        if not events:
            return
        if events & ~REUSED:
            # The kernel does not multiplex such descriptors (regular files): always ready.
            self._kernel.call_soon(self.dispatch, ((d.fd, events & ~REUSED),))
        if events & REUSED:
            self._identify(d)
            self._abandon(d, self._kernel.finalizer.host)

    def _identify(self, d: Descriptor) -> None:
        """Note for which file its number stands, which is waited for."""
        d.file = identity_if_open(d.fd)

    def _abandon(self, d: Descriptor, newcomer: Thread | None = None) -> None:
        """The number was closed in C and stands for another file now, which `newcomer` waits for.

        Who waited for the old one must not take what belongs to the new one's readers.
        """
        kernel = self._kernel
        for lot in (self._readers, self._writers):
            for thread in lot.waiters(d):
                if thread is not newcomer:
                    kernel.interrupt(thread, _raise_closed)
        for thread in list(d.observers or ()):
            if thread is not newcomer:
                self._resume_if_parked(thread)

    # -- events ------------------------------------------------------------------------------

    def dispatch(self, events: Iterable[tuple[int, int]]) -> None:
        """Wake whom the events concern: what the backend's poll has returned."""
        table_get = self.get
        edge_triggered = self._edge_triggered
        for fd, happened in events:
            d = table_get(fd)
            if d is None:
                if fd in self._calls:
                    self._call(fd)
                continue
            if not edge_triggered or not d.owned:
                d.armed = 0
            if happened & _WAKES_READERS:
                if happened & _NOT_EXACT:
                    d.exact = False
                    d.ended = bool(happened & RDHUP)
                self.pass_on(d)
            if d.writers is not None and happened & _WAKES_WRITERS:
                self.pass_on_write(d)
            if d.observers:
                self._wake_observers(d, happened)
            if not d.armed:
                left = d.interest()
                if left:
                    self._arm_again(d)

    def _arm_again(self, d: Descriptor) -> None:
        try:
            self.arm(d)
        except OSError:  # closed behind our back: the waiters get that error from their own calls
            self._wake_all(d)

    def _wake_observers(self, d: Descriptor, happened: int) -> None:
        assert d.observers is not None
        for thread, wanted in list(d.observers.items()):
            if happened & (wanted | ERR | HUP | NVAL):
                del d.observers[thread]
                self._resume_if_parked(thread)

    def _resume_if_parked(self, thread: Thread) -> None:
        if thread.parked or thread.by_interrupt:  # else it is on its way, to look for itself
            self._kernel.resume(thread)

    def _wake_all(self, d: Descriptor) -> None:
        """Every waiter tries again, and learns from the call what became of its descriptor."""
        d.can_read = True
        if d.readers is not None:
            self._readers.wake_all(d)
        if d.writers is not None:
            self._writers.wake_all(d)
        observers, d.observers = d.observers, None
        for thread in observers or ():
            self._resume_if_parked(thread)


def _no_limit(fd: int, event: int) -> None:
    """Nothing has set one."""


def _raise_closed() -> None:
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
