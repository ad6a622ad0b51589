"""Buffers: what a program hands in as bytes, and memory that a request owns.

1. A request has memory of its own, aligned as O_DIRECT demands where its size allows: the caller's
   may be gone, or be changed, while the request is still being carried out.
"""

from __future__ import annotations

import mmap
from io import BytesIO

from ..cpython import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SECTOR", "Room", "as_bytes", "memory", "read_into", "read_owned"]

SECTOR = 512
"""Bytes that O_DIRECT transfers at least, and whose multiples it wants memory to be aligned to."""


def as_bytes(buffer: Any) -> Any:
    """`buffer` as an object whose items are bytes; None if it is no contiguous buffer.

    Such are bytes and bytearray themselves, and otherwise a memoryview.
    """
    kind = type(buffer)
    if kind is bytes or kind is bytearray:
        return buffer
    try:
        view = memoryview(buffer)
        if view.format == "B" and view.ndim == 1:
            return view if view.c_contiguous else None
        return view.cast("B")
    except (TypeError, ValueError, BufferError):
        return None


def memory(size: int) -> Any:
    """Memory for a request; aligned as O_DIRECT demands when it is a whole number of sectors."""
    return mmap.mmap(-1, size) if size and size % SECTOR == 0 else bytearray(size)


class Room:
    """Memory that is filled and becomes a ``bytes`` object, without a copy of what it holds.

    A `BytesIO` keeps its contents as such an object, which nobody else has before `taken`.
    """

    __slots__ = ("_kept", "view")

    def __init__(self, size: int) -> None:
        """Of `size` bytes, at least 1; ``view`` is where they are written to."""
        self._kept = kept = BytesIO()
        kept.seek(size - 1)
        kept.write(b"\0")
        self.view = kept.getbuffer()

    def taken(self, count: int) -> bytes:
        """The first `count` bytes; once."""
        self.view.release()
        try:
            self._kept.truncate(count)
        except BufferError:  # somebody holds a piece of it, found in a frame that was traced
            return bytes(self._kept.getbuffer()[:count])
        return self._kept.getvalue()


def read_owned(fd: int, size: int, offset: int) -> memoryview:
    """The blocking read, into memory of its own.  Any OS thread."""
    data = memory(size)
    return memoryview(data)[: read_into(fd, data, offset)]


def read_into(fd: int, buffer: Any, offset: int) -> int:
    """The blocking read into `buffer`; -1: at the current position.  Any OS thread."""
    if offset == -1:
        return int(originals.readv(fd, [buffer]))
    if originals.preadv is None:
        data = originals.pread(fd, len(buffer), offset)
        memoryview(buffer)[: len(data)] = data
        return len(data)
    return int(originals.preadv(fd, [buffer], offset))
