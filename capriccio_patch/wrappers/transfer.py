"""Reading and writing a descriptor of any kind: files are `runtime.disk`'s, the rest is `streams`'.

RWF_NOWAIT asks the page cache and pipes alike, so where the disk scheme begins with it one call
serves what is there, and what kind of file it is matters only for what is not.

Green threads only.
"""

from __future__ import annotations

from typing import Any

from .. import originals
from ..runtime.disk import CHUNK
from .base import Runtime
from .streams import Streams, is_stream

__all__ = ["Transfer"]


class Transfer:
    """Reads and writes as on a blocking descriptor; BlockingIOError from one that is not."""

    __slots__ = ("_disk", "_read_now", "_streams", "_tries")

    def __init__(self, runtime: Runtime) -> None:
        self._disk = runtime.disk
        self._streams = Streams(runtime)
        self._read_now = runtime.disk.backend.read_now
        self._tries = runtime.disk.backend.any_descriptor

    def read(self, fd: int, size: int) -> bytes:
        """As ``os.read``."""
        if size > CHUNK and not is_stream(fd):
            return self._disk.read(fd, size)
        data = bytearray(min(size, CHUNK))
        count = self.readinto(fd, data)
        if count < len(data):
            del data[count:]
        return bytes(data)

    def readinto(self, fd: int, buffer: Any) -> int:
        """As ``os.readv`` into one writable buffer of bytes; the number of bytes."""
        size = len(buffer)
        if self._tries and size <= CHUNK and fd not in self._disk.unhurried:
            count = self._read_now(fd, buffer, -1)
            if count == size or count == 0:
                return count
            if count > 0:
                return (
                    count if is_stream(fd) else count + self._rest(fd, memoryview(buffer)[count:])
                )
        if not is_stream(fd):
            return self._disk.readinto(fd, buffer)
        if not size:
            return int(originals.readv(fd, (buffer,)))
        return self._streams.readv(fd, (buffer,)) or 0

    def _rest(self, fd: int, view: memoryview) -> int:
        try:
            return self._disk.readinto(fd, view)
        except OSError:
            return 0  # the next call meets it

    def write(self, fd: int, data: Any) -> int:
        """As ``os.write``; `data` is a buffer of bytes."""
        return self._disk.write(fd, data) if not is_stream(fd) else self.write_stream(fd, data)

    def write_stream(self, fd: int, data: Any) -> int:
        """As `write`, for what is not a file."""
        if not data:
            return int(originals.write(fd, data))
        count = self._streams.write(fd, data)
        return self._disk.write(fd, data) if count is None else count
