"""Whether looking up a path would have to wait for a disk or a server.

Facts, measured on ext4 with Linux 6.18: stat(2) of a path that the kernel has in its cache of names
costs 1.9 us, opening and closing a file 2.5; through a worker either costs 30.  A path that is not
cached costs what the disk or the server takes.  ``openat2(RESOLVE_CACHED)`` (Linux 5.12) resolves a
path from that cache or fails with EAGAIN, also where a network file system would have to ask.

So does opening what exists: with O_NONBLOCK also where a lease on the file has to be broken first.

Decision: where another thread could run, a path is resolved like that first, with O_PATH, which
opens nothing.  What is cached and on a local file system is looked up directly, the rest by a
worker.  A regular file is opened in the same way.  Where there is no openat2 all look-ups are
direct.

Cost: 3 us for each look-up, 5 for an open; none while there is one thread only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from ..cpython import originals
from .mounts import Mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ABSENT", "WAIT", "Lookup", "parent", "stat_mode"]

WAIT = -1
ABSENT = 0

_OPENAT2 = 437
_AT_FDCWD = -100
_RESOLVE_CACHED = 0x20
_F_SETFL = 4
_NOT_NOW = os.O_NONBLOCK | os.O_EXCL


class Lookup:
    """Look-ups in the kernel's cache of names.  Scheduler's OS thread only."""

    __slots__ = (
        "_fcntl",
        "_follow",
        "_here",
        "_is_local",
        "_mode",
        "_no_follow",
        "_number",
        "_open",
        "_size",
        "_syscall",
        "works",
    )

    def __init__(self, mounts: Mounts | None = None) -> None:
        mounts = mounts or Mounts()
        self._is_local = mounts.is_local
        self._mode = mounts.mode
        self._syscall: Any = ctypes.PyDLL(None, use_errno=True).syscall
        self._open: Any = ctypes.CDLL(None, use_errno=True).syscall  # without the GIL
        self._fcntl: Any = ctypes.PyDLL(None).fcntl
        self._number = ctypes.c_long(_OPENAT2)
        self._here = ctypes.c_long(_AT_FDCWD)
        self._size = ctypes.c_size_t(24)
        flags = getattr(os, "O_PATH", 0) | getattr(os, "O_CLOEXEC", 0)
        self._follow = struct.pack("=QQQ", flags, 0, _RESOLVE_CACHED)
        self._no_follow = struct.pack("=QQQ", flags | os.O_NOFOLLOW, 0, _RESOLVE_CACHED)
        root = self._resolve(b"/", None, True) if hasattr(os, "O_PATH") else -2
        self.works = root >= 0
        if self.works:
            originals.close(root)

    def mode(self, path: Any, dir_fd: Any = None) -> int:
        """``st_mode`` of what is at `path` if that is known at once.

        WAIT: finding out has to wait.  ABSENT: looking it up fails at once, or is not a question of
        this function's; the original call tells how.
        """
        if not self.works:
            return stat_mode(path, dir_fd)
        fd = self._resolve(path, dir_fd, True)
        if fd < 0:
            return WAIT if fd == WAIT else ABSENT
        try:
            mode = self._mode(fd)
        finally:
            originals.close(fd)
        return mode

    def is_cached(self, path: Any, dir_fd: Any = None, follow: bool = True) -> bool:
        """Whether looking `path` up needs no waiting, as far as can be told."""
        if not self.works:
            return True
        fd = self._resolve(path, dir_fd, follow)
        if fd < 0:
            return fd != WAIT
        try:
            return self._is_local(fd)
        finally:
            originals.close(fd)

    def open_now(self, path: Any, dir_fd: Any, flags: int) -> int:
        """A descriptor as open(2) with O_CLOEXEC makes it, of a file that is regular and exists.

        O_TRUNC is left to the caller (`Disk.empty`).
        WAIT: it would have to wait.  Less: it can't be opened so; the original call tells why.
        """
        if flags & _NOT_NOW or not self.works:
            return WAIT - 1
        # The system refuses RESOLVE_CACHED with these two, whatever there is.
        kept = flags & ~(os.O_CREAT | os.O_TRUNC)
        how = struct.pack("=QQQ", kept | os.O_NONBLOCK | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
        start = self._here if dir_fd is None else ctypes.c_long(dir_fd)
        errno_kept = ctypes.get_errno()  # the program's
        fd = int(self._open(self._number, start, os.fsencode(path), how, self._size))
        if fd < 0:
            return WAIT if ctypes.set_errno(errno_kept) == errno.EAGAIN else WAIT - 1
        self._fcntl(fd, _F_SETFL, ctypes.c_long(flags))
        return fd

    def _resolve(self, path: Any, dir_fd: Any, follow: bool) -> int:
        """A descriptor, WAIT, or less for any other error."""
        try:
            encoded = os.fsencode(path)
        except (TypeError, UnicodeError):
            return -2
        if b"\0" in encoded or not (dir_fd is None or isinstance(dir_fd, int)):
            return -2
        start = self._here if dir_fd is None else ctypes.c_long(dir_fd)
        how = self._follow if follow else self._no_follow
        kept = ctypes.get_errno()  # the program's
        fd = int(self._syscall(self._number, start, encoded, how, self._size))
        if fd >= 0:
            return fd
        return WAIT if ctypes.set_errno(kept) == errno.EAGAIN else -2


def parent(path: Any) -> Any:
    """The path of the directory that what is at `path` is in."""
    path = os.fspath(path)
    if isinstance(path, bytes):
        return os.path.dirname(path.rstrip(b"/")) or b"."
    return os.path.dirname(path.rstrip("/")) or "."


def stat_mode(path: Any, dir_fd: Any = None) -> int:
    """``st_mode`` of what is at `path`, or ABSENT, by stat(2).  Any OS thread."""
    try:
        mode: int = originals.stat(path, dir_fd=dir_fd).st_mode
    except (OSError, ValueError, TypeError):
        return ABSENT
    return mode
