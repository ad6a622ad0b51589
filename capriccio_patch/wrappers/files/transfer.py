"""Reading and writing a descriptor of any kind: files are `io.disk`'s, the rest is `pollable`'s.

RWF_NOWAIT asks the page cache and pipes alike, so where the disk scheme begins with it one call
serves what is there, and what kind of file it is matters only for what is not.

Green threads only.
"""

from __future__ import annotations

from ...cpython import originals
from ..base import Runtime
from .pollable import Streams, is_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Transfer"]


class Transfer:
    """Reads and writes as on a blocking descriptor; BlockingIOError from one that is not."""

    __slots__ = ("_disk", "_flags", "_streams")

    def __init__(self, runtime: Runtime) -> None:
        self._disk = runtime.disk
        self._flags = runtime.disk.backend.try_flags
        self._streams = Streams(runtime)

    def read(self, fd: int, buffer: Any) -> int:
        """As ``os.readv`` into one writable buffer of bytes."""
        if not is_stream(fd):
            return self._disk.readinto(fd, buffer)
        count = self._streams.readv(fd, (buffer,)) if len(buffer) else None
        return int(originals.readv(fd, (buffer,))) if count is None else count

    def write_now(self, fd: int, data: Any) -> int:
        """How much of `data` a stream takes without waiting; -1 if it can't be told."""
        if not self._flags:
            return -1
        try:
            return int(originals.pwritev(fd, (data,), -1, self._flags))
        except OSError:
            return -1

    def write(self, fd: int, data: Any) -> int:
        """As ``os.write``; `data` is a buffer of bytes."""
        count = self._streams.write(fd, data) if data else None
        return self._disk.write(fd, data) if count is None else count
