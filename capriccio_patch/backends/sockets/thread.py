"""A dedicated OS thread waits on the kernel: the paper's section 8.4.

Facts: while Python computes on the scheduler's OS thread, the other one is told by the kernel what
has become ready, and has it at hand when the scheduler asks.  An answer that is at hand costs the
scheduler no system call.  But whatever the other OS thread has learnt it can tell only with the
GIL, and the handing over of the GIL is a futex and a context switch.

Decision: epoll, or kqueue, whose registrations take effect on a wait that has begun: requests are
made on the scheduler's OS thread, and only the waiting is done on the other.  What was reported
lies in a queue; the release of a lock ends the scheduler's wait.

Cost: level with epoll where many requests come at a time, six times as much where one does
(`docs/schemes.md`), so it is not chosen automatically.  An OS thread more, started at once, as
there would be no other way to learn of anything.

1. The OS thread only waits, appends to the queue and notifies.
2. It does not exist in a forked child, which starts its own.
3. `close` has it end before the descriptors that it waits on are closed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Sequence

from ...contracts.descriptor import Descriptor
from ...contracts.socket_backend import Backend
from ...cpython import originals
from ...io import os_threads
from ..limits import MAX_TIMEOUT
from .epoll import EpollBackend
from .kqueue import ImmediateKqueueBackend

__all__ = ["ThreadBackend"]

_WAITS: tuple[type[Backend], ...] = (EpollBackend, ImmediateKqueueBackend)
_STOP_LIMIT = 5.0


class ThreadBackend(Backend):
    """Waits with another scheme on an OS thread of its own."""

    name = "thread"
    edge_triggered = True

    __slots__ = ("_wakeup", "_found", "_over", "_pid", "_stopping", "_waiter")

    @classmethod
    def is_available(cls) -> str | None:
        """Where there is epoll or kqueue."""
        reasons = [wait.is_available() for wait in _WAITS]
        return None if None in reasons else "; ".join(map(str, reasons))

    def init(self) -> None:
        """What the other scheme needs, and one OS thread."""
        self._waiter = next(wait for wait in _WAITS if wait.is_available() is None)()
        self._waiter.init()
        self.edge_triggered = self._waiter.edge_triggered
        self._found: deque[Sequence[tuple[int, int]]] = deque()
        self._wakeup = originals.allocate_lock()
        self._over = originals.allocate_lock()
        originals.lock_acquire(self._wakeup)
        originals.lock_acquire(self._over)
        self._stopping = False
        self._pid = originals.getpid()
        try:
            os_threads.start(self._run, ())
        except RuntimeError as error:
            self._waiter.close()
            raise OSError(errno.EAGAIN, str(error)) from None

    def _run(self) -> None:
        wait = self._waiter.poll
        found = self._found
        notify = self.notify
        try:
            while not self._stopping:
                events = wait(None)
                if events:
                    found.append(events)
                notify()  # for nothing, if something was written to `notified_by`
        finally:
            originals.lock_release(self._over)

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """No system call if something is at hand, else a wait for the lock."""
        found = self._found
        if not found and timeout != 0:
            limit = -1 if timeout is None else min(timeout, MAX_TIMEOUT)
            originals.lock_acquire(self._wakeup, True, limit)
        if not found:
            return []
        events = found.popleft()
        while found:
            events = [*events, *found.popleft()]
        return events

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """That of the scheme that waits."""
        return self._waiter.add_request(descriptor, events)

    def forget(self, descriptor: Descriptor) -> None:
        """That of the scheme that waits."""
        self._waiter.forget(descriptor)

    def withdraw(self, descriptor: Descriptor) -> None:
        """That of the scheme that waits."""
        self._waiter.withdraw(descriptor)

    def notify(self) -> None:
        """Release the lock."""
        try:
            originals.lock_release(self._wakeup)
        except RuntimeError:
            pass  # it has been released, and is about to be acquired

    def notified_by(self, moved: Callable[[int], object]) -> int:
        """That of the scheme that waits: its OS thread releases the lock."""
        return self._waiter.notified_by(moved)

    def close(self) -> None:
        """End the OS thread, which a forked child does not have, and close what it waited with."""
        if originals.getpid() == self._pid:
            self._stopping = True
            self._waiter.notify()
            originals.lock_acquire(self._over, True, _STOP_LIMIT)
        self._waiter.close()
