"""The numbers of the runtime's own descriptors, of which the program knows nothing.

A program that becomes a daemon closes all numbers that it did not open itself.  To it those of the
runtime are not open: ``os.closerange`` passes them over, and ``os.close`` has EBADF.  One that
wants a certain number (``os.dup2``) gets it: the runtime goes on with a copy that has another.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable

from ..cpython import originals

__all__ = ["RESERVED", "Own"]


class Own:
    """A descriptor of the runtime's own, from when it was opened until just before it is closed."""

    __slots__ = ("_moved", "fd")

    def __init__(self, fd: int, moved: Callable[[int], None] | None = None) -> None:
        """``moved(old)`` is called when `fd` has become another number, while `old` is open yet."""
        self.fd = fd
        """Its number at present."""
        self._moved = moved
        RESERVED[fd] = self

    def move(self) -> None:
        """Leave the number to the program.  OSError when there is no other.

        Scheduler's OS thread; the file is not closed.
        """
        old = self.fd
        self.fd = originals.fcntl(old, fcntl.F_DUPFD_CLOEXEC, 0)
        del RESERVED[old]
        RESERVED[self.fd] = self
        if self._moved is not None:
            self._moved(old)

    def release(self) -> int:
        """It is about to be closed: the number, which is the runtime's no longer."""
        del RESERVED[self.fd]
        return self.fd


RESERVED: dict[int, Own] = {}
"""By number."""
