"""``os``: the calls on descriptors that may block.

What a call does about a descriptor that can be waited for is in `pollable`; it answers None for a
file on a disk, which is `io.disk`'s.  Closing is in `closing`, and what copies from one descriptor
to another in `copying`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from operator import index

from ...cpython import originals
from ...io.buffers import as_bytes
from ...io.disk import Disk
from ...kernel.core import Kernel
from ..base import Patch, Runtime
from ..caller import as_caller
from . import closing, copying
from .pollable import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_NOT_A_BUFFER = (TypeError, BufferError, ValueError)


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module, and those for closing and copying."""
    streams = Streams(runtime)
    disk = runtime.disk
    kernel = runtime.kernel
    calls: dict[str, Any] = {
        "read": _make_read(runtime, streams),
        "write": _make_write(runtime, streams),
    }
    if originals.readv is not None:
        calls["readv"] = _make_vector(kernel, originals.readv, streams.readv, disk.readv)
        calls["writev"] = _make_vector(kernel, originals.writev, streams.writev, disk.writev)
    if originals.readinto is not None:
        calls["readinto"] = _make_readinto(kernel, streams, disk)
    if originals.preadv is not None:
        calls["preadv"] = _make_positioned(disk, originals.preadv, streams.readv, disk.readv)
        calls["pwritev"] = _make_positioned(disk, originals.pwritev, streams.writev, disk.writev)
    if originals.eventfd_read is not None:
        calls["eventfd_read"] = _make_eventfd_read(kernel, streams)
        calls["eventfd_write"] = _make_eventfd_write(kernel, streams)
    for name, call in calls.items():
        call.__name__ = call.__qualname__ = name  # what a TypeError tells
    rows = [Patch("os", "posix", name, call) for name, call in calls.items()]
    return [*rows, *closing.patches(runtime), *copying.patches(runtime, streams)]


def _make_read(runtime: Runtime, streams: Streams) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original = originals.read
    read_stream = streams.read
    read_file = runtime.disk.read

    def read(fd: Any, length: Any, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original(fd, length)
        if type(fd) is not int or type(length) is not int:
            if type(fd) is bool:
                return as_caller(original, fd, length)
            fd, length = index(fd), index(length)
        if not 0 < length <= sys.maxsize:
            return original(fd, length)
        data = read_stream(fd, length)
        return read_file(fd, length) if data is None else data

    return read


def _make_write(runtime: Runtime, streams: Streams) -> Any:
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original = originals.write
    write_stream = streams.write
    write_file = runtime.disk.write

    def write(fd: Any, data: Any, /) -> Any:
        if get_ident() != kernel.os_ident:
            return original(fd, data)
        buffer = data if type(data) is bytes else as_bytes(data)
        if not buffer:
            return original(fd, data)  # nothing to write, or no buffer
        if type(fd) is not int:
            if type(fd) is bool:
                return as_caller(original, fd, data)
            fd = index(fd)
        count = write_stream(fd, buffer)
        return write_file(fd, buffer) if count is None else count

    return write


def _make_vector(
    kernel: Kernel, original: Any, transfer: Callable[..., Any], transfer_file: Callable[..., Any]
) -> Any:
    """readv(2) or writev(2)."""

    def vector(fd: Any, buffers: Any, /) -> Any:
        if not kernel.is_mine() or not buffers:
            return original(fd, buffers)
        try:
            count = transfer(index(fd), buffers)
            return transfer_file(fd, buffers) if count is None else count
        except _NOT_A_BUFFER:
            return original(fd, buffers)

    return vector


def _make_readinto(kernel: Kernel, streams: Streams, disk: Disk) -> Any:
    original = originals.readinto

    def readinto(*args: Any) -> Any:
        if not kernel.is_mine() or len(args) != 2 or type(args[0]) is bool:
            return original(*args)
        fd, buffer = args
        try:
            view = memoryview(buffer).cast("B")
        except _NOT_A_BUFFER:
            return original(fd, buffer)  # raises
        with view:
            if view.readonly or not view:
                return original(fd, buffer)
            fd = index(fd)
            count = streams.readv(fd, (view,))
            return disk.readv(fd, (view,)) if count is None else count

    return readinto


def _make_positioned(
    disk: Disk, original: Any, transfer: Callable[..., Any], transfer_file: Callable[..., Any]
) -> Any:
    """preadv2(2) or pwritev2(2): offset -1 is the current position, so also what has none."""
    kernel = disk.kernel

    def positioned(fd: Any, buffers: Any, offset: Any, flags: Any = 0, /) -> Any:
        if not kernel.is_mine() or index(offset) < -1 or flags & _NOWAIT:
            return original(fd, buffers, offset, flags)
        try:
            count = transfer(index(fd), buffers, flags) if offset == -1 else None
            if count is not None:
                return count
            if not flags:
                return transfer_file(fd, buffers, offset)
        except _NOT_A_BUFFER:
            return original(fd, buffers, offset, flags)
        return disk.call(original, fd, buffers, offset, flags)

    return positioned


def _number(fd: Any) -> int | None:
    """The descriptor that `fd` stands for, of which the calls for eventfds take objects too; None
    if they refuse it."""
    found = fd.fileno() if hasattr(fd, "fileno") else fd
    return found if isinstance(found, int) and found >= 0 else None


def _make_eventfd_read(kernel: Kernel, streams: Streams) -> Any:
    original = originals.eventfd_read

    def eventfd_read(fd: Any) -> int:
        source = _number(fd) if kernel.is_mine() else None
        data = None if source is None else streams.read(source, 8)
        if data is None or len(data) != 8:
            return int(original(fd))
        return int.from_bytes(data, sys.byteorder)

    return eventfd_read


def _make_eventfd_write(kernel: Kernel, streams: Streams) -> Any:
    original = originals.eventfd_write

    def eventfd_write(fd: Any, value: Any) -> None:
        target = _number(fd) if kernel.is_mine() else None
        written = None
        if target is not None and isinstance(value, int) and 0 <= value < 1 << 64:
            written = streams.write(target, value.to_bytes(8, sys.byteorder))
        if written is None:
            original(fd, value)

    return eventfd_write
