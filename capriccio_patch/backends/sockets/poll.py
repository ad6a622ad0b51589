"""poll(2): everywhere, any number of descriptors; the kernel is handed all of them at each call.

Every registration is for one report: a descriptor that nobody waits for costs nothing.

poll(2) counts milliseconds.  What is left of one is waited for with select(2), which counts
microseconds, unless a descriptor is too high for that: so short sleeps are as exact as stock's.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from functools import partial

from ...contracts.descriptor import PRI, READ, WRITE, Descriptor
from ...cpython import interpose, originals
from ..limits import FD_SETSIZE, MAX_TIMEOUT
from ..notifier import NotifiedBackend, Notifier, notice_reuse

__all__ = ["PollBackend"]


class PollBackend(NotifiedBackend):
    """One poll object, changed as requests come and are answered."""

    name = "poll"

    __slots__ = ("_poll", "_register", "_registered", "_unregister")

    @classmethod
    def is_available(cls) -> str | None:
        """Every Unix but the oldest macOS."""
        return None if originals.poll is not None else "this system has no poll"

    def init(self) -> None:
        """One poll object and one pipe."""
        assert originals.poll is not None
        poller = originals.poll()
        self._register = poller.register
        self._unregister = poller.unregister
        self._registered = interpose.poll_registrations(poller)
        # Not a bound method: those of poll objects are made cooperative where they are stored.
        self._poll = partial(originals.poll_poll, poller)
        self._notifier = Notifier(self._notifier_moved)
        poller.register(self._notifier.reader, select.POLLIN)

    def _notifier_moved(self, old: int) -> None:
        self._discard(old)
        self._register(self._notifier.reader, select.POLLIN)

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """No system call: the next `poll` hands it over."""
        reused = notice_reuse(descriptor)
        self._register(descriptor.fd, events)
        descriptor.armed = events
        return reused

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """One poll(2); a select(2) before it when a deadline is near."""
        limit = None if timeout is None else int(min(timeout, MAX_TIMEOUT) * 1000)
        if timeout and not limit and not self._wait_finely(timeout):
            limit = 1
        found: list[tuple[int, int]]
        try:
            found = self._poll(limit)
        except RuntimeError:  # a signal handler's finalizer has come within it, and lets others run
            found = self._poll_within(limit)
        reader = self._notifier.reader
        for fd, _ in found:
            if fd == reader:
                self._notifier.drain()
            else:
                self._discard(fd)
        return found

    def _poll_within(self, limit: int | None) -> list[tuple[int, int]]:
        """As `_poll`, which is under way on the stack below."""
        assert originals.poll is not None
        poller = originals.poll()
        for fd, events in self._registered.copy().items():
            poller.register(fd, events)
        found: list[tuple[int, int]] = originals.poll_poll(poller, limit)
        return found

    def _wait_finely(self, timeout: float) -> bool:
        """Wait for less than a millisecond; False if that is impossible."""
        registered = self._registered.copy()  # finalizers may let others run, who add to it
        if max(registered) >= FD_SETSIZE:
            return False
        urgent = [fd for fd, events in registered.items() if events & PRI]
        writers = [fd for fd, events in registered.items() if events & WRITE]
        readers = [fd for fd, events in registered.items() if events & READ or not events & WRITE]
        try:
            originals.select_select(readers, writers, urgent, timeout)
        except OSError:
            pass  # closed: poll(2) tells which
        return True

    def forget(self, descriptor: Descriptor) -> None:
        """Take it out of the set, if it is there."""
        self._discard(descriptor.fd)

    def close(self) -> None:
        """Close the pipe."""
        self._notifier.close()

    def _discard(self, fd: int) -> None:
        try:
            self._unregister(fd)
        except KeyError:
            pass
