"""The numbers of the runtime's own descriptors, of which the program knows nothing.

A program that becomes a daemon closes all numbers that it did not open itself.  To it those of the
runtime are not open: ``os.closerange`` passes them over, and ``os.close`` has EBADF.  One that
wants a certain number (``os.dup2``) gets it: the runtime goes on with a copy that has another.

0, 1 and 2 are never the runtime's: where one of them is closed, as in some daemons, the next file
that the program opens is its standard input, output or error.

The system gives the lowest number that is free.  So what the runtime opens while the program runs
on another OS thread takes the number for which the program is about to ask: such a file is opened
once, by the OS thread that runs the program, and kept at a number that few programs get to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from ..cpython import originals

__all__ = ["RESERVED", "Own", "above_others", "above_standard", "standard_kept_free"]

_FIRST = 3
"""The lowest number that is not a standard one."""
_HIGHEST = 1024
"""What select(2) can wait for, and the usual limit of a process."""
_ROOM = 32
"""How many numbers below that."""


class Own:
    """A descriptor of the runtime's own, from when it was opened until just before it is closed."""

    __slots__ = ("_moved", "fd", "os_ident")

    def __init__(self, fd: int, moved: Callable[[int], None] | None = None) -> None:
        """``moved(old)`` is called when `fd` has become another number, while `old` is open yet."""
        self.fd = fd
        """Its number at present."""
        self.os_ident = originals.get_ident()
        """The OS thread that uses it."""
        self._moved = moved
        RESERVED[fd] = self

    def move(self) -> None:
        """Leave the number to the program.  OSError when there is no other.

        Scheduler's OS thread; the file is not closed.
        """
        old = self.fd
        self.fd = originals.fcntl(old, fcntl.F_DUPFD_CLOEXEC, _FIRST)
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


def above_standard(fd: int) -> int:
    """`fd`, which was opened just now; if that is a standard number, a copy in its stead.

    OSError when there is no other.
    """
    if fd >= _FIRST:
        return fd
    try:
        return int(originals.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST))
    finally:
        originals.close(fd)


def above_others(fd: int) -> int:
    """A copy of `fd`, which was opened just now, with a number above those of most programs.

    OSError when there is none; `fd` is closed in any case.
    """
    try:
        limit = min(os.sysconf("SC_OPEN_MAX"), _HIGHEST)
        return int(originals.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(limit - _ROOM, _FIRST)))
    finally:
        originals.close(fd)


class standard_kept_free:  # it is called as a function is
    """What is opened within gets no standard number.  OSError when there are no descriptors left.

    For what is an object with a number of its own, or many of them.
    """

    __slots__ = ("_held",)

    def __enter__(self) -> None:
        self._held: list[int] = []
        try:
            while not self._held or min(self._held[-2:]) < _FIRST:
                self._held += originals.pipe()
        except BaseException:
            self.__exit__()
            raise
        for fd in self._held[-2:]:
            originals.close(fd)
        del self._held[-2:]

    def __exit__(self, *_: object) -> None:
        for fd in self._held:
            originals.close(fd)
