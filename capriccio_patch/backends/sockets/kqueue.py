"""kqueue(2): the default on the BSDs and on macOS.

Facts:

* One call takes changes and returns events: registering costs no system call of its own.
* close(2) drops what was registered for the number, whoever else holds the file.  fork(2) gives the
  child no queue: there its number is free.
* A change that fails is reported among the events, and the call does not wait then.  Where there is
  no room for such a report the call fails and forgets the changes behind it.
* EV_CLEAR tells of changes; that urgent data stands between two parts of a stream it tells on macOS
  alone.  EV_ONESHOT tells of the state, once.  EV_DISPATCH, which would keep what it disables,
  is unknown to Python's ``select``.
* Files on a disk are readable for a kqueue until their end only, for poll(2) always.
* Some systems refuse terminals and other devices (EINVAL), and none tells of urgent data in a
  portable way.

Decision: EV_ADD with EV_ONESHOT at each wait, handed over with the next `poll`.  So the state that
is waited for can't be missed, a number that was closed and reused needs no care, and nobody is
woken for what nobody waits for.  EV_CLEAR would spare the change, but after each short read the
next one would have to fail before it may wait, which costs a system call and an exception.  Who
waits only for the end of a stream asks for more data than there can be (NOTE_LOWAT).  What a kqueue
does not do is waited for with select(2) on an OS thread of its own.

Cost: the kernel makes and drops a record for each wait.  A descriptor that we don't own costs an
fstat(2), as with poll and select.
"""

from __future__ import annotations

import errno
import stat
import sys
from collections import deque
from collections.abc import Sequence
from functools import partial

from ...contracts.descriptor import ERR, HUP, NVAL, PRI, RDHUP, READ, WRITE, Descriptor
from ...cpython import interpose, originals
from ...io import os_threads
from ...io.reserved import Own
from ..limits import FD_SETSIZE, MAX_TIMEOUT
from ..notifier import NotifiedBackend, Notifier, notice_reuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

if TYPE_CHECKING and sys.platform == "linux":
    # Its stubs have no kqueue; those of other systems are checked.
    select: Any
    kevent: TypeAlias = Any  # noqa: PYI042
    kqueue: TypeAlias = Any  # noqa: PYI042
else:
    import select

    if TYPE_CHECKING:
        from select import kevent, kqueue

__all__ = ["ImmediateKqueueBackend", "KqueueBackend"]

_MAX_EVENTS = 512
_MAX_DATA = 0x7FFFFFFF
_ASIDE_PERIOD = 1.0
"""Seconds after which a wait on an OS thread looks whether anybody still wants it."""


class KqueueBackend(NotifiedBackend):
    """One-shot filters, changed by the call that waits."""

    name = "kqueue"

    __slots__ = (
        "_aside",
        "_changes",
        "_control",
        "_found",
        "_kevent",
        "_kqueue",
        "_once",
        "_own",
        "_pid",
    )

    @classmethod
    def is_available(cls) -> str | None:
        """The BSDs and macOS."""
        return None if hasattr(select, "kqueue") else "this system has no kqueue"

    def init(self) -> None:
        """One kqueue and one pipe."""
        self._use(select.kqueue())
        self._own = Own(self._kqueue.fileno(), self._moved)
        self._kevent: type[kevent] = select.kevent
        self._once = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
        self._changes: dict[int, kevent] = {}
        """By descriptor, or its complement for writing: what the next `poll` hands over."""
        self._aside: dict[int, int] = {}
        """The events of what OS threads wait for."""
        self._found: deque[tuple[int, int]] = deque()
        """What those have seen."""
        self._pid = originals.getpid()
        try:
            self._notifier = Notifier(self._watch_notifier)
        except OSError:
            self._own.release()
            originals.kqueue_close(self._kqueue)
            raise
        self._watch_notifier()

    def _use(self, queue: kqueue) -> None:
        self._kqueue = queue
        # Not a bound method: those of kqueue objects are made cooperative where they are stored.
        self._control = partial(originals.kqueue_control, queue)

    def _moved(self, old: int) -> None:
        """What is registered is the file's.  The object before would close the number one day."""
        interpose.leak(self._kqueue)
        self._use(select.kqueue.fromfd(self._own.fd))

    def _watch_notifier(self, old: int = -1) -> None:
        """The filter of an `old` number goes when that is closed."""
        reader = self._kevent(self._notifier.reader, select.KQ_FILTER_READ, select.KQ_EV_ADD)
        self._control([reader], 0, 0)

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """No system call for what we own: the next `poll` hands it over."""
        fd = descriptor.fd
        reused = 0
        if not descriptor.owned:
            status = originals.fstat(fd)
            reused = notice_reuse(descriptor, status)
            if stat.S_ISREG(status.st_mode):
                return events | reused
        descriptor.armed = events
        if events & PRI:
            self._wait_aside(fd, events)
            return reused
        if events & READ:
            self._changes[fd] = self._kevent(fd, select.KQ_FILTER_READ, self._once)
        elif not events & WRITE:
            self._changes[fd] = self._kevent(
                fd, select.KQ_FILTER_READ, self._once, select.KQ_NOTE_LOWAT, _MAX_DATA
            )
        if events & WRITE:
            self._changes[~fd] = self._kevent(fd, select.KQ_FILTER_WRITE, self._once)
        return reused

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """One kevent(2)."""
        changes, self._changes = self._changes, {}
        if timeout is not None:
            timeout = min(timeout, MAX_TIMEOUT)
        try:
            reported = self._control(
                list(changes.values()), max(_MAX_EVENTS, len(changes)), timeout
            )
        except BaseException:
            self._changes = changes | self._changes  # to hand them over twice does no harm
            raise
        found: dict[int, int] = {}
        for event in reported:
            fd = event.ident
            if fd == self._notifier.reader:
                self._notifier.drain()
            elif happened := self._events(event):
                found[fd] = found.get(fd, 0) | happened
        while self._found:
            fd, happened = self._found.popleft()
            found[fd] = found.get(fd, 0) | happened
        return list(found.items())

    def _events(self, event: kevent) -> int:
        """What a report means in the words of poll(2)."""
        reading = event.filter == select.KQ_FILTER_READ
        if event.flags & select.KQ_EV_ERROR:
            if event.data == errno.EBADF:
                return NVAL
            if event.data:
                self._wait_aside(event.ident, READ if reading else WRITE)
            return 0
        happened = READ if reading else WRITE
        if event.flags & select.KQ_EV_EOF:
            happened |= RDHUP if reading else HUP
            if event.fflags:
                happened |= ERR
        return happened

    def forget(self, descriptor: Descriptor) -> None:
        """The kernel drops what it has; here is what it was to get."""
        fd = descriptor.fd
        self._changes.pop(fd, None)
        self._changes.pop(~fd, None)
        self._aside.pop(fd, None)

    def close(self) -> None:
        """Close the kqueue, unless this is a forked child, and the pipe."""
        self._aside.clear()
        self._own.release()
        if originals.getpid() == self._pid:
            originals.kqueue_close(self._kqueue)
        else:
            interpose.leak(self._kqueue)  # its number is free: collecting it might close another's
        self._notifier.close()

    # -- what a kqueue does not do -----------------------------------------------------------

    def _wait_aside(self, fd: int, events: int) -> None:
        """Have an OS thread wait for `events`, unless one does; it need not be in time for more."""
        waiting = self._aside.get(fd, 0)
        self._aside[fd] = waiting | events
        if not waiting:
            try:
                os_threads.start(self._run_aside, (fd,))
            except RuntimeError as error:
                del self._aside[fd]
                raise OSError(errno.EAGAIN, str(error)) from None

    def _run_aside(self, fd: int) -> None:
        happened = 0
        while not happened:
            events = self._aside.get(fd, 0)
            if not events:
                return  # closed, or the scheme is
            try:
                happened = _wait_for(fd, events)
            except OSError:
                happened = NVAL
        if self._aside.pop(fd, 0):
            self._found.append((fd, happened))
            self.notify()


class ImmediateKqueueBackend(KqueueBackend):
    """Hands changes over at once, to a `poll` that may be waiting on another OS thread."""

    __slots__ = ()

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """One kevent(2) for each direction."""
        at_once = super().add_request(descriptor, events)
        changes, self._changes = self._changes, {}
        for change in changes.values():
            try:
                self._control([change], 0, 0)
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise
                reading = change.filter == select.KQ_FILTER_READ
                self._wait_aside(change.ident, READ if reading else WRITE)
        return at_once


def _wait_for(fd: int, events: int) -> int:
    """Which of `events` have come; 0 after a while."""
    if fd >= FD_SETSIZE and originals.poll is not None:
        poller = originals.poll()
        poller.register(fd, events)
        found = originals.poll_poll(poller, _ASIDE_PERIOD * 1000)
        return int(found[0][1]) if found else 0
    wanted = [(fd,) if events & event else () for event in (READ, WRITE, PRI)]
    readers, writers, urgent = originals.select_select(*wanted, _ASIDE_PERIOD)
    return (READ if readers else 0) | (WRITE if writers else 0) | (PRI if urgent else 0)
