"""What socket I/O schemes share: ending a poll from elsewhere, and numbers that are used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..contracts.descriptor import Descriptor
from ..contracts.socket_backend import REUSED, Backend
from ..cpython import originals
from ..io.identity import identity_of
from ..io.reserved import Own

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

__all__ = ["NotifiedBackend", "Notifier", "notice_reuse"]


def notice_reuse(descriptor: Descriptor, status: os.stat_result | None = None) -> int:
    """For schemes that the kernel does not tell: `REUSED` if the number stands for another file
    than at the last request, else 0.

    It keeps the file in ``descriptor.registration``.  One fstat(2) a request, unless the caller has
    its `status`; descriptors whose close is seen (owned) need none.  OSError for a bad descriptor.
    """
    if descriptor.owned:
        return 0
    file = identity_of(status or originals.fstat(descriptor.fd))
    known = descriptor.registration
    descriptor.registration = file
    return 0 if known in (None, file) else REUSED


_PATIENCE = 1.0
"""Seconds for what takes microseconds, unless the OS thread that does it has been forked away."""


class Notifier:
    """A pipe that makes a waiting system call return.

    Writing lets go of the GIL, so the number that is written to is given up only when nobody is
    about to write there: the byte would go into the file that is opened next.
    """

    __slots__ = ("_moved", "_own", "_told", "_writer", "_writing", "reader")

    def __init__(self, moved: Callable[[int], None] | None = None) -> None:
        """``moved(old)`` is called when `reader` has become another number (`Own`); a scheme that
        gives none looks at `reader` with each poll."""
        self.reader, self._writer = originals.pipe()
        originals.set_blocking(self.reader, False)
        originals.set_blocking(self._writer, False)
        self._moved = moved
        self._told: Callable[[int], object] | None = None
        self._writing: deque[None] = deque()
        """One for each call that may be writing."""
        self._own = (Own(self.reader, self._reader_moved), Own(self._writer, self._writer_moved))

    def _reader_moved(self, old: int) -> None:
        self.reader = self._own[0].fd
        if self._moved is not None:
            self._moved(old)

    def _writer_moved(self, old: int) -> None:
        self._writer = self._own[1].fd
        if self._told is not None:
            self._told(self._writer)
        self._await_writers()

    def _await_writers(self) -> None:
        """Those that may write to the number as it was before."""
        deadline = originals.monotonic() + _PATIENCE
        while self._writing and originals.monotonic() < deadline:
            originals.sleep(0.0001)

    def written_by(self, moved: Callable[[int], object]) -> int:
        """The number that is to be written to; ``moved(fd)`` when it has become another one, and
        with -1 when it is about to be closed."""
        self._told = moved
        return self._own[1].fd

    def notify(self) -> None:
        """Make `reader` readable, unless it is closed.  Any OS thread, signal handlers."""
        self._writing.append(None)
        try:
            if self._writer >= 0:
                originals.write(self._writer, b"!")
        except BlockingIOError:
            pass  # full, so readable
        finally:
            self._writing.pop()

    def drain(self) -> None:
        """Take the notification."""
        try:
            originals.read(self.reader, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close both ends."""
        if self._told is not None:
            self._told(-1)
        self._writer = -1
        self._await_writers()
        for own in self._own:
            originals.close(own.release())


class NotifiedBackend(Backend):
    """A scheme whose poll ends with what its `Notifier` writes; it sets ``_notifier`` in `init`."""

    __slots__ = ("_notifier",)

    _notifier: Notifier

    def notify(self) -> None:
        """Make its pipe readable."""
        self._notifier.notify()

    def notified_by(self, moved: Callable[[int], object]) -> int:
        """The end of its pipe that is written to."""
        return self._notifier.written_by(moved)
