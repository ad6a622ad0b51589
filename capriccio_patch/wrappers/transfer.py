"""Reading and writing descriptors of any kind, as read(2) and write(2) on a blocking one do.

Facts:

* A blocking descriptor must stay one: its O_NONBLOCK belongs to the open file description, which
  other processes share.  Linux's RWF_NOWAIT asks for one call not to wait; pipes, sockets, eventfds
  and the page cache know the flag.  The kernel refuses it for terminals, and for the writes of most
  file systems.
* Readiness does not say how much a write may carry without waiting: for a pipe PIPE_BUF bytes, for
  a terminal nothing is promised.
* A blocking write to a stream returns when everything is written, or with the part that was written
  before an error.

Decision: RWF_NOWAIT first, readiness where that is refused.  A terminal's writes are a worker's.

1. Files are `runtime.disk`'s affair, everything else is waited for by `runtime.descriptors`.
2. A descriptor that the program has made non-blocking gets the plain call.

Green threads only.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import Any

from .. import originals
from ..runtime.descriptors import READ, WRITE
from ..runtime.disk import CHUNK
from .base import Runtime

__all__ = ["Transfer"]

_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_REFUSED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_PIPE_BUF: int = getattr(select, "PIPE_BUF", 512)


class Transfer:
    """Reads and writes for green threads; see the module's text."""

    __slots__ = ("_cache_first", "_descriptors", "_disk", "_read_now", "_workers")

    def __init__(self, runtime: Runtime) -> None:
        self._disk = runtime.disk
        self._descriptors = runtime.kernel.descriptors
        self._workers = runtime.workers
        self._read_now = runtime.disk.backend.read_now
        self._cache_first = runtime.disk.backend.any_descriptor

    def read(self, fd: int, size: int) -> bytes:
        """As ``os.read``."""
        if size > CHUNK and is_file(fd):
            return self._disk.read(fd, size)
        data = bytearray(min(size, CHUNK))
        count = self.readinto(fd, data)
        if count < len(data):
            del data[count:]
        return bytes(data)

    def readinto(self, fd: int, buffer: Any) -> int:
        """As ``os.readv`` into one writable buffer of bytes; the number of bytes."""
        size = len(buffer)
        if self._cache_first and size <= CHUNK and fd not in self._disk.unhurried:
            count = self._read_now(fd, buffer, -1)
            if count == size or count == 0:
                return count
            if count > 0:
                if not is_file(fd):
                    return count
                return count + self._rest(fd, memoryview(buffer)[count:])
        if is_file(fd):
            return self._disk.readinto(fd, buffer)
        return self._read_stream(fd, buffer)

    def _rest(self, fd: int, view: memoryview) -> int:
        try:
            return self._disk.readinto(fd, view)
        except OSError:
            return 0  # the next call meets it

    def _read_stream(self, fd: int, buffer: Any) -> int:
        if not originals.get_blocking(fd):
            return int(originals.readv(fd, (buffer,)))
        descriptors = self._descriptors
        d = descriptors.record(fd)
        again = False
        while True:
            d.can_read = False
            try:
                count = _read_stream_now(fd, buffer)
            except BaseException:
                descriptors.pass_on(d)
                raise
            if count >= 0:
                descriptors.pass_on(d)
                return count
            descriptors.wait_read(d, None, again)
            again = True

    def write(self, fd: int, data: Any) -> int:
        """As ``os.write``; `data` is a buffer of bytes."""
        if is_file(fd):
            return self._disk.write(fd, data)
        return self.write_stream(fd, data)

    def write_stream(self, fd: int, data: Any) -> int:
        """As `write`, for what is not a file."""
        size = len(data)
        if not size or not originals.get_blocking(fd):
            return int(originals.write(fd, data))
        if originals.isatty(fd):
            if self._disk.alone():
                return int(originals.write(fd, data))
            return int(self._workers.call(originals.write, fd, bytes(data)))
        descriptors = self._descriptors
        written = 0
        again = False
        with memoryview(data) as view:
            while True:
                try:
                    count = _write_stream_now(fd, view[written:] if written else view)
                except OSError:
                    if written:
                        return written
                    raise
                written += max(count, 0)
                if written == size:
                    return written
                if count <= 0:
                    descriptors.wait_write(descriptors.record(fd), None, again)
                    again = True


def is_file(fd: int) -> bool:
    """Whether `fd` is a regular file or a block device: not something to wait for with poll(2)."""
    mode = originals.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def _read_stream_now(fd: int, buffer: Any) -> int:
    """-1 if a read would wait."""
    if _RWF_NOWAIT:
        try:
            return int(originals.preadv(fd, (buffer,), -1, _RWF_NOWAIT))
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    if is_ready(fd, READ):
        return int(originals.readv(fd, (buffer,)))
    return -1


def _write_stream_now(fd: int, view: memoryview) -> int:
    """-1 if a write would wait."""
    if _RWF_NOWAIT:
        try:
            return int(originals.pwritev(fd, (view,), -1, _RWF_NOWAIT))
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
    if is_ready(fd, WRITE):
        return int(originals.write(fd, view[:_PIPE_BUF]))
    return -1


def is_ready(fd: int, events: int) -> bool:
    """Whether one of `events` (or an error) is there now."""
    if originals.poll is None:
        reading = (fd,) if events & READ else ()
        writing = (fd,) if events & WRITE else ()
        return any(originals.select_select(reading, writing, (), 0))
    poller = originals.poll()
    poller.register(fd, events)
    return bool(originals.poll_poll(poller, 0))
