"""select(2): everywhere, for descriptors below FD_SETSIZE (1,024)."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Sequence

from ...contracts.descriptor import HUP, NVAL, PRI, RDHUP, READ, WRITE, Descriptor
from ...cpython import originals
from ..limits import FD_SETSIZE, MAX_TIMEOUT
from ..notifier import NotifiedBackend, Notifier, notice_reuse

__all__ = ["SelectBackend"]


class SelectBackend(NotifiedBackend):
    """Three sets of descriptors, changed as requests come and are answered."""

    name = "select"

    __slots__ = ("_readers", "_urgent", "_writers")

    @classmethod
    def is_available(cls) -> str | None:
        """Everywhere."""
        return None

    def init(self) -> None:
        """One pipe."""
        self._notifier = Notifier(self._notifier_moved)
        self._readers = {self._notifier.reader}
        self._writers: set[int] = set()
        self._urgent: set[int] = set()

    def _notifier_moved(self, old: int) -> None:
        self._readers.discard(old)
        self._readers.add(self._notifier.reader)

    def add_request(self, descriptor: Descriptor, events: int) -> int:
        """No system call: the next `poll` hands it over."""
        fd = descriptor.fd
        if fd >= FD_SETSIZE:
            raise OSError(
                errno.EINVAL,
                f"the select scheme can't watch descriptor {fd}: the limit is {FD_SETSIZE - 1}",
            )
        reused = notice_reuse(descriptor)
        if events & (READ | HUP | RDHUP) or not events & (WRITE | PRI):
            self._readers.add(fd)
        if events & WRITE:
            self._writers.add(fd)
        if events & PRI:
            self._urgent.add(fd)
        descriptor.armed = events
        return reused

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        """One select(2)."""
        if timeout is not None:
            timeout = min(timeout, MAX_TIMEOUT)
        try:
            readers, writers, urgent = originals.select_select(
                self._readers, self._writers, self._urgent, timeout
            )
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            return self._report_closed()
        found: dict[int, int] = {}
        for fd in readers:
            found[fd] = READ
        for fd in writers:
            found[fd] = found.get(fd, 0) | WRITE
        for fd in urgent:
            found[fd] = found.get(fd, 0) | PRI
        if self._notifier.reader in found:
            del found[self._notifier.reader]
            self._notifier.drain()
        for fd in found:
            self._discard(fd)
        return list(found.items())

    def forget(self, descriptor: Descriptor) -> None:
        """Take it out of the sets, if it is there."""
        self._discard(descriptor.fd)

    def close(self) -> None:
        """Close the pipe."""
        self._notifier.close()

    def _discard(self, fd: int) -> None:
        self._readers.discard(fd)
        self._writers.discard(fd)
        self._urgent.discard(fd)

    def _report_closed(self) -> list[tuple[int, int]]:
        """Some number in the sets is closed: report those, so that their waiters find out."""
        closed = []
        for fd in self._readers | self._writers | self._urgent:
            try:
                originals.fcntl(fd, fcntl.F_GETFD)
            except OSError:
                self._discard(fd)
                closed.append((fd, NVAL))
        return closed
