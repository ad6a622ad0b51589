"""epoll(7): the default on Linux.

Facts: a level-triggered registration costs two system calls for each wait (arm, disarm); an
edge-triggered one costs one for the descriptor's life, but a change that happened while nobody
looked is not told again, and the kernel drops a registration silently when the last copy of the
descriptor is closed.

Decision: descriptors whose close we see (owned) are registered once, edge-triggered, for all that
may be read; for room to write from the first time on that somebody waits for it, because a UNIX
socket reports that after each message its peer takes.  All others are armed for one report at each
wait (EPOLLONESHOT); arming looks at the present state, so a reused number can't be missed.

Cost: a wait on a descriptor that we don't own is one system call more.  A copy of a closed socket
in a child process keeps its registration alive: it may report the old number, which wakes a thread
for nothing.

epoll counts milliseconds.  A deadline that is nearer than `_FINE` is waited for with select(2) on
the epoll descriptor, which counts microseconds, so that short sleeps are as exact as stock's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from ...contracts.descriptor import PRI, RDHUP, READ, WRITE, Descriptor
from ...contracts.socket_backend import REUSED
from ...cpython import interpose, originals
from ...io.reserved import Own
from ..limits import FD_SETSIZE, MAX_TIMEOUT
from ..notifier import NotifiedBackend, Notifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING and sys.platform != "linux":
    select: Any  # without epoll in the stubs
else:
    import select

__all__ = ["EpollBackend"]

_FINE = 0.02
_MAX_EVENTS = 512


class EpollBackend(NotifiedBackend):
    """Edge-triggered for sockets, one-shot for everything else."""

    name = "epoll"
    edge_triggered = True

    __slots__ = ("_epoll", "_fd", "_modify", "_own", "_poll", "_register")

    @classmethod
    def is_available(cls) -> str | None:
        """Linux, and illumos."""
        return None if hasattr(select, "epoll") else "this system has no epoll"

    def init(self) -> None:
        """One epoll instance and one pipe."""
        epoll = select.epoll()
        self._own = Own(epoll.fileno(), self._moved)
        self._use(epoll)
        try:
            self._notifier = Notifier(self._notifier_moved)
        except OSError:
            self._own.release()
            epoll.close()
            raise
        epoll.register(self._notifier.reader, select.EPOLLIN | select.EPOLLET)

    def _use(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._fd = epoll.fileno()
        self._register = epoll.register
        self._modify = epoll.modify
        # Not a bound method: those of epoll objects are made cooperative where they are stored.
        self._poll = partial(originals.epoll_poll, epoll)

    def _moved(self, old: int) -> None:
        """What is registered is the file's.  The object before would close the number one day."""
        interpose.leak(self._epoll)
        self._use(select.epoll.fromfd(self._own.fd))

    def _notifier_moved(self, old: int) -> None:
        self._epoll.unregister(old)
        self._register(self._notifier.reader, select.EPOLLIN | select.EPOLLET)

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """One epoll_ctl(2), two when the number has changed its meaning."""
        fd = descriptor.fd
        if descriptor.owned:
            armed = READ | PRI | RDHUP | descriptor.armed | events & WRITE
            mask = armed | select.EPOLLET
        else:
            mask = events | select.EPOLLONESHOT
            armed = events
        reused = 0
        try:
            if descriptor.registration:
                try:
                    self._modify(fd, mask)
                except FileNotFoundError:
                    self._register(fd, mask)
                    reused = REUSED
            else:
                try:
                    self._register(fd, mask)
                except FileExistsError:
                    self._modify(fd, mask)
        except PermissionError:
            return events
        descriptor.registration = True
        descriptor.armed = armed
        return reused

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """One epoll_wait(2); a select(2) before it when a deadline is near."""
        if timeout:
            if timeout < _FINE and self._fd < FD_SETSIZE:
                originals.select_select((self._fd,), (), (), timeout)
                timeout = 0.0
            elif timeout > MAX_TIMEOUT:
                timeout = MAX_TIMEOUT
            else:
                timeout -= _FINE / 2
        found: list[tuple[int, int]] = self._poll(timeout, _MAX_EVENTS)
        if found:
            reader = self._notifier.reader
            for fd, _ in found:
                if fd == reader:
                    self._notifier.drain()
        return found

    def waitable(self) -> int:
        """The epoll instance."""
        return int(self._fd)

    def forget(self, descriptor: Descriptor) -> None:
        """Nothing to do: the kernel drops the registration with the last copy of the descriptor."""

    def withdraw(self, descriptor: Descriptor) -> None:
        """Whatever keeps the file, its number reports no more."""
        self._epoll.unregister(descriptor.fd)

    def close(self) -> None:
        """Close the epoll instance and the pipe."""
        self._own.release()
        self._epoll.close()
        self._notifier.close()
